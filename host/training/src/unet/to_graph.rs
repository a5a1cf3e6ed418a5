//! The trained network as a [`Graph`].

use burn::module::Param;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use host_modelling::{
    BatchNorm as GraphNorm, Convolution, Graph, GraphBuilder, GraphError, PoolWindow, Tensor4, ValueId,
    ValueShape,
};

use training_kernels::EPSILON;

use super::super::normalisation::NormRelu;
use super::encoded::Encoded;
use super::encoder::{EncoderModule, Plain};
use super::resnet::{Bottleneck, Downsample, POOL, Resnet50};
use super::{ConvNorm, Skips, Stem, Unet, UpNorm};

impl<B: Backend> Unet<B> {
    /// The same function with probabilities for logits, for square images of `side` pixels. Call it
    /// on the module that `valid` gives: it is there that running statistics are current.
    ///
    /// # Errors
    /// When `side` does not fit the network or a weight is not finite.
    pub fn graph(&self, side: usize) -> Result<Graph, GraphError> {
        let mut b = GraphBuilder::new(ValueShape::new(3, side, side)?)?;
        let Encoded { skips, deepest: mut x } = match &self.encoder {
            EncoderModule::Plain(plain) => plain.push(&mut b)?,
            EncoderModule::Resnet50(resnet) => resnet.push(&mut b)?,
        };
        for ((up, stage), skip) in self.ups.iter().zip(&self.decoder).zip(skips.into_iter().rev()) {
            let level = b.shape(x).map_or(0, |shape| shape.height);
            x = up.push(&mut b, &format!("up{level}"), x)?;
            x = match self.config.skips {
                Skips::Concat => b.concat(format!("skip{level}"), [x, skip])?,
                Skips::Add => b.add(format!("skip{level}"), x, skip)?,
            };
            x = push_stage(&mut b, stage, &format!("decoder{level}"), x)?;
        }
        let weight = tensor4(&self.head)?;
        let bias = vector(self.head_bias.val());
        x = match self.config.stem {
            Stem::Full => b.conv("head", x, Convolution { weight, bias, stride: 1, padding: 0 })?,
            Stem::Half => b.conv_transpose("head", x, Convolution { weight, bias, stride: 2, padding: 0 })?,
        };
        x = b.sigmoid("sigmoid", x)?;
        b.finish(x)
    }
}

impl<B: Backend> Plain<B> {
    fn push(&self, b: &mut GraphBuilder) -> Result<Encoded<ValueId>, GraphError> {
        let mut x = ValueId::INPUT;
        if let Some(stem) = &self.stem {
            x = stem.push(b, "stem", x)?;
        }
        let mut skips = Vec::new();
        for (level, stage) in self.levels.iter().enumerate() {
            if level > 0 {
                skips.push(x);
                x = b.max_pool(format!("pool{level}"), x, PoolWindow::apart(2))?;
            }
            x = push_stage(b, stage, &format!("encoder{level}"), x)?;
        }
        Ok(Encoded { skips, deepest: x })
    }
}

impl<B: Backend> Resnet50<B> {
    fn push(&self, b: &mut GraphBuilder) -> Result<Encoded<ValueId>, GraphError> {
        let x = push_norm(b, "stem", ValueId::INPUT, &self.conv1, &self.bn1)?;
        let top = b.relu("stem.relu", x)?;
        let mut x = b.max_pool("stem.pool", top, POOL)?;
        let mut skips = vec![top];
        for (index, layer) in self.layers().into_iter().enumerate() {
            if index > 0 {
                skips.push(x);
            }
            for (place, block) in layer.iter().enumerate() {
                x = block.push(b, &format!("layer{}.{place}", index + 1), x)?;
            }
        }
        Ok(Encoded { skips, deepest: x })
    }
}

