//! User and password for the broker. They are never on the command line, which every user of the machine can read.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use host_console::Failure;
use thiserror::Error;

const USER: &str = "NUCLEI_MQTT_USER";
const PASSWORD: &str = "NUCLEI_MQTT_PASSWORD";

/// A user name and a password that the broker knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
}

/// Why there are no credentials.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error("{} is readable by other users (mode {mode:o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file has other content.
    #[error("{} does not hold a user name on line 1 and a password on line 2", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
    },
    /// Only one of the two is in the environment.
    #[error("the environment sets {set} but not {missing}")]
    Half {
        /// The one.
        set: &'static str,
        /// The other.
        missing: &'static str,
    },
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        let next = match &error {
            CredentialsError::Io { .. } => "give an existing file that this user can read".to_owned(),
            CredentialsError::Exposed { path, .. } => {
                format!("make it private: chmod 600 {}", path.display())
            }
            CredentialsError::Unfit { .. } => {
                "write the user name on line 1 and the password on line 2".into()
            }
            CredentialsError::Half { .. } => format!("set {USER} and {PASSWORD}, or neither"),
        };
        Self::usage(error, next)
    }
}

impl Credentials {
    /// Reads them from a file: the user name on line 1, the password on line 2.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let failed = |source| CredentialsError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map(|about| about.permissions().mode() & 0o777).map_err(failed)?;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let lines: Vec<&str> = text.lines().collect();
        match lines.as_slice() {
            [user, password] if !user.is_empty() => {
                Ok(Self { user: (*user).to_owned(), password: (*password).to_owned() })
            }
            _ => Err(CredentialsError::Unfit { path: path.to_owned() }),
        }
    }

    /// Reads them from the environment, if they are set.
    ///
    /// # Errors
    /// [`CredentialsError::Half`].
    pub fn of_environment() -> Result<Option<Self>, CredentialsError> {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        match (variable(USER), variable(PASSWORD)) {
            (Some(user), Some(password)) => Ok(Some(Self { user, password })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(CredentialsError::Half { set: USER, missing: PASSWORD }),
            (None, Some(_)) => Err(CredentialsError::Half { set: PASSWORD, missing: USER }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn credentials_are_two_lines_that_nobody_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        for (text, mode, expected) in [
            ("bench\nsecret word\n", 0o600, Ok(("bench", "secret word"))),
            ("bench\r\nsecret\r\n", 0o400, Ok(("bench", "secret"))),
            ("bench\nsecret\n", 0o640, Err("is readable by other users (mode 640)")),
            ("bench\n", 0o600, Err("does not hold")),
            ("bench\nsecret\nmore\n", 0o600, Err("does not hold")),
            ("\nsecret\n", 0o600, Err("does not hold")),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let loaded = Credentials::load(&path);
            match expected {
                Ok((user, password)) => {
                    let credentials = Credentials { user: user.into(), password: password.into() };
                    assert_eq!(loaded.unwrap(), credentials, "{text:?}");
                }
                Err(words) => assert!(loaded.unwrap_err().to_string().contains(words), "{text:?}"),
            }
        }
    }
}
