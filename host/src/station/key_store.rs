//! Secret keys in the user's configuration folder: one file per key, readable only by the user.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use host_console::Failure;
use shared::trust::{KeyError, SecretKey};
use thiserror::Error;

use crate::support::user_config;

const ENDING: &str = "key";
/// More than any key file has.
const MAX_FILE: u64 = 1024;
/// What others may do with a file.
const OTHERS: u32 = 0o077;

/// A key's name: also that of its file, and a bare key of TOML.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(String);

impl FromStr for KeyName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (1..=32).contains(&name.len()) && name.bytes().all(fits) {
            Ok(Self(name.to_owned()))
        } else {
            Err("expected 1 to 32 characters: a to z, digits, - and _")
        }
    }
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no key to sign with.
#[derive(Debug, Error)]
pub enum KeyStoreError {
    /// The user has no folder for configuration.
    #[error("neither XDG_CONFIG_HOME nor HOME is set, so keys cannot be stored")]
    NoFolder,
    /// There is no key.
    #[error("there is no key yet")]
    None,
    /// There are several, and none is named.
    #[error("there are several keys: {names}")]
    Several {
        /// Theirs.
        names: String,
    },
    /// None has that name.
    #[error("there is no key {path}")]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// That name is taken.
    #[error("there is a key {path} already")]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("the key {path} is readable by other users (mode {mode:o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is not a key.
    #[error("{path} does not contain a secret key")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A file cannot be read or written.
    #[error("{path} cannot be used")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl KeyStoreError {
    /// What to do about it.
    pub fn next_step(&self) -> String {
        match self {
            Self::NoFolder => "set HOME, or set XDG_CONFIG_HOME to one of your folders".into(),
            Self::None => "create one with nuclei-host key new NAME, and add its line under [trust.keys] \
                 in the station's TOML"
                .into(),
            Self::Several { .. } => "choose one with --key".into(),
            Self::Missing { .. } => "nuclei-host key list shows the keys that exist".into(),
            Self::Exists { .. } => "choose another name; keys are never overwritten".into(),
            Self::Exposed { path, .. } => format!(
                "run chmod 600 {}, or create another key, since others may have read this one",
                path.display()
            ),
            Self::Damaged { .. } => "restore it from a backup, or delete it and create another".into(),
            Self::Io { .. } => "make sure that you can read and write there".into(),
        }
    }
}

impl From<KeyStoreError> for Failure {
    fn from(error: KeyStoreError) -> Self {
        let next = error.next_step();
        Self::failed(error, next)
    }
}

/// The user's keys.
#[derive(Debug, Clone)]
pub struct KeyStore {
    folder: PathBuf,
}

impl KeyStore {
    /// The keys in `$XDG_CONFIG_HOME/nuclei/keys`, or `~/.config/nuclei/keys`.
    ///
    /// # Errors
    /// [`KeyStoreError::NoFolder`].
    pub fn of_user() -> Result<Self, KeyStoreError> {
        Ok(Self::at(user_config::path("keys").ok_or(KeyStoreError::NoFolder)?))
    }

    /// The keys in a folder, which need not exist yet.
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The file of a key.
    pub fn path(&self, name: &KeyName) -> PathBuf {
        self.folder.join(&name.0).with_extension(ENDING)
    }

    /// Creates a key from 32 random bytes.
    ///
    /// # Errors
    /// [`KeyStoreError::Exists`] where the name is taken; the key there stays as it is.
    pub fn create(&self, name: &KeyName, seed: &[u8; 32]) -> Result<SecretKey, KeyStoreError> {
        let path = self.path(name);
        let key = SecretKey::from_seed(seed);
        match self.write(&path, &key) {
            Ok(()) => Ok(key),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(KeyStoreError::Exists { path }),
            Err(source) => Err(KeyStoreError::Io { path, source }),
        }
    }

    fn write(&self, path: &Path, key: &SecretKey) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut beside = tempfile::Builder::new()
            .prefix(".writing-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(&self.folder)?;
        writeln!(beside, "{}", key.to_text())?;
        beside.as_file().sync_all()?;
        beside.persist_noclobber(path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Loads a key.
    ///
    /// # Errors
    /// [`KeyStoreError`]; also where others may read its file.
    pub fn load(&self, name: &KeyName) -> Result<SecretKey, KeyStoreError> {
        let path = self.path(name);
        match read(&path) {
            Ok((mode, _)) if mode & OTHERS != 0 => Err(KeyStoreError::Exposed { path, mode }),
            Ok((_, text)) => {
                text.trim_end().parse().map_err(|source| KeyStoreError::Damaged { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyStoreError::Missing { path }),
            Err(source) => Err(KeyStoreError::Io { path, source }),
        }
    }

    /// The names of all keys, in order.
    ///
    /// # Errors
    /// [`KeyStoreError::Io`].
    pub fn names(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        let unusable = |source| KeyStoreError::Io { path: self.folder.clone(), source };
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unusable(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = PathBuf::from(entry.map_err(unusable)?.file_name());
            if file.extension().is_some_and(|ending| ending == ENDING) {
                names.extend(file.file_stem().and_then(|stem| stem.to_str()?.parse().ok()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The named key, or the only one.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn choose(&self, named: Option<&KeyName>) -> Result<(KeyName, SecretKey), KeyStoreError> {
        let name = match (named, self.names()?.as_slice()) {
            (Some(name), _) | (None, [name]) => name.clone(),
            (None, []) => return Err(KeyStoreError::None),
            (None, names) => {
                let names: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
                return Err(KeyStoreError::Several { names: names.join(", ") });
            }
        };
        let key = self.load(&name)?;
        Ok((name, key))
    }
}

fn read(path: &Path) -> io::Result<(u32, String)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok((mode, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> KeyName {
        name.parse().unwrap()
    }

    #[test]
    fn a_key_is_its_owners_alone_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::at(folder.path().join("new/keys"));
        assert!(matches!(store.choose(None), Err(KeyStoreError::None)));
        let ana = store.create(&name("ana"), &[1; 32]).unwrap();
        let path = store.path(&name("ana"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(store.create(&name("ana"), &[2; 32]), Err(KeyStoreError::Exists { .. })));
        let (only, key) = store.choose(None).unwrap();
        assert_eq!((only, key.public()), (name("ana"), ana.public()));

        store.create(&name("ben"), &[3; 32]).unwrap();
        let several = store.choose(None).unwrap_err();
        assert!(several.to_string().ends_with("ana, ben"), "{several}");
        assert_eq!(store.choose(Some(&name("ana"))).unwrap().1.public(), ana.public());
        assert!(matches!(store.load(&name("eve")), Err(KeyStoreError::Missing { .. })));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "nothing is left beside");
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::at(folder.path().to_owned());
        store.create(&name("ana"), &[1; 32]).unwrap();
        let path = store.path(&name("ana"));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let message = Failure::from(store.load(&name("ana")).unwrap_err()).to_string();
        assert!(
            message.contains("readable by other users (mode 640)") && message.contains("chmod 600"),
            "{message}"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "ed25519:AAAA").unwrap();
        assert!(matches!(store.load(&name("ana")), Err(KeyStoreError::Damaged { .. })));
    }

    #[test]
    fn names_are_bare_keys_of_toml() {
        for bad in ["", "a b", "../ana", "ana.key", "Ä", &"a".repeat(33)] {
            assert_eq!(
                bad.parse::<KeyName>(),
                Err("expected 1 to 32 characters: a to z, digits, - and _"),
                "{bad}"
            );
        }
        assert_eq!("Ana_2-lab".parse::<KeyName>().unwrap().to_string(), "Ana_2-lab");
    }
}