impl<B: Backend> Bottleneck<B> {
    fn push(&self, b: &mut GraphBuilder, name: &str, input: ValueId) -> Result<ValueId, GraphError> {
        let y = push_norm(b, &format!("{name}.1"), input, &self.conv1, &self.bn1)?;
        let y = b.relu(format!("{name}.1.relu"), y)?;
        let y = push_norm(b, &format!("{name}.2"), y, &self.conv2, &self.bn2)?;
        let y = b.relu(format!("{name}.2.relu"), y)?;
        let y = push_norm(b, &format!("{name}.3"), y, &self.conv3, &self.bn3)?;
        let x = match &self.downsample {
            Some(Downsample { conv, norm }) => {
                push_norm(b, &format!("{name}.downsample"), input, conv, norm)?
            }
            None => input,
        };
        let sum = b.add(format!("{name}.sum"), y, x)?;
        b.relu(format!("{name}.relu"), sum)
    }
}

/// A convolution of odd sides, padded to keep its input's size over its stride, and its normalization.
fn push_norm<B: Backend>(
    b: &mut GraphBuilder,
    name: &str,
    input: ValueId,
    conv: &Conv2d<B>,
    norm: &BatchNorm<B>,
) -> Result<ValueId, GraphError> {
    let weight = tensor4(&conv.weight)?;
    let [output, _, side, _] = weight.shape();
    let convolution =
        Convolution { weight, bias: vec![0.0; output], stride: conv.stride[0], padding: side / 2 };
    let x = b.conv(format!("{name}.conv"), input, convolution)?;
    let norm = GraphNorm {
        scale: vector(norm.gamma.val()),
        shift: vector(norm.beta.val()),
        mean: vector(norm.running_mean.value_sync()),
        var: vector(norm.running_var.value_sync()),
        eps: norm.epsilon as f32,
    };
    b.batch_norm(format!("{name}.norm"), x, norm)
}

fn push_stage<B: Backend>(
    b: &mut GraphBuilder,
    stage: &[ConvNorm<B>],
    name: &str,
    input: ValueId,
) -> Result<ValueId, GraphError> {
    stage.iter().enumerate().try_fold(input, |x, (index, conv)| conv.push(b, &format!("{name}.{index}"), x))
}

impl<B: Backend> ConvNorm<B> {
    fn push(&self, b: &mut GraphBuilder, name: &str, input: ValueId) -> Result<ValueId, GraphError> {
        let weight = tensor4(&self.weight)?;
        let bias = vec![0.0; weight.shape()[0]];
        let convolution =
            Convolution { weight, bias, stride: self.kernel.stride(), padding: self.kernel.padding() };
        let x = b.conv(format!("{name}.conv"), input, convolution)?;
        let x = b.batch_norm(format!("{name}.norm"), x, norm(&self.norm))?;
        b.relu(format!("{name}.relu"), x)
    }
}

impl<B: Backend> UpNorm<B> {
    fn push(&self, b: &mut GraphBuilder, name: &str, input: ValueId) -> Result<ValueId, GraphError> {
        let weight = tensor4(&self.weight)?;
        let bias = vec![0.0; weight.shape()[1]];
        let convolution = Convolution { weight, bias, stride: 2, padding: 0 };
        let x = b.conv_transpose(format!("{name}.conv"), input, convolution)?;
        let x = b.batch_norm(format!("{name}.norm"), x, norm(&self.norm))?;
        b.relu(format!("{name}.relu"), x)
    }
}

fn norm<B: Backend>(norm: &NormRelu<B>) -> GraphNorm {
    GraphNorm {
        scale: vector(norm.scale.val()),
        shift: vector(norm.shift.val()),
        mean: vector(norm.mean.value_sync()),
        var: vector(norm.variance.value_sync()),
        eps: EPSILON as f32,
    }
}

fn tensor4<B: Backend>(weight: &Param<Tensor<B, 4>>) -> Result<Tensor4, GraphError> {
    let weight = weight.val();
    let shape = weight.dims();
    Tensor4::new(shape, values(weight))
}

fn vector<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    values(tensor)
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
