//! Ctrl-C and termination, as a flag that long work checks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Failure;

static STOP: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();

/// Whether the user or the system asked a program to stop that looks at the [`flag`].
pub fn is_raised() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// The flag that is set when the user or the system asks the program to stop. A second time ends it at once.
///
/// # Errors
/// [`Failure`] when the signals cannot be caught.
pub fn flag() -> Result<&'static AtomicBool, Failure> {
    let installed = INSTALLED.get_or_init(|| {
        let handler = || {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(1);
            }
        };
        ctrlc::set_handler(handler).map_err(|error| error.to_string())
    });
    match installed {
        Ok(()) => Ok(&STOP),
        Err(message) => Err(Failure::failed(message.clone(), "start the program from another shell")),
    }
}
