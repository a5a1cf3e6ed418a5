//! A training run on disk: weights, optimizer, and progress.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::{AutodiffModule, Module};
use burn::optim::Optimizer;
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Record, Recorder, RecorderError};
use burn::tensor::backend::{AutodiffBackend, Backend};
use host_console::{WriteError, write_whole};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The progress of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Steps done.
    pub steps: u64,
    /// Seconds spent so far.
    pub seconds: f64,
    /// Sum of the losses of the epoch's steps so far.
    pub epoch_loss: f64,
    /// The best validation mean AP so far, and its epoch.
    pub best: Option<(f64, u32)>,
}

/// The weights of a run.
#[derive(Debug, Clone)]
pub struct CheckpointWeights<M, A> {
    /// The weights after the last step.
    pub model: M,
    /// Their exponential moving average, which is exported.
    pub average: A,
}

/// A run as it was saved.
#[derive(Debug)]
pub struct Restored<M, A, O> {
    /// Where it stands.
    pub position: Position,
    /// Its weights.
    pub weights: CheckpointWeights<M, A>,
    /// Its optimizer.
    pub optimizer: O,
}

/// Why a checkpoint cannot be saved or loaded.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is truncated or changed.
    #[error("{path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Burn cannot make records of the weights, or weights of the records.
    #[error("cannot save the weights")]
    Record(#[from] RecorderError),
}

#[derive(Serialize, Deserialize)]
struct Contents {
    position: Position,
    model: Vec<u8>,
    average: Vec<u8>,
    optimizer: Vec<u8>,
}

type Bytes = BinBytesRecorder<FullPrecisionSettings>;

/// Saves a run atomically.
///
/// # Errors
/// [`CheckpointError`].
pub fn save<B, M, O>(
    path: &Path,
    position: &Position,
    CheckpointWeights { model, average }: CheckpointWeights<&M, &M::InnerModule>,
    optimizer: &O,
) -> Result<(), CheckpointError>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: Optimizer<M, B>,
{
    let contents = Contents {
        position: position.clone(),
        model: encode::<B, _>(model.clone().into_record())?,
        average: encode::<B::InnerBackend, _>(average.clone().into_record())?,
        optimizer: encode::<B, _>(optimizer.to_record())?,
    };
    let mut bytes =
        postcard::to_allocvec(&contents).map_err(|error| RecorderError::Unknown(error.to_string()))?;
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    Ok(write_whole(path, &bytes)?)
}

/// Loads a run into a model and an optimizer of the same architecture.
///
/// # Errors
/// [`CheckpointError`].
pub fn load<B, M, O>(
    path: &Path,
    CheckpointWeights { model, average }: CheckpointWeights<M, M::InnerModule>,
    optimizer: O,
    device: &B::Device,
) -> Result<Restored<M, M::InnerModule, O>, CheckpointError>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: Optimizer<M, B>,
{
    let contents = read(path)?;
    let model = model.load_record(decode::<B, _>(contents.model, device)?);
    let average = average.load_record(decode::<B::InnerBackend, _>(contents.average, device)?);
    let optimizer = optimizer.load_record(decode::<B, _>(contents.optimizer, device)?);
    Ok(Restored { position: contents.position, weights: CheckpointWeights { model, average }, optimizer })
}

/// Loads only the averaged weights of a run, for a module of the same architecture.
///
/// # Errors
/// [`CheckpointError`].
pub fn load_weights<B: Backend, M: Module<B>>(
    path: &Path,
    model: M,
    device: &B::Device,
) -> Result<M, CheckpointError> {
    Ok(model.load_record(decode::<B, _>(read(path)?.average, device)?))
}

/// How many steps a run has done.
///
/// # Errors
/// [`CheckpointError`].
pub fn steps(path: &Path) -> Result<u64, CheckpointError> {
    Ok(read(path)?.position.steps)
}

fn read(path: &Path) -> Result<Contents, CheckpointError> {
    let bytes = fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    let damaged = || CheckpointError::Damaged { path: path.to_owned() };
    let (contents, digest) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    if Sha256::digest(contents).as_slice() != digest {
        return Err(damaged());
    }
    postcard::from_bytes(contents).map_err(|_| damaged())
}

fn encode<B: Backend, R: Record<B>>(record: R) -> Result<Vec<u8>, RecorderError> {
    Recorder::<B>::record(&Bytes::default(), record, ())
}

fn decode<B: Backend, R: Record<B>>(bytes: Vec<u8>, device: &B::Device) -> Result<R, RecorderError> {
    Recorder::<B>::load(&Bytes::default(), bytes, device)
}
