//! ResNet-50 as an encoder (He et al. 2016), in torchvision's variant (stride in the 3x3 convolutions) and with
//! torchvision's names, so that its weights load.
//!
//! It is a large network to compare with. Convolutions and normalization are Burn's own, which are fast on a GPU and
//! slow on a CPU.

mod weights;

pub use weights::EncoderWeightsError;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::module::max_pool2d;
use burn::tensor::{Tensor, TensorData};
use host_modelling::PoolWindow;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::encoded::Encoded;

/// The pooling after the first convolution.
pub(super) const POOL: PoolWindow = PoolWindow { size: 3, stride: 2, padding: 1 };
/// Channels of its feature maps, top level first.
pub(super) const CHANNELS: [usize; 5] = [64, 256, 512, 1024, 2048];
/// Bottlenecks of each of the four layers.
const BLOCKS: [usize; 4] = [3, 4, 6, 3];
/// Expansion factor of a bottleneck.
const EXPANSION: usize = 4;

/// The network without its pooled end.
#[derive(Module, Debug)]
pub(super) struct Resnet50<B: Backend> {
    pub(super) conv1: Conv2d<B>,
    pub(super) bn1: BatchNorm<B>,
    pub(super) layer1: Vec<Bottleneck<B>>,
    pub(super) layer2: Vec<Bottleneck<B>>,
    pub(super) layer3: Vec<Bottleneck<B>>,
    pub(super) layer4: Vec<Bottleneck<B>>,
}

/// Three convolutions whose result is added to what they read.
#[derive(Module, Debug)]
pub(super) struct Bottleneck<B: Backend> {
    pub(super) conv1: Conv2d<B>,
    pub(super) bn1: BatchNorm<B>,
    pub(super) conv2: Conv2d<B>,
    pub(super) bn2: BatchNorm<B>,
    pub(super) conv3: Conv2d<B>,
    pub(super) bn3: BatchNorm<B>,
    pub(super) downsample: Option<Downsample<B>>,
}

/// What is read, in the form of the result.
#[derive(Module, Debug)]
pub(super) struct Downsample<B: Backend> {
    /// torchvision's `downsample.0`.
    pub(super) conv: Conv2d<B>,
    /// torchvision's `downsample.1`.
    pub(super) norm: BatchNorm<B>,
}

impl<B: Backend> Resnet50<B> {
    /// Random weights (He et al. 2015) from `rng`.
    pub(super) fn init(rng: &mut StdRng, device: &B::Device) -> Self {
        let mut init = ResnetInit { rng, device };
        let mut layer = |index: usize| {
            let (input, output) = (CHANNELS[index], CHANNELS[index + 1]);
            let stride = if index == 0 { 1 } else { 2 };
            (0..BLOCKS[index])
                .map(|block| match block {
                    0 => init.bottleneck([input, output], stride),
                    _ => init.bottleneck([output, output], 1),
                })
                .collect()
        };
        let [layer1, layer2, layer3, layer4] = [0, 1, 2, 3].map(&mut layer);
        let (conv1, bn1) = init.conv_norm([3, CHANNELS[0]], 7, 2);
        Self { conv1, bn1, layer1, layer2, layer3, layer4 }
    }

    /// The layers in order.
    pub(super) fn layers(&self) -> [&[Bottleneck<B>]; 4] {
        [&self.layer1, &self.layer2, &self.layer3, &self.layer4]
    }

    /// As [`EncoderModule::forward`](super::encoder::EncoderModule::forward).
    pub(super) fn forward(&self, x: Tensor<B, 4>) -> Encoded<Tensor<B, 4>> {
        let top = relu(self.bn1.forward(self.conv1.forward(x)));
        let PoolWindow { size, stride, padding } = POOL;
        let mut x = max_pool2d(top.clone(), [size; 2], [stride; 2], [padding; 2], [1; 2], false);
        let mut skips = vec![top];
        for (index, layer) in self.layers().into_iter().enumerate() {
            if index > 0 {
                skips.push(x.clone());
            }
            x = layer.iter().fold(x, |x, block| block.forward(x));
        }
        Encoded { skips, deepest: x }
    }
}

impl<B: Backend> Bottleneck<B> {
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let y = relu(self.bn1.forward(self.conv1.forward(x.clone())));
        let y = relu(self.bn2.forward(self.conv2.forward(y)));
        let y = self.bn3.forward(self.conv3.forward(y));
        let x = match &self.downsample {
            Some(Downsample { conv, norm }) => norm.forward(conv.forward(x)),
            None => x,
        };
        relu(y + x)
    }
}

struct ResnetInit<'a, B: Backend> {
    rng: &'a mut StdRng,
    device: &'a B::Device,
}

impl<B: Backend> ResnetInit<'_, B> {
    fn conv_norm(
        &mut self,
        [input, output]: [usize; 2],
        side: usize,
        stride: usize,
    ) -> (Conv2d<B>, BatchNorm<B>) {
        let mut conv = Conv2dConfig::new([input, output], [side; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(side / 2, side / 2, side / 2, side / 2))
            .with_bias(false)
            .init(self.device);
        let bound = (6.0 / (input * side * side) as f32).sqrt();
        let shape = [output, input, side, side];
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| self.rng.random_range(-bound..bound)).collect();
        conv.weight = conv
            .weight
            .map(|_| Tensor::from_data(TensorData::new(values, shape), self.device).require_grad());
        (conv, BatchNormConfig::new(output).init(self.device))
    }

    fn bottleneck(&mut self, [input, output]: [usize; 2], stride: usize) -> Bottleneck<B> {
        let inner = output / EXPANSION;
        let (conv1, bn1) = self.conv_norm([input, inner], 1, 1);
        let (conv2, bn2) = self.conv_norm([inner, inner], 3, stride);
        let (conv3, bn3) = self.conv_norm([inner, output], 1, 1);
        let downsample = (input != output || stride != 1).then(|| {
            let (conv, norm) = self.conv_norm([input, output], 1, stride);
            Downsample { conv, norm }
        });
        Bottleneck { conv1, bn1, conv2, bn2, conv3, bn3, downsample }
    }
}
