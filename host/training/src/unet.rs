//! The U-Net: an encoder that downsamples, a decoder that upsamples, and skip connections.
//!
//! Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
//! 2015, with batch normalization, zero padding and 2x2 transposed convolutions. The lean form begins
//! with a stride-2 stem and adds its skips, which costs less than a quarter of the classic form.

mod adopt;
mod encoded;
mod encoder;
mod resnet;
mod to_graph;

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use training_kernels::{NetworkShape, Precision};

pub use adopt::AdoptError;
pub use resnet::EncoderWeightsError;

use std::path::Path;

use super::convolution::{conv3x3, downsample_conv, pointwise, upsample_conv};
use super::normalisation::{NormPass, NormRelu};
use super::ops::{NetworkResult, TrainingOps};
use super::reference::normalisation::broadcast_channels;
use super::reference::{primitive, tensor};
use encoded::Encoded;
use encoder::{EncoderModule, Plain};
use resnet::Resnet50;

/// The resolution of the network's first level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// Full resolution of the image.
    Full,
    /// Half resolution: starts with a 2x2 convolution of stride 2, ends with a transposed one.
    Half,
}

/// How the encoder's maps join the decoder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Skips {
    /// Concatenated, as in the U-Net paper.
    Concat,
    /// Added, at half the decoder's cost.
    Add,
}

/// Encoder architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// Two convolutions per level, as in the U-Net paper.
    #[default]
    Plain,
    /// ResNet-50, optionally starting from torchvision's weights; half resolution, five levels, concatenated skips.
    Resnet50,
}

/// The architecture of a U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// The encoder.
    #[serde(default)]
    pub encoder: Encoder,
    /// Channels of the first level; each level below has twice as many. A multiple of 4.
    pub width: usize,
    /// Levels, 2 to 6.
    pub depth: usize,
    /// The resolution of the first level.
    pub stem: Stem,
    /// How skips join.
    pub skips: Skips,
    /// Convolutions per decoder level, 1 or 2; an encoder's level has two.
    pub decoder_convolutions: usize,
    /// Output channels.
    pub outputs: usize,
}

/// Convolutions per encoder level.
const ENCODER_CONVOLUTIONS: usize = 2;

impl UnetConfig {
    /// Sides of images must be multiples of this.
    pub const fn side_multiple(&self) -> usize {
        let first = match self.stem {
            Stem::Full => 1,
            Stem::Half => 2,
        };
        first << (self.depth - 1)
    }

    /// Whether the CPU trains it in one piece, and so in a precision of choice.
    pub const fn is_one_piece(&self) -> bool {
        matches!(self, Self { encoder: Encoder::Plain, stem: Stem::Half, skips: Skips::Add, .. })
    }

    /// The architecture in words, for the manifest.
    pub fn describe(&self) -> String {
        let Self { encoder, width, depth, stem, skips, decoder_convolutions, .. } = self;
        let encoder = match encoder {
            Encoder::Plain => "",
            Encoder::Resnet50 => "ResNet-50 ",
        };
        let stem = match stem {
            Stem::Full => "full",
            Stem::Half => "half",
        };
        let skips = match skips {
            Skips::Concat => "concatenated",
            Skips::Add => "added",
        };
        format!(
            "{encoder}U-Net width {width} depth {depth}, {stem} resolution, {skips} skips, \
                 {decoder_convolutions} convolutions per decoder level"
        )
    }

    /// A network with random weights (He et al. 2015), the same for the same seed on every backend.
    pub fn init<B: Backend>(&self, seed: u64, device: &B::Device) -> Unet<B> {
        let mut init = Init { rng: StdRng::seed_from_u64(seed), device };
        let channels = |level: usize| self.width << level;
        let (encoder, skipped) = match self.encoder {
            Encoder::Plain => {
                let stem = match self.stem {
                    Stem::Full => None,
                    Stem::Half => Some(init.conv_norm(3, self.width, KernelSize::Halving)),
                };
                let picture = if stem.is_some() { self.width } else { 3 };
                let levels = (0..self.depth)
                    .map(|level| {
                        let input = if level == 0 { picture } else { channels(level - 1) };
                        init.stage(input, channels(level), ENCODER_CONVOLUTIONS)
                    })
                    .collect();
                (EncoderModule::Plain(Plain { stem, levels }), (0..self.depth).map(channels).collect())
            }
            Encoder::Resnet50 => {
                (EncoderModule::Resnet50(Resnet50::init(&mut init.rng, device)), resnet::CHANNELS.to_vec())
            }
        };
        let deepest = self.depth - 1;
        let below = |level: usize| if level == deepest { skipped[deepest] } else { channels(level) };
        let ups = (0..deepest).rev().map(|level| init.up(below(level + 1), channels(level))).collect();
        let joined = |level: usize| match self.skips {
            Skips::Concat => channels(level) + skipped[level],
            Skips::Add => channels(level),
        };
        let decoder = (0..deepest)
            .rev()
            .map(|level| init.stage(joined(level), channels(level), self.decoder_convolutions))
            .collect();
        let head = match self.stem {
            Stem::Full => init.weight([self.outputs, self.width, 1, 1], self.width),
            Stem::Half => init.weight([self.width, self.outputs, 2, 2], self.width),
        };
        Unet {
            encoder,
            ups,
            decoder,
            head,
            head_bias: Param::from_tensor(Tensor::zeros([self.outputs], device)),
            config: *self,
            precision: Precision::F32,
        }
    }
}

