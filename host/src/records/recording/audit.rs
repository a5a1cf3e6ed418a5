//! Verifies that a chained file is unchanged.

use std::fs;
use std::path::{Component, Path};

use host_console::{Failure, read_input};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Head, MAX_BEYOND_HEAD, NOTHING, digest, head_path};

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Lines in the file.
    pub lines: u64,
    /// Lines at its beginning that an earlier version wrote without a chain.
    pub unchained: u64,
    /// Files that the lines name and that are unchanged.
    pub files: u64,
    /// Lines written after the head, as when the machine lost power in between.
    pub beyond_head: u64,
    /// SHA-256 of the last line, to store elsewhere.
    pub last: Option<String>,
    /// The first entry that was changed.
    pub broken: Option<ChainBreak>,
}

/// Where the chain breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainBreak {
    /// The line's number in the file, from 1; one past its end where a line is missing there.
    pub entry: u64,
    /// What is wrong with the entry.
    pub problem: String,
}

impl Audit {
    /// Whether every line and every file is unchanged.
    pub const fn is_sound(&self) -> bool {
        self.broken.is_none() && self.unchained == 0
    }
}

/// Follows the chain through a file, and compares every file that its lines name. `expected` is the digest of the
/// last line as stored elsewhere; it takes precedence over the head.
///
/// # Errors
/// [`Failure`] when the file cannot be read.
pub fn audit(path: &Path, expected: Option<&str>) -> Result<Audit, Failure> {
    let bytes = read_input(path).map_err(|error| {
        let problem = format!("{} cannot be read: {error}", path.display());
        Failure::failed(problem, "give a file written by live --record, or a capture's folder")
    })?;
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    let mut found = Audit {
        lines: lines.len() as u64,
        unchained: 0,
        files: 0,
        beyond_head: 0,
        last: lines.last().map(|line| digest(line)),
        broken: None,
    };
    let head = Head::beside(path);
    found.broken = found.follow(&lines, path, head.as_ref()).err();
    if found.broken.is_some() {
        return Ok(found);
    }
    found.broken = match rest {
        [] => found.check_end(&lines, head, expected).err(),
        _ => Some(ChainBreak::new(found.lines + 1, "is cut off")),
    };
    Ok(found)
}

impl ChainBreak {
    fn new(entry: u64, problem: impl Into<String>) -> Self {
        Self { entry, problem: problem.into() }
    }
}

impl Head {
    /// The head in the file beside a recording; `None` if there is none.
    pub(super) fn beside(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(head_path(path)).ok()?).ok()
    }
}

impl Audit {
    fn follow(&mut self, lines: &[&[u8]], path: &Path, head: Option<&Head>) -> Result<(), ChainBreak> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut before = NOTHING.to_owned();
        for (entry, line) in (1..).zip(lines) {
            let record: Map<String, Value> =
                serde_json::from_slice(line).map_err(|_| ChainBreak::new(entry, "is not a JSON object"))?;
            match record.get("previous") {
                None if self.unchained + 1 == entry => self.unchained = entry,
                None => return Err(ChainBreak::new(entry, "has no hash chain, unlike the one before it")),
                Some(previous) => {
                    check_number(entry, &record)?;
                    if previous.as_str() != Some(before.as_str()) {
                        return Err(locate_change(entry, lines, head));
                    }
                    self.files += check_files(entry, &record, folder)?;
                }
            }
            before = digest(line);
        }
        Ok(())
    }

    fn check_end(
        &mut self,
        lines: &[&[u8]],
        head: Option<Head>,
        expected: Option<&str>,
    ) -> Result<(), ChainBreak> {
        let count = self.lines;
        if let Some(expected) = expected {
            return match &self.last {
                Some(last) if last.eq_ignore_ascii_case(expected) => Ok(()),
                _ => Err(ChainBreak::new(count, "does not have the digest given with --head")),
            };
        }
        if self.unchained == count && count > 0 && head.is_none() {
            return Ok(());
        }
        let Some(head) = head else {
            if count == 0 {
                let problem = "and all later ones are missing: the file is empty and has no .head file";
                return Err(ChainBreak::new(1, problem));
            }
            let problem = "and later ones may be missing: the .head file that records the end does not exist";
            return Err(ChainBreak::new(count + 1, problem));
        };
        if head.lines > count {
            return Err(ChainBreak::new(count + 1, format!("is missing: there were {}", head.lines)));
        }
        let at = usize::try_from(head.lines).ok().and_then(|lines| lines.checked_sub(1));
        let confirmed = at.map_or(Some(NOTHING.to_owned()), |at| lines.get(at).map(|line| digest(line)));
        if confirmed.as_deref() != Some(head.last.as_str()) {
            return Err(ChainBreak::new(head.lines.max(1), "was changed"));
        }
        self.beyond_head = count - head.lines;
        if self.beyond_head > MAX_BEYOND_HEAD {
            let problem = format!(
                "and {} more were added after the recording ended: at most one may follow its .head file",
                self.beyond_head - 1
            );
            return Err(ChainBreak::new(head.lines + 1, problem));
        }
        Ok(())
    }
}

fn check_number(entry: u64, record: &Map<String, Value>) -> Result<(), ChainBreak> {
    match record.get("entry").and_then(Value::as_u64) {
        Some(number) if number == entry => Ok(()),
        Some(number) => {
            Err(ChainBreak::new(entry, format!("is missing or moved: entry {number} is in its place")))
        }
        None => Err(ChainBreak::new(entry, "has lost its number")),
    }
}

/// Which of two entries was changed where the link between them is broken: the entry that follows them confirms the
/// later one, or does not.
fn locate_change(entry: u64, lines: &[&[u8]], head: Option<&Head>) -> ChainBreak {
    let own = lines.get(entry as usize - 1).map(|line| digest(line));
    let next = lines.get(entry as usize).and_then(|line| serde_json::from_slice::<Value>(line).ok());
    let vouched = match next {
        Some(next) => next["previous"].as_str().map(str::to_owned),
        None => head.filter(|head| head.lines == entry).map(|head| head.last.clone()),
    };
    match entry {
        1 => ChainBreak::new(
            1,
            "is not the first of the file: it was changed, or entries before it were removed",
        ),
        _ if own == vouched => ChainBreak::new(entry - 1, "was changed"),
        _ => ChainBreak::new(entry, "was changed, or the one before it"),
    }
}

/// Compares the files that a line names with their digests, and returns their number.
fn check_files(entry: u64, record: &Map<String, Value>, folder: &Path) -> Result<u64, ChainBreak> {
    let Some(files) = record.get("sha256").and_then(Value::as_object) else { return Ok(0) };
    for (name, expected) in files {
        let within = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        let content = if within { read_input(&folder.join(name)).ok() } else { None };
        match content {
            None => return Err(ChainBreak::new(entry, format!("refers to {name}, which is missing"))),
            Some(content) if Some(digest(&content).as_str()) != expected.as_str() => {
                return Err(ChainBreak::new(entry, format!("refers to {name}, which was changed")));
            }
            Some(_) => {}
        }
    }
    Ok(files.len() as u64)
}

#[cfg(test)]
mod tests;
