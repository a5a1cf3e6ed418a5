//! Ctrl-C, and being told to end: a flag that long work looks at, so that it ends in order.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on a ctrl-C, a SIGTERM or a SIGHUP raises the flag that is returned instead of ending the program.
pub fn catch() -> &'static AtomicBool {
    // The handler is one a process: the second call finds it there, which is all that it wants.
    let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed));
    &INTERRUPTED
}
