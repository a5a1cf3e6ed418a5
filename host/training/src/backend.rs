//! The compute backend of training: the GPU with CUDA, or the CPU.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;

#[cfg(test)]
use burn::backend::Flex;
use burn::backend::{Autodiff, Cuda};
use burn::tensor::{Distribution, Tensor};
use clap::ValueEnum;
use cubecl_runtime::config::autotune::AutotuneLevel;
use cubecl_runtime::config::cache::CacheConfig;
use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig as _};
use thiserror::Error;

/// The value of `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// CUDA if it works, else the CPU.
    Auto,
    /// CUDA, or fail.
    Cuda,
    /// The CPU.
    Cpu,
}

/// Where training runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The first CUDA device.
    Cuda,
    /// Every core.
    Cpu,
}

/// Why CUDA does not run here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CudaMissing {
    /// The kernel has no NVIDIA device.
    #[error("this machine has no NVIDIA device (/dev/nvidia0)")]
    NoDevice,
    /// There is a device, but a test computation on it failed.
    #[error("a test computation on the NVIDIA device failed: {message}")]
    Failed {
        /// The last line that the attempt printed.
        message: String,
    },
}

/// Name of the hidden command that tests CUDA in a separate process, since a broken driver may crash it.
pub const PROBE_COMMAND: &str = "probe-cuda";

impl BackendChoice {
    /// Chooses the backend, and tests CUDA if allowed.
    ///
    /// # Errors
    /// [`CudaMissing`] when CUDA was asked for by name.
    pub fn resolve(self) -> Result<Backend, CudaMissing> {
        match self {
            Self::Cpu => return Ok(Backend::Cpu),
            Self::Cuda => probe_cuda()?,
            Self::Auto if probe_cuda().is_err() => return Ok(Backend::Cpu),
            Self::Auto => {}
        }
        keep_kernels();
        Ok(Backend::Cuda)
    }
}

impl Backend {
    /// Its display name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cuda => "CUDA",
            Self::Cpu => "CPU",
        }
    }
}

/// The CUDA backend. Unit tests never use it, and must not spend minutes compiling its kernels.
#[cfg(not(test))]
pub(crate) type CudaTraining = Autodiff<Cuda>;
#[cfg(test)]
pub(crate) type CudaTraining = Autodiff<Flex>;

/// Whether CUDA works here.
///
/// # Errors
/// [`CudaMissing`] with the reason.
pub fn probe_cuda() -> Result<(), CudaMissing> {
    if !Path::new("/dev/nvidia0").exists() && !Path::new("/dev/dxg").exists() {
        return Err(CudaMissing::NoDevice);
    }
    let failed = |message: String| CudaMissing::Failed { message };
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let output = Command::new(program)
        .arg(PROBE_COMMAND)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("thread"));
    Err(failed(line.unwrap_or("it exited without a message").to_owned()))
}

/// Keeps what is compiled and tuned for CUDA from one run to the next. On an H200's machine the first step of a
/// network took six minutes, nearly all of it the compiler's, and with these files half a minute.
fn keep_kernels() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let config = keeping_kernels(CubeClRuntimeConfig::from_current_dir());
        CubeClRuntimeConfig::set(config.override_from_env());
    });
}

/// `config` with compiled kernels kept beside what tuning found: in `target` within a Cargo project, else in the
/// user's cache folder. Of every kernel few candidates are tried, since each is compiled first;
/// `CUBECL_AUTOTUNE_LEVEL=balanced` asks for more.
fn keeping_kernels(mut config: CubeClRuntimeConfig) -> CubeClRuntimeConfig {
    config.compilation.cache.get_or_insert(CacheConfig::Target);
    if matches!(config.autotune.level, AutotuneLevel::Balanced) {
        config.autotune.level = AutotuneLevel::Minimal;
    }
    config
}

/// Multiplies two matrices on the first CUDA device; panics where that does not work.
pub fn compute_on_cuda() -> f32 {
    keep_kernels();
    let device = Default::default();
    let a = Tensor::<Cuda, 2>::random([64, 64], Distribution::Default, &device);
    a.clone().matmul(a.transpose()).sum().into_scalar()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_kernels_are_kept_and_a_users_own_choices_too() {
        let kept = keeping_kernels(CubeClRuntimeConfig::default());
        assert!(matches!(kept.compilation.cache, Some(CacheConfig::Target)));
        assert!(matches!(kept.autotune.level, AutotuneLevel::Minimal));
        let mut own = CubeClRuntimeConfig::default();
        own.compilation.cache = Some(CacheConfig::Local);
        own.autotune.level = AutotuneLevel::Full;
        let kept = keeping_kernels(own);
        assert!(matches!(kept.compilation.cache, Some(CacheConfig::Local)));
        assert!(matches!(kept.autotune.level, AutotuneLevel::Full));
    }
}