struct Init<'a, B: Backend> {
    rng: StdRng,
    device: &'a B::Device,
}

impl<B: Backend> Init<'_, B> {
    fn weight(&mut self, shape: [usize; 4], fan_in: usize) -> Param<Tensor<B, 4>> {
        let bound = (6.0 / fan_in as f32).sqrt();
        let values = (0..shape.iter().product()).map(|_| self.rng.random_range(-bound..bound)).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new::<f32, _>(values, shape), self.device))
    }

    fn conv_norm(&mut self, input: usize, output: usize, kernel: KernelSize) -> ConvNorm<B> {
        let side = kernel.side();
        ConvNorm {
            weight: self.weight([output, input, side, side], input * side * side),
            norm: NormRelu::new(output, self.device),
            kernel,
        }
    }

    fn stage(&mut self, input: usize, output: usize, convolutions: usize) -> Vec<ConvNorm<B>> {
        (0..convolutions)
            .map(|index| self.conv_norm(if index == 0 { input } else { output }, output, KernelSize::Keeping))
            .collect()
    }

    fn up(&mut self, input: usize, output: usize) -> UpNorm<B> {
        UpNorm { weight: self.weight([input, output, 2, 2], input), norm: NormRelu::new(output, self.device) }
    }
}

/// A convolution without bias, batch normalization, and `max(x, 0)`.
#[derive(Module, Debug)]
struct ConvNorm<B: Backend> {
    /// `[out, in, k, k]`.
    weight: Param<Tensor<B, 4>>,
    norm: NormRelu<B>,
    #[module(skip)]
    kernel: KernelSize,
}

/// The two convolutions of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KernelSize {
    /// 2x2, stride 2.
    Halving,
    /// 3x3, stride 1, padded.
    Keeping,
}

impl KernelSize {
    const fn side(self) -> usize {
        match self {
            Self::Halving => 2,
            Self::Keeping => 3,
        }
    }

    const fn stride(self) -> usize {
        match self {
            Self::Halving => 2,
            Self::Keeping => 1,
        }
    }

    const fn padding(self) -> usize {
        match self {
            Self::Halving => 0,
            Self::Keeping => 1,
        }
    }
}

impl<B: TrainingOps> ConvNorm<B> {
    /// # Shapes
    /// `[n, in, h, w]` to `[n, out, h, w]`, or half of both sides.
    fn forward(&self, x: Tensor<B, 4>, pass: NormPass) -> Tensor<B, 4> {
        let weight = self.weight.val();
        let y = match self.kernel {
            KernelSize::Halving => downsample_conv(x, weight),
            KernelSize::Keeping => conv3x3(x, weight),
        };
        self.norm.forward(y, pass)
    }
}

/// A transposed convolution of stride 2, batch normalization, and `max(x, 0)`.
#[derive(Module, Debug)]
struct UpNorm<B: Backend> {
    /// `[in, out, 2, 2]`.
    weight: Param<Tensor<B, 4>>,
    norm: NormRelu<B>,
}

