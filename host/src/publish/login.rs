//! Who the broker is told this is. Nothing of it stands on the command line, which every user of the machine can see.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use host_console::Failure;
use thiserror::Error;

const USER: &str = "NUCLEI_MQTT_USER";
const PASSWORD: &str = "NUCLEI_MQTT_PASSWORD";

/// A name and a password that the broker knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
}

/// Why nobody can log in.
#[derive(Debug, Error)]
pub enum LoginError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} is open to others (mode {mode:o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} does not hold a user and a password, a line each", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
    },
    /// Only one of the two is in the environment.
    #[error("{there} is in the environment, and {missing} is not")]
    Half {
        /// The one.
        there: &'static str,
        /// The other.
        missing: &'static str,
    },
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        let next = match &error {
            LoginError::Io { .. } => "name a file that is there and that this user may read".to_owned(),
            LoginError::Exposed { path, .. } => format!("make it yours alone: chmod 600 {}", path.display()),
            LoginError::Unfit { .. } => {
                "write the user into its first line, the password into its second".into()
            }
            LoginError::Half { .. } => format!("set {USER} and {PASSWORD}, or neither"),
        };
        Self::usage(error, next)
    }
}

impl Login {
    /// That of a file: the user in its first line, the password in its second.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn load(path: &Path) -> Result<Self, LoginError> {
        let failed = |source| LoginError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map(|about| about.permissions().mode() & 0o777).map_err(failed)?;
        if mode & 0o077 != 0 {
            return Err(LoginError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let lines: Vec<&str> = text.lines().collect();
        match lines.as_slice() {
            [user, password] if !user.is_empty() => {
                Ok(Self { user: (*user).to_owned(), password: (*password).to_owned() })
            }
            _ => Err(LoginError::Unfit { path: path.to_owned() }),
        }
    }

    /// That of the environment, if there is one.
    ///
    /// # Errors
    /// [`LoginError::Half`].
    pub fn of_environment() -> Result<Option<Self>, LoginError> {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        match (variable(USER), variable(PASSWORD)) {
            (Some(user), Some(password)) => Ok(Some(Self { user, password })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(LoginError::Half { there: USER, missing: PASSWORD }),
            (None, Some(_)) => Err(LoginError::Half { there: PASSWORD, missing: USER }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_login_is_two_lines_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        for (text, mode, expected) in [
            ("bench\nsecret word\n", 0o600, Ok(("bench", "secret word"))),
            ("bench\r\nsecret\r\n", 0o400, Ok(("bench", "secret"))),
            ("bench\nsecret\n", 0o640, Err("is open to others (mode 640)")),
            ("bench\n", 0o600, Err("does not hold")),
            ("bench\nsecret\nmore\n", 0o600, Err("does not hold")),
            ("\nsecret\n", 0o600, Err("does not hold")),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let loaded = Login::load(&path);
            match expected {
                Ok((user, password)) => {
                    let login = Login { user: user.into(), password: password.into() };
                    assert_eq!(loaded.unwrap(), login, "{text:?}");
                }
                Err(words) => assert!(loaded.unwrap_err().to_string().contains(words), "{text:?}"),
            }
        }
    }
}
