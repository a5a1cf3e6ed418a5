//! Where a person's own settings are kept from one time to the next.

use std::env;
use std::path::PathBuf;

/// The place of a file or folder: `$XDG_CONFIG_HOME/nuclei/NAME`, or `~/.config/nuclei/NAME`; `None` without a home.
pub fn place(name: &str) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(config?.join("nuclei").join(name))
}
