//! Checks what a station needs, and suggests the next step for each problem.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use serde::Serialize;
use shared::slots::MAX_MODEL_LENGTH;
use shared::trust::Keyring;
use shared::wire::{ModelDigest, Slot};

use crate::camera::CameraSource;
use crate::io::{IlluminationConfig, StatusLightConfig};
use crate::link::{Connector as _, SerialConnector};
use crate::runtime::ErrorChain;
use crate::station::{Config, LinkConfig};
use crate::update::{FACTORY_MODEL, FolderStorage, StorageError, stored_model, stored_table, verify};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CheckSeverity {
    /// No problem.
    Ok,
    /// The station works without it.
    Warning,
    /// The station does not work, or not as configured.
    Error,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    what: &'static str,
    state: CheckSeverity,
    seen: String,
    /// The next step; empty without a problem.
    next: String,
}

/// The results of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    findings: Vec<Finding>,
}

/// Checks everything that a station with this configuration needs, without changing anything.
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
    /// Whether a station would work, possibly without optional parts.
    pub fn no_errors(&self) -> bool {
        self.findings.iter().all(|finding| finding.state != CheckSeverity::Error)
    }

    /// The findings as lines, each with its next step.
    pub fn text(&self) -> String {
        let line = |Finding { what, state, seen, next }: &Finding| {
            let mark = match state {
                CheckSeverity::Ok => "ok",
                CheckSeverity::Warning => "warning",
                CheckSeverity::Error => "error",
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

fn ok(what: &'static str, seen: impl Into<String>) -> Finding {
    Finding { what, state: CheckSeverity::Ok, seen: seen.into(), next: String::new() }
}

fn warning(what: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { what, state: CheckSeverity::Warning, seen: seen.into(), next: next.into() }
}

fn fault(what: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { what, state: CheckSeverity::Error, seen: seen.into(), next: next.into() }
}

fn camera(source: &CameraSource) -> Finding {
    match source.open() {
        Ok(camera) => ok("camera", camera.name()),
        Err(error) => warning(
            "camera",
            ErrorChain(&error).to_string(),
            "correct that; a running station reconnects to the camera by itself",
        ),
    }
}

fn flat_field(config: &Config) -> Finding {
    match config.load_flat_field() {
        Ok(None) => ok("flat field", "none configured"),
        Ok(Some(loaded)) => {
            let origin = loaded.flat_field.origin();
            let from = format!("of {} bright and {} dark frames", origin.bright_frames, origin.dark_frames);
            ok("flat field", format!("{from}, by {}", origin.by))
        }
        Err(error) => fault("flat field", error.to_string(), "correct the configuration"),
    }
}

fn port(LinkConfig { port, baud }: &LinkConfig) -> Finding {
    match SerialConnector::new(port.clone(), *baud).open() {
        Ok(_) => ok("port", format!("{port} at {baud} baud")),
        Err(error) => {
            let next = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "connect it, or set another under [link] or with --port; a running station opens it by itself"
                }
                std::io::ErrorKind::PermissionDenied => "add the station's user to the group dialout",
                _ => "stop the program that uses it (a running station does), or choose another with --port",
            };
            warning("port", format!("{port} cannot be opened: {error}"), next)
        }
    }
}

/// Two models and the records beside them.
const LEAST_FREE: u64 = 2 * MAX_MODEL_LENGTH as u64;

fn storage(folder: &Path) -> Finding {
    let shown = folder.display();
    if !folder.exists() {
        return match fs::create_dir_all(folder).and_then(|()| fs::remove_dir(folder)) {
            Ok(()) => ok("storage", format!("{shown} will be created")),
            Err(error) => fault(
                "storage",
                format!("{shown} cannot be created: {error}"),
                "create it for the station's user, or choose another with --storage; until then only the \
                     factory model runs",
            ),
        };
    }
    match FolderStorage::open(folder) {
        Ok(_) | Err(StorageError::InUse { .. }) => {}
        Err(error @ StorageError::Unusable { .. }) => {
            let next = "give the station's user write access, or choose another with --storage";
            return fault("storage", ErrorChain(&error).to_string(), next);
        }
    }
    match statvfs(folder) {
        Ok(disk) => {
            let free = disk.blocks_available() * disk.fragment_size();
            let seen = format!("{shown}, {} MB free", free >> 20);
            if free < LEAST_FREE {
                warning("storage", seen, format!("free {} MB for new models", LEAST_FREE >> 20))
            } else {
                ok("storage", seen)
            }
        }
        Err(error) => fault("storage", format!("{shown}: {error}"), "check the disk"),
    }
}

fn slots(config: &Config) -> Finding {
    match stored_table(&config.storage.folder) {
        Ok(None) => ok("slots", "none flashed: the factory model runs"),
        Ok(Some(Ok(table))) => {
            let content = |slot| {
                let record = table.record(slot);
                let state = record.state();
                record.model().map_or_else(|| state.to_string(), |model| format!("{state} {}", model.digest))
            };
            let keyring = config.keyring().unwrap_or_default();
            let runs = match table.active() {
                Slot::Factory => "the factory model runs",
                Slot::A => "A runs",
                Slot::B => "B runs",
            };
            let seen = format!("A {}, B {}, {runs}", content(Slot::A), content(Slot::B));
            match stored_model(&config.storage.folder, &table) {
                Ok(None) => ok("slots", seen),
                Ok(Some((digest, onnx))) => match verify(digest, &onnx, config.execution(), &keyring) {
                    Ok(_) => ok("slots", format!("{seen}, self-test passed")),
                    Err(reason) => warning(
                        "slots",
                        format!("{seen}, but the self-test failed: {reason}"),
                        "flash a model",
                    ),
                },
                Err(error) => {
                    fault("slots", format!("{seen}, but cannot be read: {error}"), "check the disk")
                }
            }
        }
        Ok(Some(Err(error))) => warning(
            "slots",
            format!("the slot table is unusable ({error}): the factory model runs"),
            "flash a model",
        ),
        Err(error) => fault("slots", format!("the slot table cannot be read: {error}"), "check the disk"),
    }
}

fn trust(config: &Config) -> Finding {
    match config.keyring() {
        Ok(keyring) if keyring.is_open() => warning(
            "trust",
            "open: anyone on the serial line can change models and settings",
            "add the line that nuclei-host key new NAME prints under [trust.keys]",
        ),
        Ok(keyring) => {
            let keys: Vec<String> = keyring
                .keys()
                .iter()
                .map(|trusted| format!("{} ({})", trusted.name, trusted.key.id()))
                .collect();
            ok("trust", format!("restricted to models and changes signed by {}", keys.join(", ")))
        }
        Err(error) => fault("trust", error.to_string(), "correct the configuration"),
    }
}

fn factory(config: &Config) -> Finding {
    let digest = ModelDigest::of(FACTORY_MODEL);
    match verify(digest, FACTORY_MODEL, config.execution(), &Keyring::default()) {
        Ok(_) => ok("factory model", format!("{digest}, self-test passed")),
        Err(reason) => {
            fault("factory model", format!("{digest}: self-test failed: {reason}"), "reinstall this program")
        }
    }
}

fn illumination(config: Option<&IlluminationConfig>) -> Finding {
    match (config, IlluminationConfig::open_optional(config)) {
        (None, Ok(_)) => ok("illumination", "none configured"),
        (Some(_), Ok(_)) => ok("illumination", "as configured"),
        (_, Err(error)) => {
            fault("illumination", ErrorChain(&error).to_string(), "correct that, or remove [illumination]")
        }
    }
}

fn status_light(config: Option<&StatusLightConfig>) -> Finding {
    match (config, StatusLightConfig::open_optional(config)) {
        (None, Ok(_)) => ok("status light", "none configured"),
        (Some(_), Ok(_)) => ok("status light", "as configured"),
        (_, Err(error)) => {
            fault("status light", ErrorChain(&error).to_string(), "correct that, or remove [status_light]")
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::trust::SecretKey;

    use super::*;

    #[test]
    fn missing_hardware_has_a_next_step_and_broken_hardware_fails() {
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
        assert!(findings.no_errors(), "{}", findings.text());
        for finding in &findings.findings {
            assert_eq!(finding.state == CheckSeverity::Ok, finding.next.is_empty(), "{finding:?}");
        }
        let state = |what| findings.findings.iter().find(|finding| finding.what == what).unwrap().state;
        assert_eq!([state("camera"), state("port"), state("trust")], [CheckSeverity::Warning; 3]);
        assert_eq!([state("storage"), state("slots"), state("factory model")], [CheckSeverity::Ok; 3]);
        assert!(!config.storage.folder.exists(), "nothing is changed");

        let key = SecretKey::from_seed(&[1; 32]).public();
        config.trust.keys.insert("ana".to_owned(), key);
        let message = check(&config).text();
        assert!(
            message.contains(&format!("restricted to models and changes signed by ana ({})", key.id())),
            "{message}"
        );

        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        config.storage.folder = file.join("below");
        let findings = check(&config);
        assert!(!findings.no_errors());
        assert!(findings.text().contains("next: create it"), "{}", findings.text());
        assert!(findings.json().unwrap().starts_with("{\"findings\":["));
    }
}
