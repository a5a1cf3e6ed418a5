//! The programs that are installed next to `nuclei-host`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

use crate::Failure;

/// A program that is installed beside `nuclei-host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Companion {
    /// The file's name.
    pub name: &'static str,
}

/// The command that builds every program. It builds the whole workspace, since a subset would have other features and
/// rebuild all dependencies.
pub const BUILD_COMMAND: &str = "cargo build --release --locked --workspace";

/// The station.
pub const STATION: Companion = Companion { name: "nuclei-station" };
/// Trains and quantizes networks; separate because it takes minutes to compile.
pub const TRAIN: Companion = Companion { name: "nuclei-train" };
/// The hidden command of [`TRAIN`] that tries CUDA.
pub const CHECK_CUDA: &str = "check-cuda";

/// The program is not installed.
#[derive(Debug, Error)]
#[error("{} is neither next to this program nor in PATH", .0.name)]
pub struct NotInstalled(Companion);

impl From<NotInstalled> for Failure {
    fn from(error: NotInstalled) -> Self {
        Self::failed(error, format!("build it: {BUILD_COMMAND}"))
    }
}

impl Companion {
    /// Its path: next to this program, else in PATH.
    ///
    /// # Errors
    /// [`NotInstalled`].
    pub fn find(self) -> Result<PathBuf, NotInstalled> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
        let in_path = std::env::var_os("PATH");
        let folders = beside.into_iter().chain(in_path.iter().flat_map(std::env::split_paths));
        folders
            .map(|folder| folder.join(self.name))
            .find(|program| program.is_file())
            .ok_or(NotInstalled(self))
    }

    /// Replaces this process by the program, so that signals reach it and its exit code is this one's. Returns only if
    /// that fails.
    pub fn become_it(self, command: &str, arguments: &[OsString]) -> Failure {
        use std::os::unix::process::CommandExt as _;
        match self.find() {
            Ok(program) => {
                let error = Command::new(&program).arg(command).args(arguments).exec();
                Failure::failed(
                    format!("{}: {error}", program.display()),
                    format!("rebuild it: {BUILD_COMMAND}"),
                )
            }
            Err(missing) => missing.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_installed_is_named_with_the_command_that_builds_it() {
        let absent = Companion { name: "nuclei-absent" };
        let failure = absent.become_it("train", &[]).to_string();
        assert_eq!(
            failure,
            "error: nuclei-absent is neither next to this program nor in PATH\n \
             next: build it: cargo build --release --locked --workspace"
        );
    }
}
