//! The network that a run begins with.

use burn::tensor::{Tensor, TensorData};
use host_console::Failure;
use host_modelling::read_graph;

use super::config::TrainConfig;
use super::ops::TrainingOps;
use super::sampler::{Batch, Sampler};
use super::unet::Unet;

/// A network with random weights, or with those of the run's files.
///
/// # Errors
/// [`Failure`] when the weights of a file cannot be taken over.
pub fn first_network<B: TrainingOps>(
    config: &TrainConfig,
    sampler: &Sampler,
    device: &B::Device,
) -> Result<Unet<B>, Failure> {
    let mut network = config.unet.init(config.seed, device).training_in(config.precision);
    if let Some(file) = &config.encoder_weights {
        file.bytes()?;
        network.load_encoder(&file.path)?;
    }
    if let Some(file) = &config.from {
        let graph = read_graph(&file.bytes()?).map_err(|error| {
            let next = "name a model file with float activations that nuclei-host wrote";
            Failure::usage(format!("{}: {error}", file.path.display()), next)
        })?;
        // Crops that no step sees: what counts is how the network's values are spread.
        let batch = Batch::of_step(sampler, config, config.steps());
        let images = TensorData::new(batch.image_nchw, [config.batch, 3, config.crop, config.crop]);
        network = network.adopt(graph, Tensor::from_data(images, device))?;
    }
    Ok(network)
}
