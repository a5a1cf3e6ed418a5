//! A network that begins with the weights of a model file.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use host_modelling::{Convolution, Graph, Op};
use thiserror::Error;

use super::encoder::EncoderModule;
use super::{ConvNorm, Unet, UpNorm};
use crate::normalisation::NormPass;
use crate::ops::TrainingOps;

/// Why a network cannot begin with a model file's weights.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdoptError {
    /// There are more or fewer layers.
    #[error("the model file has {actual} convolutions, the network has {expected}")]
    Layers {
        /// Those of the network.
        expected: usize,
        /// Those of the file.
        actual: usize,
    },
    /// A layer has another shape.
    #[error(
        "the weight of convolution {layer} has the shape {actual:?} in the model file, {expected:?} in the network"
    )]
    Shape {
        /// From 0, in the order of evaluation.
        layer: usize,
        /// That of the network.
        expected: [usize; 4],
        /// That of the file.
        actual: [usize; 4],
    },
    /// Only plain encoders can.
    #[error("a network with a ResNet-50 does not begin with a model file")]
    Encoder,
}

/// The parameters of a layer: weight, and what is added to its output.
type Layer<'a, B> = (&'a mut Param<Tensor<B, 4>>, &'a mut Param<Tensor<B, 1>>);

impl<B: TrainingOps> Unet<B> {
    /// The function of `graph`, which is of this network's form. A model file has no normalisation, since it is folded
    /// into the convolutions: that of this network gets the statistics of `batch_nchw`, and undoes them.
    ///
    /// # Errors
    /// [`AdoptError`].
    pub fn adopt(mut self, graph: Graph, batch_nchw: Tensor<B, 4>) -> Result<Self, AdoptError> {
        let device = batch_nchw.device();
        let graph = graph.fold_batch_norm();
        let convolutions: Vec<&Convolution> = graph
            .nodes()
            .iter()
            .filter_map(|node| match &node.op {
                Op::Conv(convolution) | Op::ConvTranspose(convolution) => Some(convolution),
                _ => None,
            })
            .collect();
        let layers = self.layers()?;
        let (expected, actual) = (layers.len(), convolutions.len());
        if expected != actual {
            return Err(AdoptError::Layers { expected, actual });
        }
        for (layer, ((weight, shift), convolution)) in layers.into_iter().zip(convolutions).enumerate() {
            let (expected, actual) = (weight.dims(), convolution.weight.shape());
            if expected != actual || shift.dims() != [convolution.bias.len()] {
                return Err(AdoptError::Shape { layer, expected, actual });
            }
            let values = TensorData::new(convolution.weight.data().to_vec(), actual);
            *weight = Param::from_tensor(Tensor::from_data(values, &device));
            let values = TensorData::new(convolution.bias.clone(), [convolution.bias.len()]);
            *shift = Param::from_tensor(Tensor::from_data(values, &device));
        }
        let _ = self.pass(batch_nchw, NormPass::Measure);
        Ok(self.normalising())
    }

    /// Every layer in the order of evaluation.
    fn layers(&mut self) -> Result<Vec<Layer<'_, B>>, AdoptError> {
        let EncoderModule::Plain(encoder) = &mut self.encoder else { return Err(AdoptError::Encoder) };
        let mut layers: Vec<Layer<'_, B>> =
            encoder.stem.iter_mut().chain(encoder.levels.iter_mut().flatten()).map(ConvNorm::layer).collect();
        for (up, stage) in self.ups.iter_mut().zip(&mut self.decoder) {
            layers.push((&mut up.weight, &mut up.norm.shift));
            layers.extend(stage.iter_mut().map(ConvNorm::layer));
        }
        layers.push((&mut self.head, &mut self.head_bias));
        Ok(layers)
    }

    fn normalising(mut self) -> Self {
        let conv = |conv: ConvNorm<B>| ConvNorm { norm: conv.norm.normalising(), ..conv };
        let stages = |stages: Vec<Vec<ConvNorm<B>>>| -> Vec<Vec<ConvNorm<B>>> {
            stages.into_iter().map(|stage| stage.into_iter().map(conv).collect()).collect()
        };
        if let EncoderModule::Plain(encoder) = &mut self.encoder {
            encoder.stem = encoder.stem.take().map(conv);
            encoder.levels = stages(std::mem::take(&mut encoder.levels));
        }
        self.decoder = stages(self.decoder);
        let up = |up: UpNorm<B>| UpNorm { norm: up.norm.normalising(), ..up };
        self.ups = self.ups.into_iter().map(up).collect();
        self
    }
}

impl<B: Backend> ConvNorm<B> {
    const fn layer(&mut self) -> Layer<'_, B> {
        (&mut self.weight, &mut self.norm.shift)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::{Encoder, Skips, Stem, UnetConfig};

    const CONFIG: UnetConfig = UnetConfig {
        encoder: Encoder::Plain,
        width: 4,
        depth: 3,
        stem: Stem::Half,
        skips: Skips::Add,
        decoder_convolutions: 1,
        outputs: 3,
    };

    fn values(tensor: Tensor<Flex, 4>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn the_adopted_network_is_the_files_function() {
        let device = Default::default();
        let picture = |seed: f32| {
            let values: Vec<f32> =
                (0..2 * 3 * 32 * 32).map(|i| ((i as f32 + seed) * 0.37).sin() / 2.0 + 0.5).collect();
            Tensor::<Flex, 4>::from_data(TensorData::new(values, [2, 3, 32, 32]), &device)
        };
        let old = CONFIG.init::<Flex>(1, &device);
        let graph = old.graph(32).unwrap();
        let new = CONFIG.init::<Flex>(2, &device).adopt(graph.clone(), picture(0.0)).unwrap();
        let (expected, found) = (values(old.forward(picture(5.0))), values(new.forward(picture(5.0))));
        let far = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-3, "{far}");
        let other = UnetConfig { width: 8, ..CONFIG }.init::<Flex>(1, &device);
        assert!(matches!(other.adopt(graph.clone(), picture(0.0)), Err(AdoptError::Shape { layer: 0, .. })));
        let other = UnetConfig { depth: 2, ..CONFIG }.init::<Flex>(1, &device);
        assert!(matches!(
            other.adopt(graph, picture(0.0)),
            Err(AdoptError::Layers { expected: 8, actual: 12 })
        ));
    }
}
