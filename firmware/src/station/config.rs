//! The station's settings: one TOML file, and flags over it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use shared::trust::{Keyring, KeyringError, PublicKey, TrustedKey};
use shared::wire::{FlatFieldDigest, truncated_name};
use shared::{Execution, FlatField, Kernels, PixelSize};
use thiserror::Error;

use crate::camera::CameraSource;
use crate::io::{IlluminationConfig, StatusLightConfig};

/// The default path of the file.
pub const DEFAULT_CONFIG: &str = "/etc/nuclei/station.toml";

/// All settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The station's name, as the host shows it.
    pub name: String,
    /// Threads of the network; 0 for one per core. With two or more, an extra thread post-processes each frame while
    /// the network runs on the next one.
    pub threads: usize,
    /// The kernels of the network.
    pub kernels: Kernels,
    /// The camera's scale, µm/px.
    pub pixel_size: Option<PixelSize>,
    /// The camera's flat field, a file that nuclei-host station calibrate wrote.
    pub flat_field: Option<PathBuf>,
    /// The camera.
    pub camera: CameraSource,
    /// The serial port to the host.
    pub link: LinkConfig,
    /// Where models are stored.
    pub storage: StorageConfig,
    /// Who can change models and settings.
    pub trust: TrustConfig,
    /// The lamp, if any.
    pub illumination: Option<IlluminationConfig>,
    /// The status light, if any.
    pub status_light: Option<StatusLightConfig>,
}

/// The serial port to the host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Path of the serial port.
    pub port: String,
    /// Bits a second.
    pub baud: u32,
}

/// Where models are stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// A folder on persistent storage.
    pub folder: PathBuf,
}

/// Who can change models and settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrustConfig {
    /// Public keys by the name of their owner; without any, anyone on the serial line is trusted.
    pub keys: BTreeMap<String, PublicKey>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "nuclei".to_owned(),
            threads: 0,
            kernels: Kernels::default(),
            pixel_size: None,
            flat_field: None,
            camera: CameraSource::default(),
            link: LinkConfig::default(),
            storage: StorageConfig::default(),
            trust: TrustConfig::default(),
            illumination: None,
            status_light: None,
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { port: "/dev/serial0".to_owned(), baud: 921_600 }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { folder: PathBuf::from("/var/lib/nuclei") }
    }
}

/// Why a configuration is rejected.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path} ({source}); check the path, or omit --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file has an invalid setting.
    #[error("{path}, line {line} ({text}): {reason}; correct it, or remove it to use the default")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value is out of range.
    #[error("{key} = {value}: {range}")]
    Range {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
    /// The flat field cannot be read.
    #[error(
        "flat_field = \"{}\": {reason}; make the file with nuclei-host station calibrate, or remove the setting",
        path.display()
    )]
    FlatField {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The keys cannot be trusted together.
    #[error("{0}: correct [trust.keys]")]
    Keys(#[from] KeyringError),
}

impl Config {
    /// Loads a named file, or the one at [`DEFAULT_CONFIG`] where there is one, or the defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_CONFIG));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads the text of a file; its path is for the error's words.
    ///
    /// # Errors
    /// [`ConfigError::Parse`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count();
            let shown = text.lines().nth(line).unwrap_or_default().trim().to_owned();
            let reason = error.message().trim().replace('\n', ", ");
            ConfigError::Parse { path: path.to_owned(), line: line + 1, text: shown, reason }
        })
    }

    /// Checks constraints that the types do not express.
    ///
    /// # Errors
    /// [`ConfigError::Range`] or [`ConfigError::Keys`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |key, value, range| Err(ConfigError::Range { key, value, range });
        if !(300..=12_000_000).contains(&self.link.baud) {
            let words =
                "must be 300 to 12000000 baud; set a rate that host and cable support, such as 921600";
            return range("link.baud", u64::from(self.link.baud), words);
        }
        if self.threads > 1024 {
            let words = "must be at most 1024; 0 means one thread per core";
            return range("threads", self.threads as u64, words);
        }
        self.keyring().map(drop)
    }

    /// The flat field that frames are corrected by, if any.
    ///
    /// # Errors
    /// [`ConfigError::FlatField`].
    pub fn load_flat_field(&self) -> Result<Option<LoadedFlatField>, ConfigError> {
        let Some(path) = &self.flat_field else { return Ok(None) };
        let failed = |reason: String| ConfigError::FlatField { path: path.clone(), reason };
        let file = fs::read(path).map_err(|error| failed(error.to_string()))?;
        let flat_field = FlatField::decode(&file).map_err(|error| failed(error.to_string()))?;
        Ok(Some(LoadedFlatField { digest: FlatFieldDigest::of(&file), flat_field: Arc::new(flat_field) }))
    }

    /// The keys that are trusted.
    ///
    /// # Errors
    /// [`ConfigError::Keys`].
    pub fn keyring(&self) -> Result<Keyring, ConfigError> {
        let keys = self.trust.keys.iter().map(|(name, &key)| TrustedKey { name: truncated_name(name), key });
        Ok(Keyring::new(keys.collect())?)
    }

    /// Options of the network.
    pub fn execution(&self) -> Execution {
        Execution { threads: threads_or_all(self.threads), kernels: self.kernels }
    }
}

