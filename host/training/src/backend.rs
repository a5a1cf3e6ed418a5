//! The compute backend of training: the GPU with CUDA, or the CPU.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;

use std::path::Path;

use clap::ValueEnum;
use host_console::{Failure, warning};
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
    #[cfg(feature = "cuda")]
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
    /// There is a device, and this program cannot use it.
    #[error("this nuclei-train was built without CUDA")]
    NotBuilt,
    /// There is a device, but a test computation on it failed.
    #[error("a test computation on the NVIDIA device failed: {message}")]
    Failed {
        /// The last line that the attempt printed.
        message: String,
    },
}

/// How a program that trains on CUDA is built.
const BUILD_WITH_CUDA: &str = "cargo build --release --locked --workspace --features host-train/cuda";

impl BackendChoice {
    /// Chooses the backend, and tests CUDA if allowed.
    ///
    /// # Errors
    /// [`CudaMissing`] when CUDA was asked for by name.
    pub fn resolve(self) -> Result<Backend, CudaMissing> {
        match self {
            Self::Cpu => Ok(Backend::Cpu),
            Self::Cuda => cuda(),
            Self::Auto => match cuda() {
                Ok(backend) => Ok(backend),
                Err(missing) => {
                    if missing == CudaMissing::NotBuilt {
                        warning!("caution: {missing}, so the CPU trains; for the GPU: {BUILD_WITH_CUDA}");
                    }
                    Ok(Backend::Cpu)
                }
            },
        }
    }
}

impl Backend {
    /// Its display name.
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda => "CUDA",
            Self::Cpu => "CPU",
        }
    }
}

/// The first CUDA device, after a first computation on it.
fn cuda() -> Result<Backend, CudaMissing> {
    if !Path::new("/dev/nvidia0").exists() && !Path::new("/dev/dxg").exists() {
        return Err(CudaMissing::NoDevice);
    }
    #[cfg(feature = "cuda")]
    return cuda::probe().map(|()| Backend::Cuda);
    #[cfg(not(feature = "cuda"))]
    Err(CudaMissing::NotBuilt)
}

impl From<CudaMissing> for Failure {
    fn from(missing: CudaMissing) -> Self {
        let next = match missing {
            CudaMissing::NotBuilt => format!("{BUILD_WITH_CUDA}, or compute with --backend cpu"),
            CudaMissing::NoDevice | CudaMissing::Failed { .. } => {
                "install the NVIDIA driver and CUDA, or compute with --backend cpu".to_owned()
            }
        };
        Self::failed(missing, next)
    }
}
