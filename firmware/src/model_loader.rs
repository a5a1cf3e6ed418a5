//! Model files made ready to run, away from the threads that count and answer.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};

use shared::trust::Keyring;
use shared::wire::{ModelDigest, ModelRefusal, Slot};
use shared::{Model, SegmentError};

use crate::journal::note;
use crate::pipeline::Pipeline;
use crate::service::Input;
use crate::slot_store::Work;

/// Does the work of changed slots until no more comes.
pub fn load_models(
    work: &Receiver<Work>,
    threads: NonZeroUsize,
    keyring: &Keyring,
    service: &SyncSender<Input>,
) {
    for work in work {
        let done = match work {
            Work::Verify { digest, onnx } => Input::Verified(digest, verify(digest, &onnx, threads, keyring)),
            Work::Load { slot, digest, onnx } => {
                Input::Loaded(digest, load(slot, digest, &onnx, threads, keyring).map(Box::new))
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
    threads: NonZeroUsize,
    keyring: &Keyring,
) -> Result<Pipeline, ModelRefusal> {
    let open_station = Keyring::default();
    let keyring = if slot == Slot::Factory { &open_station } else { keyring };
    caught(|| Ok(Pipeline::new(open(digest, onnx, threads, keyring)?)))
}

/// Checks that a model is the one meant, has the word of a key that is trusted, can be run here, and finds
/// in its golden frame what it found there.
///
/// # Errors
/// [`ModelRefusal`]; a panic on the way is one, too.
pub fn verify(
    digest: ModelDigest,
    onnx: &[u8],
    threads: NonZeroUsize,
    keyring: &Keyring,
) -> Result<(), ModelRefusal> {
    caught(|| {
        open(digest, onnx, threads, keyring)?.into_segmenter().check_golden().map_err(|error| {
            note!("the model {digest} is refused: {error}");
            match error {
                SegmentError::Golden(_) => ModelRefusal::GoldenMismatch,
                SegmentError::Network(_) | SegmentError::OutputLength { .. } | SegmentError::Size(_) => {
                    ModelRefusal::Unsupported
                }
            }
        })
    })
}

/// Not a byte of a stranger's model is parsed.
fn open(
    digest: ModelDigest,
    onnx: &[u8],
    threads: NonZeroUsize,
    keyring: &Keyring,
) -> Result<Model, ModelRefusal> {
    if ModelDigest::of(onnx) != digest {
        note!("the model {digest} is refused: its bytes have another digest");
        return Err(ModelRefusal::DigestMismatch);
    }
    keyring.check_model(onnx).inspect_err(|refusal| note!("the model {digest} is refused: {refusal}"))?;
    Model::load(onnx, threads).map_err(|error| {
        note!("the model {digest} is refused: {error}");
        error.refusal()
    })
}

/// The inference engine's own faults are the model's: it is refused and the station goes on.
fn caught<T>(work: impl FnOnce() -> Result<T, ModelRefusal>) -> Result<T, ModelRefusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        note!("a model is refused: loading it failed by a panic");
        Err(ModelRefusal::Unsupported)
    })
}
