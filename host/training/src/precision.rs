//! The precision in which the CPU trains: that of the factors of its products.

use clap::ValueEnum;
use thiserror::Error;
use training_kernels::Precision;

use super::backend::Backend;
use super::unet::UnetConfig;
use host_console::Failure;

/// The value of `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// The fastest of this processor.
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits with the exponent of 32, summed in 32.
    Bf16,
}

/// Why a network does not train in BF16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrecisionError {
    /// Only the CPU's kernels have the choice.
    #[error("{backend} trains in F32 only")]
    Backend {
        /// The backend's name.
        backend: &'static str,
    },
    /// Only networks in one piece have it.
    #[error("only a plain encoder at half resolution with added skips trains in BF16")]
    Network,
}

impl PrecisionChoice {
    /// The precision that is trained in.
    ///
    /// # Errors
    /// [`PrecisionError`] when BF16 was asked for where there is only F32.
    pub fn resolve(self, backend: Backend, unet: &UnetConfig) -> Result<Precision, PrecisionError> {
        let missing = match backend {
            Backend::Cpu if unet.is_one_piece() => None,
            Backend::Cpu => Some(PrecisionError::Network),
            #[cfg(feature = "cuda")]
            Backend::Cuda => Some(PrecisionError::Backend { backend: backend.name() }),
        };
        match (self, missing) {
            (Self::Bf16, Some(missing)) => Err(missing),
            (Self::F32, _) | (Self::Auto, Some(_)) => Ok(Precision::F32),
            (Self::Auto, None) => Ok(Precision::fastest()),
            (Self::Bf16, None) => Ok(Precision::Bf16),
        }
    }
}

impl Backend {
    /// What to know before training in a precision here.
    pub fn caution(self, precision: Precision) -> Option<&'static str> {
        let is_slow = self == Self::Cpu && precision == Precision::Bf16 && !precision.is_fast();
        is_slow.then_some(
            "this processor has no instructions for BF16, the precision of this run, and trains many times slower in \
             it; begin a run with --precision f32, or continue this one on a processor with AVX512-BF16",
        )
    }
}

impl From<PrecisionError> for Failure {
    fn from(error: PrecisionError) -> Self {
        Self::usage(error, "leave out --precision, or give f32")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoder, Skips, Stem};

    const LEAN: UnetConfig = UnetConfig {
        encoder: Encoder::Plain,
        width: 8,
        depth: 2,
        stem: Stem::Half,
        skips: Skips::Add,
        decoder_convolutions: 1,
        outputs: 3,
    };

    #[test]
    fn a_precision_is_what_was_asked_for_or_refused() {
        let classic = UnetConfig { skips: Skips::Concat, ..LEAN };
        for (choice, unet, expected) in [
            (PrecisionChoice::Auto, LEAN, Ok(Precision::fastest())),
            (PrecisionChoice::F32, LEAN, Ok(Precision::F32)),
            (PrecisionChoice::Bf16, LEAN, Ok(Precision::Bf16)),
            (PrecisionChoice::Auto, classic, Ok(Precision::F32)),
            (PrecisionChoice::F32, classic, Ok(Precision::F32)),
            (PrecisionChoice::Bf16, classic, Err(PrecisionError::Network)),
        ] {
            assert_eq!(choice.resolve(Backend::Cpu, &unet), expected, "{choice:?} {unet:?}");
        }
    }

    #[test]
    fn only_a_slow_precision_is_warned_of() {
        assert_eq!(Backend::Cpu.caution(Precision::fastest()), None);
        assert_eq!(Backend::Cpu.caution(Precision::F32), None);
        assert_eq!(Backend::Cpu.caution(Precision::Bf16).is_some(), !Precision::Bf16.is_fast());
    }
}
