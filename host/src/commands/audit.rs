//! `nuclei-host audit`: verifies that a record is unchanged.

use std::path::PathBuf;

use clap::Args;
use host_console::{Exit, Failure, output, warning};

use crate::records::capture_folder::EVIDENCE;
use crate::records::recording::{Audit, ChainBreak, audit};

const EXAMPLES: &str = "Examples:
  nuclei-host audit captures
  nuclei-host audit counts.jsonl --json
  nuclei-host audit captures --head 5f0c...        (the digest that an earlier audit printed)";

/// Verify that a capture or recording is unchanged since it was written, or name the first entry that is not.
///
/// Every line holds the SHA-256 of the line before it and of the files it names, and FILE.head records where the file
/// ends. Detects any entry that was changed, removed, reordered or truncated. Someone who rewrites the rest of the file
/// could hide this, so store the printed digest elsewhere and pass it with --head. Exit code 3 means the chain is
/// broken, or that an earlier version wrote the file without a chain.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditArgs {
    /// Recording (JSON lines), or folder of a capture
    #[arg(value_name = "FILE|FOLDER")]
    record: PathBuf,
    /// SHA-256 of the last line, stored elsewhere
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
        for line in text_lines(&found) {
            output::line(&line)?;
        }
    }
    if found.is_sound() {
        return Ok(Exit::Done);
    }
    let file = file.display();
    match &found.broken {
        Some(ChainBreak { entry, problem }) => warning!("broken: entry {entry} of {file} {problem}"),
        None => warning!("not verified: the first {} entries of {file} have no hash chain", found.unchained),
    }
    Ok(Exit::CheckFailed)
}

fn text_lines(found: &Audit) -> Vec<String> {
    let mut lines = Vec::new();
    let chained = found.lines - found.unchained;
    if found.broken.is_none() && chained > 0 {
        lines.push(format!("{chained} entries and {} files are unchanged", found.files));
    }
    if found.unchained > 0 {
        let unchained = found.unchained;
        lines.push(format!("{unchained} entries were written by an earlier version, without a hash chain"));
    }
    if found.beyond_head > 0 {
        lines.push(format!("{} entries were added after the head was last written", found.beyond_head));
    }
    lines.extend(found.last.iter().map(|last| format!("last entry {last}")));
    lines
}
