//! One file a command: its arguments, and `run`, which gives the exit code or the failure to tell.