impl<B: TrainingOps> UpNorm<B> {
    /// # Shapes
    /// `[n, in, h, w]` to `[n, out, 2 h, 2 w]`.
    fn forward(&self, x: Tensor<B, 4>, pass: NormPass) -> Tensor<B, 4> {
        self.norm.forward(upsample_conv(x, self.weight.val()), pass)
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct Unet<B: Backend> {
    encoder: EncoderModule<B>,
    /// Deepest first.
    ups: Vec<UpNorm<B>>,
    /// Deepest first.
    decoder: Vec<Vec<ConvNorm<B>>>,
    head: Param<Tensor<B, 4>>,
    head_bias: Param<Tensor<B, 1>>,
    #[module(skip)]
    config: UnetConfig,
    /// That of its training, where a backend computes it in one piece; `f32` otherwise.
    #[module(skip)]
    precision: Precision,
}

impl<B: Backend> Unet<B> {
    /// The same network, to be trained in a precision.
    #[must_use]
    pub fn training_in(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Loads torchvision's weights of a ResNet-50; not available for a plain encoder.
    ///
    /// # Errors
    /// [`EncoderWeightsError`].
    pub fn load_encoder(&mut self, path: &Path) -> Result<(), EncoderWeightsError> {
        match &mut self.encoder {
            EncoderModule::Plain(_) => Ok(()),
            EncoderModule::Resnet50(resnet) => resnet.load(path),
        }
    }
}

impl<B: TrainingOps> Unet<B> {
    /// Logits of every output channel.
    ///
    /// # Shapes
    /// `batch_nchw` is `[n, 3, h, w]` of 0 to 1, with `h` and `w` multiples of
    /// [`UnetConfig::side_multiple`]; the result is `[n, outputs, h, w]`.
    pub fn forward(&self, batch_nchw: Tensor<B, 4>) -> Tensor<B, 4> {
        match self.forward_whole(&batch_nchw) {
            Some(logits) => logits,
            None => self.forward_by_layer(batch_nchw),
        }
    }

    /// The same while training, where the backend computes this form of a network in one piece.
    fn forward_whole(&self, batch_nchw: &Tensor<B, 4>) -> Option<Tensor<B, 4>> {
        let EncoderModule::Plain(Plain { stem: Some(stem), levels }) = &self.encoder else { return None };
        if self.config.skips != Skips::Add || !B::ad_enabled(&batch_nchw.device()) {
            return None;
        }
        let mut layers: Vec<(&Param<Tensor<B, 4>>, &NormRelu<B>)> = vec![(&stem.weight, &stem.norm)];
        layers.extend(levels.iter().flatten().map(|conv| (&conv.weight, &conv.norm)));
        for (up, stage) in self.ups.iter().zip(&self.decoder) {
            layers.push((&up.weight, &up.norm));
            layers.extend(stage.iter().map(|conv| (&conv.weight, &conv.norm)));
        }
        let mut numbers = Vec::new();
        for (weight, norm) in &layers {
            numbers.extend([weight.val().flatten(0, 3), norm.scale.val(), norm.shift.val()]);
        }
        numbers.extend([self.head.val().flatten(0, 3), self.head_bias.val()]);
        let UnetConfig { width, depth, decoder_convolutions, outputs, .. } = self.config;
        let shape = NetworkShape { width, depth, decoder_convolutions, outputs };
        let numbers = primitive(Tensor::<B, 1>::cat(numbers, 0));
        let NetworkResult { logits, statistics, .. } =
            B::network(shape, self.precision, primitive(batch_nchw.clone()), numbers)?;
        for ((_, norm), [mean, variance]) in layers.into_iter().zip(statistics) {
            norm.remember(mean, variance);
        }
        Some(tensor(logits))
    }

    fn forward_by_layer(&self, batch_nchw: Tensor<B, 4>) -> Tensor<B, 4> {
        self.pass(batch_nchw, NormPass::Normalise)
    }

    fn pass(&self, batch_nchw: Tensor<B, 4>, pass: NormPass) -> Tensor<B, 4> {
        let Encoded { skips, deepest: mut x } = self.encoder.forward(batch_nchw, pass);
        for ((up, stage), skip) in self.ups.iter().zip(&self.decoder).zip(skips.into_iter().rev()) {
            x = up.forward(x, pass);
            x = match self.config.skips {
                Skips::Concat => Tensor::cat(vec![x, skip], 1),
                Skips::Add => x + skip,
            };
            x = stage.iter().fold(x, |x, conv| conv.forward(x, pass));
        }
        let logits = match self.config.stem {
            Stem::Full => pointwise(x, self.head.val()),
            Stem::Half => upsample_conv(x, self.head.val()),
        };
        let [n, c, h, w] = logits.dims();
        (logits.reshape([n * c, h * w]) + broadcast_channels(self.head_bias.val(), n)).reshape([n, c, h, w])
    }
}

#[cfg(test)]
mod tests;