/// A flat field with the digest of its file.
#[derive(Debug, Clone)]
pub struct LoadedFlatField {
    /// SHA-256 of the file.
    pub digest: FlatFieldDigest,
    /// The flat field.
    pub flat_field: Arc<FlatField>,
}

/// The configured number of threads, or one per core.
pub(crate) fn threads_or_all(threads: usize) -> NonZeroUsize {
    NonZeroUsize::new(threads)
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("station.toml"))
    }

    #[test]
    fn nothing_is_the_default_and_everything_can_be_set() {
        assert_eq!(parse("").unwrap(), Config::default());
        let config = parse(
            "name = \"bench 3\"\nthreads = 2\nkernels = \"tract\"\npixel_size = 0.65\n\
             [camera]\nkind = \"simulated\"\n[link]\nport = \"/dev/ttyUSB0\"\nbaud = 115200\n\
             [storage]\nfolder = \"/data\"\n\
             [trust.keys]\nana = \"ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\"\n",
        )
        .unwrap();
        let keyring = config.keyring().unwrap();
        assert_eq!((keyring.keys()[0].name.as_str(), keyring.keys().len()), ("ana", 1));
        assert_eq!((config.name.as_str(), config.threads), ("bench 3", 2));
        assert_eq!(config.link, LinkConfig { port: "/dev/ttyUSB0".into(), baud: 115_200 });
        let threads = NonZeroUsize::new(2).unwrap();
        assert_eq!(config.execution(), Execution { threads, kernels: Kernels::Tract });
        assert!(config.check().is_ok());
    }

    #[test]
    fn the_packaged_file_is_the_default_with_and_without_its_comments() {
        let text = include_str!("../../packaging/station.toml");
        assert_eq!(parse(text).unwrap(), Config::default());
        let settings: Vec<&str> = text
            .lines()
            .map(|line| line.trim_start_matches("# "))
            .filter(|line| line.starts_with('[') || line.contains(" = ") && !line.contains(','))
            .filter(|line| !line.starts_with("Or ") && !line.contains("pixel_size"))
            .filter(|line| !line.contains("flat_field"))
            .collect();
        let all = parse(&settings.join("\n")).unwrap();
        assert!(all.illumination.is_some() && all.status_light.is_some());
        assert_eq!(Config { illumination: None, status_light: None, ..all }, Config::default());
    }

    #[test]
    fn what_cannot_be_is_named_with_line_reason_and_remedy() {
        let cases = [
            ("name = 3", &["line 1", "name = 3", "string"][..]),
            ("\nnane = \"x\"", &["line 2", "unknown field `nane`", "`name`"]),
            ("[link]\nbaud = -5", &["line 2", "baud = -5"]),
            ("pixel_size = 0.0", &["line 1", "pixel size must be a positive number"]),
            ("[camera]\nkind = \"webcam\"", &["webcam", "simulated"]),
            ("[link", &["line 1"]),
            ("[trust.keys]\nana = \"ed25519:AAAA\"", &["line 2", "32 bytes"]),
            ("[trust.keys]\nana = \"A6EHv\"", &["line 2", "begins with \"ed25519:\""]),
        ];
        for (text, words) in cases {
            let message = parse(text).unwrap_err().to_string();
            for word in words.iter().chain(&["correct it"]) {
                assert!(message.contains(word), "{text:?}: {message}");
            }
            assert!(!message.contains('\n'), "{message}");
        }
        let twice = "[trust.keys]\nana = \"KEY\"\nben = \"KEY\""
            .replace("KEY", "ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");
        let error = parse(&twice).unwrap().check().unwrap_err().to_string();
        assert!(error.contains("\"ana\" and \"ben\" are the same: correct [trust.keys]"), "{error}");
        let error = parse("[link]\nbaud = 7").unwrap().check().unwrap_err();
        assert!(error.to_string().contains("link.baud = 7: must be 300"), "{error}");
    }

    #[test]
    fn a_flat_field_must_be_there_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flat-field.nff");
        let load = || Config { flat_field: Some(path.clone()), ..Config::default() }.load_flat_field();
        assert!(load().unwrap_err().to_string().contains("flat-field.nff\": No such file"));
        std::fs::write(&path, "no flat field").unwrap();
        assert!(
            load()
                .unwrap_err()
                .to_string()
                .contains("damaged; make the file with nuclei-host station calibrate")
        );
        let grey = |value| shared::Image::new(2, 1, shared::Channels::Grey, vec![value; 2]).unwrap();
        let sum = |value| shared::FrameSum::new(&grey(value));
        let file = FlatField::new(&sum(100), &sum(0), "ana", 0).unwrap().encode();
        std::fs::write(&path, &file).unwrap();
        assert_eq!(load().unwrap().unwrap().digest, FlatFieldDigest::of(&file));
        assert!(Config::default().load_flat_field().unwrap().is_none());
    }

    #[test]
    fn a_named_file_must_be_there_the_default_one_need_not() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none.toml");
        assert!(matches!(Config::load(Some(&missing)), Err(ConfigError::Read { .. })));
        std::fs::write(&missing, "threads = 1").unwrap();
        assert_eq!(Config::load(Some(&missing)).unwrap().threads, 1);
    }
}
