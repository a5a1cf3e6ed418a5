//! What a station would work with, and what to do about what is missing.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use serde::Serialize;
use shared::slots::MAX_MODEL_LENGTH;
use shared::trust::Keyring;
use shared::wire::{ModelDigest, Slot};

use crate::camera::CameraSource;
use crate::io::{IlluminationConfig, StatusLightConfig};
use crate::link::{Link as _, SerialLink};
use crate::runtime::ErrorChain;
use crate::station::{Config, LinkConfig};
use crate::update::{FACTORY_MODEL, FolderStorage, StorageError, stored_model, stored_table, verify};

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Well,
    /// The station works without.
    Missing,
    /// The station does not work, or not as configured.
    Broken,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    seen: String,
    /// What to do next; empty where all is well.
    next: String,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    findings: Vec<Finding>,
}

/// Looks at everything that a station of this configuration works with. Nothing is changed.
pub fn check(config: &Config) -> Findings {
    let findings = vec![
        camera(&config.camera),
        flat_field(config),
        port(&config.link),
        storage(&config.storage.folder),
        slots(config),
        trust(config),
        factory(config),
        illumination(config.illumination.as_ref()),
        status_light(config.status_light.as_ref()),
    ];
    Findings { findings }
}

impl Findings {
    /// Whether a station would work, if not with everything.
    pub fn all_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.state != State::Broken)
    }

    /// The findings as lines, each with its next step.
    pub fn text(&self) -> String {
        let line = |Finding { what, state, seen, next }: &Finding| {
            let mark = match state {
                State::Well => "ok",
                State::Missing => "missing",
                State::Broken => "broken",
            };
            let next = if next.is_empty() { String::new() } else { format!("\n{:22}next: {next}", "") };
            format!("{what:<13} {mark:<7} {seen}{next}\n")
        };
        self.findings.iter().map(line).collect()
    }

    /// The findings as one JSON object.
    ///
    /// # Errors
    /// None that plain values could give.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

fn well(what: &'static str, seen: impl Into<String>) -> Finding {
    Finding { what, state: State::Well, seen: seen.into(), next: String::new() }
}

fn missing(what: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { what, state: State::Missing, seen: seen.into(), next: next.into() }
}

fn broken(what: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { what, state: State::Broken, seen: seen.into(), next: next.into() }
}

fn camera(source: &CameraSource) -> Finding {
    match source.open() {
        Ok(camera) => well("camera", camera.name()),
        Err(error) => missing(
            "camera",
            ErrorChain(&error).to_string(),
            "mend that; a running station finds the camera by itself",
        ),
    }
}

fn flat_field(config: &Config) -> Finding {
    match config.load_flat_field() {
        Ok(None) => well("flat field", "none configured"),
        Ok(Some(loaded)) => {
            let origin = loaded.flat_field.origin();
            let from = format!("of {} bright and {} dark frames", origin.bright_frames, origin.dark_frames);
            well("flat field", format!("{from}, by {}", origin.by))
        }
        Err(error) => broken("flat field", error.to_string(), "correct the configuration"),
    }
}

fn port(LinkConfig { port, baud }: &LinkConfig) -> Finding {
    match SerialLink::new(port.clone(), *baud).open() {
        Ok(_) => well("port", format!("{port} at {baud} bits a second")),
        Err(error) => {
            let next = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "connect it, or name another under [link] or by --port; a running station finds it by itself"
                }
                std::io::ErrorKind::PermissionDenied => "add the station's user to the group dialout",
                _ => "stop the program that holds it (a running station does), or name another by --port",
            };
            missing("port", format!("{port} cannot be opened: {error}"), next)
        }
    }
}

/// Two models and the records beside them.
const LEAST_FREE: u64 = 2 * MAX_MODEL_LENGTH as u64;

fn storage(folder: &Path) -> Finding {
    let shown = folder.display();
    if !folder.exists() {
        return match fs::create_dir_all(folder).and_then(|()| fs::remove_dir(folder)) {
            Ok(()) => well("storage", format!("{shown} will be made")),
            Err(error) => broken(
                "storage",
                format!("{shown} cannot be made: {error}"),
                "make it for the station's user, or name another by --storage; until then only the factory model runs",
            ),
        };
    }
    match FolderStorage::open(folder) {
        Ok(_) | Err(StorageError::InUse { .. }) => {}
        Err(error @ StorageError::Unusable { .. }) => {
            let next = "give the station's user the right to write there, or name another by --storage";
            return broken("storage", ErrorChain(&error).to_string(), next);
        }
    }
    match statvfs(folder) {
        Ok(disk) => {
            let free = disk.blocks_available() * disk.fragment_size();
            let seen = format!("{shown}, {} MB free", free >> 20);
            if free < LEAST_FREE {
                missing("storage", seen, format!("free {} MB for new models", LEAST_FREE >> 20))
            } else {
                well("storage", seen)
            }
        }
        Err(error) => broken("storage", format!("{shown}: {error}"), "check the disk"),
    }
}

