//! `nuclei-host sign`: signs a model.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use host_console::{Exit, Failure, open_input, output, write_whole};
use serde::Serialize;
use shared::read_manifest;
use shared::slots::MAX_MODEL_LENGTH;
use shared::trust::SIGNATURE_LENGTH;
use shared::wire::{ModelDigest, UnixSeconds};
use thiserror::Error;

use crate::station::key_store::{KeyName, KeyStore};

const EXAMPLES: &str = "Examples:
  nuclei-host sign nuclei.onnx                 (with the only key on this machine)
  nuclei-host sign nuclei.onnx --key ana --out signed.onnx";

/// Sign a model so that stations that trust the key accept it.
///
/// The file stays an ordinary ONNX model. The signature is the last entry of its metadata and replaces an earlier one.
/// It includes the time: a station refuses a model that was signed before the last one it confirmed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SignArgs {
    /// The model file
    file: PathBuf,
    /// Key to sign with [default: the only key on this machine]
    #[arg(long, value_name = "NAME")]
    key: Option<KeyName>,
    /// Write the signed model here [default: overwrite the file]
    #[arg(long, value_name = "FILE.onnx")]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Signed {
    file: String,
    key: String,
    id: String,
    digest: String,
    signed_unix_s: u64,
}

#[derive(Debug, Error)]
enum SignError {
    #[error("{path} could not be read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} is larger than the {MAX_MODEL_LENGTH} bytes that a station accepts")]
    TooLong { path: PathBuf },
    #[error("{path} is not a model that can be signed")]
    NoModel { path: PathBuf, source: shared::ModelError },
    #[error("this machine's clock is set before 1970")]
    Clock,
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        let next = match error {
            SignError::Clock => "set the clock; the signature includes the time",
            _ => "give a model file written by nuclei-host train or export",
        };
        Self::failed(error, next)
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &SignArgs) -> Result<Exit, Failure> {
    let (name, key) = KeyStore::of_user()?.choose(args.key.as_ref())?;
    let onnx = read(&args.file)?;
    read_manifest(&onnx).map_err(|source| SignError::NoModel { path: args.file.clone(), source })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| SignError::Clock)?.as_secs();
    let signed = key.sign_model(&onnx, UnixSeconds(now));
    let out = args.out.as_ref().unwrap_or(&args.file);
    write_whole(out, &signed)?;
    let (id, digest) = (key.public().id(), ModelDigest::of(&signed));
    if args.json {
        output::json(&Signed {
            file: out.display().to_string(),
            key: name.to_string(),
            id: id.to_string(),
            digest: format!("{digest:#}"),
            signed_unix_s: now,
        })?;
    } else {
        output::line(&format!("{}: signed by {name} ({id}), digest {digest}", out.display()))?;
    }
    Ok(Exit::Done)
}

/// Signs a file that a station could accept.
fn read(path: &Path) -> Result<Vec<u8>, SignError> {
    let unreadable = |source| SignError::Unreadable { path: path.to_owned(), source };
    let longest = MAX_MODEL_LENGTH as usize - SIGNATURE_LENGTH;
    let mut onnx = Vec::new();
    let file = open_input(path).map_err(unreadable)?;
    file.take(longest as u64 + 1).read_to_end(&mut onnx).map_err(unreadable)?;
    if onnx.len() > longest { Err(SignError::TooLong { path: path.to_owned() }) } else { Ok(onnx) }
}
