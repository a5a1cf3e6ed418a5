//! Verifies and loads models on a thread of its own, so that counting and responding continue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};

use shared::trust::Keyring;
use shared::wire::{ModelDigest, ModelRefusal, Slot};
use shared::{Execution, Model, SegmentError};

use super::slot_store::LoaderJob;
use crate::inbox::ServiceEvent;
use crate::inference::Pipeline;
use crate::runtime::log;

/// Does the work of changed slots until no more comes.
pub fn load_models(
    work: &Receiver<LoaderJob>,
    execution: Execution,
    keyring: &Keyring,
    service: &SyncSender<ServiceEvent>,
) {
    for work in work {
        let done = match work {
            LoaderJob::Verify { digest, onnx } => {
                ServiceEvent::Verified(digest, verify(digest, &onnx, execution, keyring).map(Box::new))
            }
            LoaderJob::Load { slot, digest, onnx } => {
                ServiceEvent::Loaded(digest, load(slot, digest, &onnx, execution, keyring).map(Box::new))
            }
        };
        if service.send(done).is_err() {
            return;
        }
    }
}

/// Makes a slot's model ready to run. That of the factory is trusted as the program is.
///
/// # Errors
/// [`ModelRefusal`]; a panic on the way is one, too.
pub fn load(
    slot: Slot,
    digest: ModelDigest,
    onnx: &[u8],
    execution: Execution,
    keyring: &Keyring,
) -> Result<Pipeline, ModelRefusal> {
    let open_station = Keyring::default();
    let keyring = if slot == Slot::Factory { &open_station } else { keyring };
    caught(|| Ok(Pipeline::new(open(digest, onnx, execution, keyring)?)))
}

/// Makes a staged model ready to run: it has the announced digest, is signed by a trusted key, runs here, and passes the
/// self-test on its golden frame.
///
/// # Errors
/// [`ModelRefusal`]; a panic on the way is one, too.
pub fn verify(
    digest: ModelDigest,
    onnx: &[u8],
    execution: Execution,
    keyring: &Keyring,
) -> Result<Pipeline, ModelRefusal> {
    caught(|| {
        let mut pipeline = Pipeline::new(open(digest, onnx, execution, keyring)?);
        pipeline.check_golden().map_err(|error| {
            log!("model {digest} rejected: {error}");
            match error {
                SegmentError::Golden(_) => ModelRefusal::GoldenMismatch,
                SegmentError::Network(_) | SegmentError::OutputLength { .. } | SegmentError::Size(_) => {
                    ModelRefusal::Unsupported
                }
            }
        })?;
        Ok(pipeline)
    })
}

/// A model signed by an unknown key is never parsed.
fn open(
    digest: ModelDigest,
    onnx: &[u8],
    execution: Execution,
    keyring: &Keyring,
) -> Result<Model, ModelRefusal> {
    if ModelDigest::of(onnx) != digest {
        log!("model {digest} rejected: its bytes have another digest");
        return Err(ModelRefusal::DigestMismatch);
    }
    keyring.check_model(onnx).inspect_err(|refusal| log!("model {digest} rejected: {refusal}"))?;
    Model::load(onnx, execution).map_err(|error| {
        log!("model {digest} rejected: {error}");
        error.refusal()
    })
}

/// A panic in the inference engine counts as the model's fault: the model is rejected and the station continues.
fn caught<T>(work: impl FnOnce() -> Result<T, ModelRefusal>) -> Result<T, ModelRefusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        log!("model rejected: loading it failed with a panic");
        Err(ModelRefusal::Unsupported)
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use shared::{Kernels, Network as _};

    use super::super::FACTORY_MODEL;
    use super::*;

    /// The maps of tiles as the factory model sees them.
    fn maps(kernels: Kernels, threads: usize, tiles_nchw: &[f32], n: usize) -> Vec<f32> {
        let execution = Execution { threads: NonZeroUsize::new(threads).unwrap(), kernels };
        let mut model = Model::load(FACTORY_MODEL, execution).unwrap();
        let mut maps_nchw = vec![9.0; 5];
        let values = tiles_nchw.len() / n;
        let cut = |index: usize, tile_chw: &mut [f32]| {
            tile_chw.copy_from_slice(&tiles_nchw[index * values..][..values]);
        };
        model.network_mut().run(n, cut, &mut maps_nchw).unwrap();
        maps_nchw
    }

    #[test]
    fn our_kernels_compute_what_tracts_do_but_for_a_level() {
        let area = 3 * 256 * 256;
        let waves =
            |index: usize| (0.5 + 0.5 * ((index as f32) * 0.013).sin()) * ((index / 256) % 7) as f32 / 6.0;
        let noise = |index: usize| ((index as f32 * 12.9898).sin() * 43758.547).fract().abs();
        let tiles_nchw: Vec<f32> = (0..3 * area)
            .map(|index| match index / area {
                0 => noise(index),
                1 => waves(index),
                _ => 0.0,
            })
            .collect();
        let expected = maps(Kernels::Tract, 1, &tiles_nchw, 3);
        let ours = maps(Kernels::Own, 1, &tiles_nchw, 3);
        assert_eq!(ours.len(), expected.len());
        assert!(expected.iter().any(|&value| value > 0.5) && expected.iter().any(|&value| value < 0.1));
        // tract rescales sums in fixed point, which moves some numbers by a level, and what follows by a few.
        let errors = || ours.iter().zip(&expected).map(|(ours, expected)| ours - expected);
        let rms = (errors().map(|error| error * error).sum::<f32>() / ours.len() as f32).sqrt();
        let worst = errors().fold(0.0_f32, |worst, error| worst.max(error.abs()));
        assert!(worst < 0.12 && rms < 0.01, "at most {worst}, {rms} in the mean");
        assert_eq!(maps(Kernels::Own, 2, &tiles_nchw, 3), ours, "threads change no bit");
    }
}
