//! The training loop: steps, epochs, checkpoints, and resuming.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::module::AutodiffModule as _;
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion as _, Tensor, TensorData};
use host_console::{Failure, Progress};
use host_modelling::{Encoding, Graph, export_model};
use indicatif::HumanDuration;
use shared::SetScore;

use super::checkpoint::{self, CheckpointError, CheckpointWeights, Position, Restored};
use super::config::{StepShape, TrainConfig};
use super::ema::{ema_decay, ema_update};
use super::first_network::first_network;
use super::golden_scene::golden_scene;
use super::loss::segmentation_loss;
use super::ops::TrainingOps;
use super::run_folder::{Epoch, RunFolder};
use super::sampler::{Batch, Sampler, batches};
use super::unet::Unet;
use super::validation::{ValidationPicture, validate};

/// The inputs of a run.
#[derive(Debug)]
pub struct Session<'a> {
    /// Its settings.
    pub config: &'a TrainConfig,
    /// Its folder.
    pub folder: &'a RunFolder,
    /// The training images.
    pub sampler: &'a Sampler,
    /// The held-back images; without any, validation is skipped and the last weights count as the best.
    pub validation: &'a [ValidationPicture],
    /// Threads of validation.
    pub threads: NonZeroUsize,
    /// Set to stop the run after the current step.
    pub stop: &'a AtomicBool,
    /// How long it works at most, and how often it is saved.
    pub limits: Limits,
}

/// What bounds a run in time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// It stops after this time as if asked to.
    pub most: Option<Duration>,
    /// Time from one checkpoint to the next within an epoch: what a power cut costs at most.
    pub checkpoint_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { most: None, checkpoint_every: Duration::from_secs(600) }
    }
}

/// Steps between readings of the loss, each of which waits for the GPU.
const LOSS_READ_EVERY: u64 = 16;

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// All epochs are done; the network of the best one.
    Finished(Graph),
    /// It was stopped and can be resumed.
    Interrupted {
        /// Steps done.
        steps: u64,
    },
}

