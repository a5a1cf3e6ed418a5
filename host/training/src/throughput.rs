//! Training speed on this machine.

use std::time::Instant;

use burn::backend::{Autodiff, Flex};
use burn::optim::AdamConfig;
use burn::tensor::backend::AutodiffBackend;
use serde::Serialize;
use training_kernels::Precision;

use super::backend::Backend;
use super::config::StepShape;
use super::ops::TrainingOps;
use super::recipe::Recipe;
use super::sampler::Batch;
use super::session::step;
use super::unet::{Unet, UnetConfig};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct ThroughputConfig {
    /// The network.
    pub unet: UnetConfig,
    /// Crops per step.
    pub batch: usize,
    /// Side of a crop, px.
    pub crop: usize,
    /// Precision of the CPU's products.
    pub precision: Precision,
    /// Steps that count; the first one, which warms up, does not.
    pub steps: usize,
}

/// The speed of training steps: forward, backward and Adam, on crops that are made already.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Throughput {
    /// Median time of a step, ms.
    pub step_ms: f64,
    /// Crops per second at that time.
    pub crops_per_s: f64,
    /// Multiply-accumulates per second at that time, in billions, counting three for each of the forward pass.
    pub gmac_per_s: f64,
}

impl ThroughputConfig {
    /// Trains on crops of a fixed pattern.
    pub fn measure(&self, backend: Backend) -> Throughput {
        match backend {
            #[cfg(feature = "cuda")]
            Backend::Cuda => self.measure_on::<crate::backend::cuda::CudaTraining>(&Default::default()),
            Backend::Cpu => self.measure_on::<Autodiff<Flex>>(&Default::default()),
        }
    }

    fn measure_on<B: AutodiffBackend + TrainingOps>(&self, device: &B::Device) -> Throughput {
        let mut model: Unet<B> = self.unet.init(1, device).training_in(self.precision);
        let mut optimizer = AdamConfig::new().init::<B, Unet<B>>();
        let shape = StepShape { side: self.crop, masks: Recipe::Nuclei.masks() };
        let mut times_ms: Vec<f64> = (0..=self.steps)
            .map(|_| {
                let batch = self.batch();
                let start = Instant::now();
                let loss;
                (model, loss) = step(shape, model.clone(), &mut optimizer, batch, 1e-3, device);
                // The read waits behind all that the step asked of the device, Adam included.
                let _ = loss.into_scalar();
                start.elapsed().as_secs_f64() * 1e3
            })
            .skip(1)
            .collect();
        times_ms.sort_by(f64::total_cmp);
        let step_ms = times_ms[times_ms.len() / 2];
        let crops_per_s = self.batch as f64 / step_ms * 1e3;
        let macs = model.graph(self.crop).map_or(0.0, |graph| graph.macs() as f64);
        Throughput { step_ms, crops_per_s, gmac_per_s: 3.0 * macs * crops_per_s / 1e9 }
    }

    fn batch(&self) -> Batch {
        let pixels = self.batch * self.crop * self.crop;
        let pattern = |channels: usize, step: usize| -> Vec<f32> {
            (0..channels * pixels).map(|i| (i * step % 101) as f32 / 100.0).collect()
        };
        Batch {
            image_nchw: pattern(3, 37),
            targets_nchw: pattern(self.unet.outputs, 53),
            weight_nchw: vec![1.0; self.unet.outputs * pixels],
        }
    }
}
