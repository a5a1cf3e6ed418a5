//! The user's configuration folder.

use std::env;
use std::path::PathBuf;

/// The path of a file or folder: `$XDG_CONFIG_HOME/nuclei/NAME`, or `~/.config/nuclei/NAME`; `None` without a home.
pub fn path(name: &str) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(config?.join("nuclei").join(name))
}
