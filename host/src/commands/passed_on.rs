//! A command that a program beside this one carries out.

use std::ffi::OsString;

use clap::Args;

/// What stands after the command's name, read by the program that carries it out.
#[derive(Debug, Args)]
pub struct PassedOn {
    /// As that program reads them.
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}