impl Session<'_> {
    /// Trains to the end, from the folder's checkpoint if any, with crops prepared by `makers` threads.
    ///
    /// # Errors
    /// [`Failure`] when a file cannot be read or written, or the loss is no longer finite.
    pub fn run<B: AutodiffBackend + TrainingOps>(
        &self,
        device: &B::Device,
        makers: NonZeroUsize,
    ) -> Result<Outcome, Failure> {
        let resumed = self.folder.checkpoint().exists();
        let model: Unet<B> = if resumed {
            self.config.unet.init(self.config.seed, device).training_in(self.config.precision)
        } else {
            first_network(self.config, self.sampler, device)?
        };
        let mut weights = CheckpointWeights { average: model.valid(), model };
        let mut optimizer = AdamConfig::new().init::<B, Unet<B>>();
        let mut position = Position { steps: 0, seconds: 0.0, epoch_loss: 0.0, best: None };
        if resumed {
            Restored { position, weights, optimizer } =
                checkpoint::load(&self.folder.checkpoint(), weights, optimizer, device)?;
        }
        let mut epochs = self.folder.load_epochs()?;
        let (steps, epoch_steps) = (self.config.steps(), self.config.epoch_steps());
        let progress = Progress::new("training", steps.saturating_sub(position.steps));
        let (before, start) = (position.seconds, Instant::now());
        let mut saved = start;

        let interrupted = std::thread::scope(|scope| {
            let batches = batches(scope, self.sampler, self.config, position.steps, steps, makers);
            let mut unread: Vec<Tensor<B::InnerBackend, 1>> = Vec::new();
            for batch in batches {
                let rate = self.config.schedule.rate(self.config.learning_rate, position.steps, steps);
                let loss;
                (weights.model, loss) =
                    step(self.config.step_shape(), weights.model, &mut optimizer, batch, rate, device);
                unread.push(loss);
                position.steps += 1;
                let decay = ema_decay(position.steps, self.config.averaging);
                weights.average = ema_update(weights.average, &weights.model.valid(), decay);
                progress.advance(1);
                let epoch_ends = position.steps.is_multiple_of(epoch_steps);
                let over = self.limits.most.is_some_and(|most| start.elapsed() >= most);
                let stop = over || self.stop.load(Ordering::Relaxed);
                let save = stop && position.steps < steps || saved.elapsed() >= self.limits.checkpoint_every;
                if epoch_ends || save || position.steps.is_multiple_of(LOSS_READ_EVERY) {
                    let loss: f64 = unread.drain(..).map(|loss| loss.into_scalar().elem::<f64>()).sum();
                    if !loss.is_finite() {
                        let next = "lower --learning-rate and start a new run";
                        return Err(Failure::failed(
                            format!("the loss is {loss} at step {} or shortly before", position.steps),
                            next,
                        ));
                    }
                    position.epoch_loss += loss;
                    position.seconds = before + start.elapsed().as_secs_f64();
                }
                if epoch_ends {
                    let epoch = self.end_epoch(&weights, &optimizer, &mut position, rate)?;
                    progress.print(&self.line(&epoch, &position))?;
                    epochs.retain(|old| old.epoch < epoch.epoch);
                    epochs.push(epoch);
                    self.folder.save_epochs(&epochs)?;
                    self.save(&self.folder.checkpoint(), &position, &weights, &optimizer)?;
                }
                if save {
                    self.save(&self.folder.checkpoint(), &position, &weights, &optimizer)?;
                    saved = Instant::now();
                }
                if stop && position.steps < steps {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if interrupted {
            return Ok(Outcome::Interrupted { steps: position.steps });
        }
        let best = self.config.unet.init::<B::InnerBackend>(self.config.seed, device);
        let best = checkpoint::load_weights(&self.folder.best(), best, device)?;
        Ok(Outcome::Finished(self.graph(&best)?))
    }

    fn save<B: AutodiffBackend>(
        &self,
        path: &Path,
        position: &Position,
        weights: &CheckpointWeights<Unet<B>, Unet<B::InnerBackend>>,
        optimizer: &impl Optimizer<Unet<B>, B>,
    ) -> Result<(), CheckpointError> {
        let CheckpointWeights { model, average } = weights;
        checkpoint::save(path, position, CheckpointWeights { model, average }, optimizer)
    }

    /// Validates if due, stores the weights if they are the best, and closes the epoch.
    fn end_epoch<B: AutodiffBackend>(
        &self,
        weights: &CheckpointWeights<Unet<B>, Unet<B::InnerBackend>>,
        optimizer: &impl Optimizer<Unet<B>, B>,
        position: &mut Position,
        rate: f64,
    ) -> Result<Epoch, Failure> {
        let epoch = (position.steps / self.config.epoch_steps()) as u32;
        let due = epoch.is_multiple_of(self.config.validate_every) || epoch == self.config.epochs;
        let mut validation = None;
        if due {
            validation = self.validate(&weights.average)?;
            let score = validation.as_ref().map_or(f64::from(epoch), |score| score.mean_ap);
            if position.best.is_none_or(|(best, _)| score >= best) {
                position.best = Some((score, epoch));
                self.save(&self.folder.best(), position, weights, optimizer)?;
            }
        }
        let loss = position.epoch_loss / self.config.epoch_steps() as f64;
        position.epoch_loss = 0.0;
        Ok(Epoch {
            epoch,
            crops: position.steps * self.config.batch as u64,
            seconds: position.seconds,
            learning_rate: rate,
            loss,
            validation,
        })
    }

    fn validate<B: Backend>(&self, model: &Unet<B>) -> Result<Option<SetScore>, Failure> {
        if self.validation.is_empty() {
            return Ok(None);
        }
        let onnx = export_model(self.graph(model)?, &self.config.draft()?, Encoding::F32, &golden_scene()?)?;
        let scores = validate(&onnx, self.validation, self.threads)?;
        Ok(SetScore::from_scores(scores.iter().map(|(_, score)| score)))
    }

    fn graph<B: Backend>(&self, model: &Unet<B>) -> Result<Graph, Failure> {
        Ok(model.graph(self.config.tile())?)
    }

    fn line(&self, epoch: &Epoch, position: &Position) -> String {
        let crops = epoch.crops as f64 / position.seconds.max(1e-9);
        let left = (self.config.steps() - position.steps) as f64 * position.seconds / position.steps as f64;
        let left = HumanDuration(Duration::from_secs_f64(left));
        let score = epoch.validation.as_ref().map_or(String::new(), |score| {
            let SetScore { mean_ap, ap, count_error, .. } = score;
            format!(", mean AP {mean_ap:.3}, AP50 {:.3}, count error {:.1} %", ap[0], 100.0 * count_error)
        });
        let Epoch { epoch, loss, .. } = epoch;
        format!(
            "epoch {epoch}/{}: loss {loss:.4}{score}; {crops:.1} crops/s, {left} left",
            self.config.epochs
        )
    }
}

/// One step: the model after it, and the loss before it, not read back: a GPU computes on while the next steps
/// are prepared.
pub(super) fn step<B: AutodiffBackend + TrainingOps>(
    StepShape { side, masks }: StepShape,
    model: Unet<B>,
    optimizer: &mut impl Optimizer<Unet<B>, B>,
    batch: Batch,
    rate: f64,
    device: &B::Device,
) -> (Unet<B>, Tensor<B::InnerBackend, 1>) {
    let crops = batch.image_nchw.len() / (3 * side * side);
    let tensor = |values: Vec<f32>| {
        let shape = [crops, values.len() / (crops * side * side), side, side];
        Tensor::<B, 4>::from_data(TensorData::new(values, shape), device)
    };
    let logits = model.forward(tensor(batch.image_nchw));
    let loss = segmentation_loss(logits, tensor(batch.targets_nchw), tensor(batch.weight_nchw), masks);
    let grads = GradientsParams::from_grads(loss.backward(), &model);
    let loss = loss.inner();
    (optimizer.step(rate, model, grads), loss)
}

#[cfg(test)]
mod tests;
