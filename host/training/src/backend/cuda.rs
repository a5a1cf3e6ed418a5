//! Training on NVIDIA's GPUs through CUDA.

use std::process::{Command, Stdio};
use std::sync::Once;

use burn::backend::{Autodiff, Cuda};
use burn::tensor::{Distribution, Tensor};
use cubecl_runtime::config::autotune::AutotuneLevel;
use cubecl_runtime::config::cache::CacheConfig;
use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig as _};

use super::CudaMissing;
use crate::ops::TrainingOps;

/// Name of the hidden command that tests CUDA in a separate process, since a broken driver may crash it.
pub const PROBE_COMMAND: &str = "probe-cuda";

/// The CUDA backend. Unit tests never use it, and must not spend minutes compiling its kernels.
#[cfg(not(test))]
pub(crate) type CudaTraining = Autodiff<Cuda>;
#[cfg(test)]
pub(crate) type CudaTraining = Autodiff<burn::backend::Flex>;

impl TrainingOps for Cuda {}

/// Computes on the first CUDA device, in a process of its own.
///
/// # Errors
/// [`CudaMissing::Failed`] with the reason.
pub(crate) fn probe() -> Result<(), CudaMissing> {
    let failed = |message: String| CudaMissing::Failed { message };
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let output = Command::new(program)
        .arg(PROBE_COMMAND)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        keep_kernels();
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