fn slots(config: &Config) -> Finding {
    match stored_table(&config.storage.folder) {
        Ok(None) => well("slots", "none was flashed: the factory model runs"),
        Ok(Some(Ok(table))) => {
            let content = |slot| {
                let record = table.record(slot);
                let state = format!("{:?}", record.state()).to_lowercase();
                record.model().map_or(state.clone(), |model| format!("{state} {}", model.digest))
            };
            let keyring = config.keyring().unwrap_or_default();
            let seen = format!("A {}, B {}, {:?} runs", content(Slot::A), content(Slot::B), table.active());
            match stored_model(&config.storage.folder, &table) {
                Ok(None) => well("slots", seen),
                Ok(Some((digest, onnx))) => match verify(digest, &onnx, config.execution(), &keyring) {
                    Ok(()) => well("slots", format!("{seen} and finds what it should in its golden frame")),
                    Err(reason) => missing("slots", format!("{seen}, but cannot: {reason}"), "flash a model"),
                },
                Err(error) => {
                    broken("slots", format!("{seen}, but cannot be read: {error}"), "check the disk")
                }
            }
        }
        Ok(Some(Err(error))) => missing(
            "slots",
            format!("the slot table is not usable ({error}): the factory model runs"),
            "flash a model",
        ),
        Err(error) => broken("slots", format!("the slot table cannot be read: {error}"), "check the disk"),
    }
}

fn trust(config: &Config) -> Finding {
    match config.keyring() {
        Ok(keyring) if keyring.is_open() => missing(
            "trust",
            "an open station: whoever reaches its line may change models and settings",
            "put the line that nuclei-host key new NAME prints under [trust.keys]",
        ),
        Ok(keyring) => {
            let keys: Vec<String> = keyring
                .keys()
                .iter()
                .map(|trusted| format!("{} ({})", trusted.name, trusted.key.id()))
                .collect();
            well("trust", format!("models and changes by {} alone", keys.join(", ")))
        }
        Err(error) => broken("trust", error.to_string(), "correct the configuration"),
    }
}

fn factory(config: &Config) -> Finding {
    let digest = ModelDigest::of(FACTORY_MODEL);
    match verify(digest, FACTORY_MODEL, config.execution(), &Keyring::default()) {
        Ok(()) => well("factory model", format!("{digest}, and finds what it should in its golden frame")),
        Err(reason) => {
            broken("factory model", format!("{digest} cannot be run: {reason}"), "install this program again")
        }
    }
}

fn illumination(config: Option<&IlluminationConfig>) -> Finding {
    match (config, IlluminationConfig::open_optional(config)) {
        (None, Ok(_)) => well("illumination", "none configured"),
        (Some(_), Ok(_)) => well("illumination", "as configured"),
        (_, Err(error)) => {
            broken("illumination", ErrorChain(&error).to_string(), "mend that, or remove [illumination]")
        }
    }
}

fn status_light(config: Option<&StatusLightConfig>) -> Finding {
    match (config, StatusLightConfig::open_optional(config)) {
        (None, Ok(_)) => well("status light", "none configured"),
        (Some(_), Ok(_)) => well("status light", "as configured"),
        (_, Err(error)) => {
            broken("status light", ErrorChain(&error).to_string(), "mend that, or remove [status_light]")
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::trust::SecretKey;

    use super::*;

    #[test]
    fn what_is_missing_has_a_next_step_and_what_is_broken_is_not_well() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.link.port = folder.path().join("no-port").display().to_string();
        config.camera = CameraSource::Pictures {
            path: folder.path().join("no-pictures"),
            frames_per_second: 1.0,
            repeat: crate::camera::Repeat::Once,
        };
        config.storage.folder = folder.path().join("storage");
        let findings = check(&config);
        assert!(findings.all_well(), "{}", findings.text());
        for finding in &findings.findings {
            assert_eq!(finding.state == State::Well, finding.next.is_empty(), "{finding:?}");
        }
        let state = |what| findings.findings.iter().find(|finding| finding.what == what).unwrap().state;
        assert_eq!([state("camera"), state("port"), state("trust")], [State::Missing; 3]);
        assert_eq!([state("storage"), state("slots"), state("factory model")], [State::Well; 3]);
        assert!(!config.storage.folder.exists(), "nothing is changed");

        let key = SecretKey::from_seed(&[1; 32]).public();
        config.trust.keys.insert("ana".to_owned(), key);
        let told = check(&config).text();
        assert!(told.contains(&format!("models and changes by ana ({}) alone", key.id())), "{told}");

        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        config.storage.folder = file.join("below");
        let findings = check(&config);
        assert!(!findings.all_well());
        assert!(findings.text().contains("next: make it"), "{}", findings.text());
        assert!(findings.json().unwrap().starts_with("{\"findings\":["));
    }
}
