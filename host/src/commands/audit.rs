//! `nuclei-host audit`: whether a record is as it was written.

use std::path::PathBuf;

use clap::Args;
use host_console::{Exit, Failure, output};

use crate::records::capture_folder::EVIDENCE;
use crate::records::recording::{Audit, ChainBreak, audit};

const EXAMPLES: &str = "Examples:
  nuclei-host audit captures
  nuclei-host audit counts.jsonl --json
  nuclei-host audit captures --head 5f0c...        (the digest that an earlier audit told)";

/// Verify that a capture, or what live recorded, is as it was written; name the first entry that is not.
///
/// Every line carries the SHA-256 of the line before it and of the files that it names, and FILE.head tells where
/// the record ends. This finds out whatever was changed, removed, moved or cut off, unless all that follows was
/// written anew: keep the digest that is told elsewhere, and give it with --head. Exit code 3 tells a record that
/// is broken, or that an earlier version wrote without a chain.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditArgs {
    /// File of JSON lines, or folder of a capture
    #[arg(value_name = "FILE|FOLDER")]
    record: PathBuf,
    /// SHA-256 of the last line, kept elsewhere
    #[arg(long, value_name = "SHA256")]
    head: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    let file = if args.record.is_dir() { args.record.join(EVIDENCE) } else { args.record.clone() };
    let found = audit(&file, args.head.as_deref())?;
    if args.json {
        output::json(&found)?;
    } else {
        for line in told(&found) {
            output::line(&line)?;
        }
    }
    if found.is_sound() {
        return Ok(Exit::Done);
    }
    let file = file.display();
    match &found.broken {
        Some(ChainBreak { entry, problem }) => eprintln!("broken: entry {entry} of {file} {problem}"),
        None => eprintln!("not verified: the first {} entries of {file} have no chain", found.unchained),
    }
    Ok(Exit::GateMissed)
}

fn told(found: &Audit) -> Vec<String> {
    let mut lines = Vec::new();
    let chained = found.lines - found.unchained;
    if found.broken.is_none() && chained > 0 {
        lines.push(format!("{chained} entries and {} files are as they were written", found.files));
    }
    if found.unchained > 0 {
        let unchained = found.unchained;
        lines.push(format!("{unchained} entries were written by an earlier version, without a chain"));
    }
    if found.beyond_head > 0 {
        lines.push(format!("{} entries came after the head was last written", found.beyond_head));
    }
    lines.extend(found.last.iter().map(|last| format!("last entry {last}")));
    lines
}
