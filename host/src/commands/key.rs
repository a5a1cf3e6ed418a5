//! `nuclei-host key`: keys that stations trust.

use clap::{Args, Subcommand};
use host_console::{Exit, Failure, output, warning};
use serde::Serialize;
use shared::trust::PublicKey;

use crate::station::key_store::{KeyName, KeyStore};

const EXAMPLES: &str = "Examples:
  nuclei-host key new ana         (prints the line for [trust.keys] of the station's TOML)
  nuclei-host key list
  nuclei-host sign nuclei.onnx --key ana";

/// Create and list the keys that sign models and changes.
///
/// A station with keys under [trust.keys] in its TOML only accepts models and changes signed by one of them. A station
/// without keys accepts them from anyone on its serial line. The secret key stays in this user's configuration folder.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KeyArgs {
    #[command(subcommand)]
    what: KeyCommand,
    /// Print one JSON object per key
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum KeyCommand {
    /// Create a key
    New {
        /// Name of the owner: letters, digits, - and _
        name: KeyName,
    },
    /// List this user's keys as lines of TOML
    List,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct KeyRecord {
    name: String,
    public_key: String,
    id: String,
    file: String,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &KeyArgs) -> Result<Exit, Failure> {
    let store = KeyStore::of_user()?;
    match &args.what {
        KeyCommand::New { name } => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)
                .map_err(|error| Failure::failed(error, "the system could not provide random bytes"))?;
            let key = store.create(name, &seed)?.public();
            print(args.json, &store, name, &key)?;
            warning!(
                "add this line under [trust.keys] in each station's TOML and restart the station; the \
                     secret key is in {}",
                store.path(name).display()
            );
        }
        KeyCommand::List => {
            for name in store.names()? {
                print(args.json, &store, &name, &store.load(&name)?.public())?;
            }
        }
    }
    Ok(Exit::Done)
}

fn print(json: bool, store: &KeyStore, name: &KeyName, key: &PublicKey) -> Result<(), Failure> {
    if json {
        let file = store.path(name).display().to_string();
        let (public_key, id) = (key.to_string(), key.id().to_string());
        output::json(&KeyRecord { name: name.to_string(), public_key, id, file })
    } else {
        output::line(&format!("{name} = \"{key}\" # {}", key.id()))
    }
}
