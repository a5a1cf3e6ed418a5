//! The U-Net's encoder.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::ConvNorm;
use super::encoded::Encoded;
use super::resnet::Resnet50;
use crate::normalisation::NormPass;
use crate::ops::TrainingOps;
use crate::pooling::max_pool_2x2;

/// An encoder: feature maps of every level.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a network, and its numbers lie elsewhere")]
pub(super) enum EncoderModule<B: Backend> {
    Plain(Plain<B>),
    Resnet50(Resnet50<B>),
}

impl<B: TrainingOps> EncoderModule<B> {
    /// Encodes `[n, 3, h, w]`.
    pub(super) fn forward(&self, x: Tensor<B, 4>, pass: NormPass) -> Encoded<Tensor<B, 4>> {
        match self {
            Self::Plain(plain) => plain.forward(x, pass),
            Self::Resnet50(resnet) => resnet.forward(x),
        }
    }
}

/// Stages of convolutions with pooling between them.
#[derive(Module, Debug)]
pub(super) struct Plain<B: Backend> {
    pub(super) stem: Option<ConvNorm<B>>,
    /// Top level first.
    pub(super) levels: Vec<Vec<ConvNorm<B>>>,
}

impl<B: TrainingOps> Plain<B> {
    fn forward(&self, mut x: Tensor<B, 4>, pass: NormPass) -> Encoded<Tensor<B, 4>> {
        if let Some(stem) = &self.stem {
            x = stem.forward(x, pass);
        }
        let mut skips = Vec::new();
        for (level, stage) in self.levels.iter().enumerate() {
            if level > 0 {
                skips.push(x.clone());
                x = max_pool_2x2(x);
            }
            x = stage.iter().fold(x, |x, conv| conv.forward(x, pass));
        }
        Encoded { skips, deepest: x }
    }
}
