//! A recording as a table: one row per frame, with units in the headers.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use host_console::{csv, read_input_text};
use parquet::errors::ParquetError;
use serde_json::Value;
use thiserror::Error;

use super::parquet_table::{Cell, ColumnKind, ParquetTable};

/// Column, its field in a line of the recording, its kind.
const COLUMNS: [(&str, &str, ColumnKind); 41] = [
    ("entry", "/entry", ColumnKind::Whole),
    ("frame", "/frame", ColumnKind::Whole),
    ("time", "/time_unix_ms", ColumnKind::Time),
    ("source", "/source", ColumnKind::Text),
    ("station", "/station", ColumnKind::Text),
    ("model_sha256", "/model", ColumnKind::Text),
    ("count", "/count", ColumnKind::Whole),
    ("true_count", "/true_count", ColumnKind::Whole),
    ("trusted", "/trusted", ColumnKind::Flag),
    ("doubts", "/doubts", ColumnKind::Text),
    ("width_px", "/width", ColumnKind::Whole),
    ("height_px", "/height", ColumnKind::Whole),
    ("median_diameter_px", "/median_diameter_px", ColumnKind::Real),
    ("median_diameter_um", "/median_diameter_um", ColumnKind::Real),
    ("confluence_0_to_1", "/confluence", ColumnKind::Real),
    ("focus_0_to_1", "/focus", ColumnKind::Real),
    ("saturated_0_to_1", "/saturated", ColumnKind::Real),
    ("scale", "/scale", ColumnKind::Real),
    ("exposure_ms", "/exposure_ms", ColumnKind::Real),
    ("illumination_percent", "/illumination_percent", ColumnKind::Real),
    ("skipped_frames", "/skipped", ColumnKind::Whole),
    ("convert_ms", "/stages_ms/convert", ColumnKind::Real),
    ("preprocess_ms", "/stages_ms/preprocess", ColumnKind::Real),
    ("network_ms", "/stages_ms/network", ColumnKind::Real),
    ("extraction_ms", "/stages_ms/extraction", ColumnKind::Real),
    ("evidence_ms", "/stages_ms/evidence", ColumnKind::Real),
    ("encode_ms", "/stages_ms/encode", ColumnKind::Real),
    ("pixel_size_um", "/pixel_size_um", ColumnKind::Real),
    ("pixel_size_uncertainty_um", "/calibration/pixel_size/uncertainty_um_per_px", ColumnKind::Real),
    ("pixel_size_by", "/calibration/pixel_size/by", ColumnKind::Text),
    ("pixel_size_time", "/calibration/pixel_size/time_unix_ms", ColumnKind::Time),
    ("pixel_size_how", "/calibration/pixel_size/how", ColumnKind::Text),
    ("flat_field_sha256", "/calibration/flat_field/sha256", ColumnKind::Text),
    ("flat_field_by", "/calibration/flat_field/by", ColumnKind::Text),
    ("gate_min_area_px", "/gates/min_area_px", ColumnKind::Whole),
    ("gate_max_area_px", "/gates/max_area_px", ColumnKind::Whole),
    ("gate_border", "/gates/border", ColumnKind::Text),
    ("host_version", "/versions/host", ColumnKind::Text),
    ("station_version", "/versions/station", ColumnKind::Text),
    ("protocol", "/versions/protocol", ColumnKind::Whole),
    ("previous_sha256", "/previous", ColumnKind::Text),
];

/// Why a recording cannot be converted.
#[derive(Debug, Error)]
pub enum RecordingTableError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The recording.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line is not an entry of a recording.
    #[error("line {line} of {path} is not an entry of a recording")]
    Line {
        /// The recording.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The table cannot be written.
    #[error("the table cannot be written")]
    Parquet(#[from] ParquetError),
}

/// The recording as a Parquet file, and its frames.
///
/// # Errors
/// [`RecordingTableError`].
pub fn recording_parquet(path: &Path) -> Result<(Vec<u8>, u64), RecordingTableError> {
    let columns = COLUMNS.map(|(name, _, kind)| (name, kind));
    let mut table = ParquetTable::new(&columns)?;
    let mut frames = 0;
    for_each_row(path, |row| {
        frames += 1;
        Ok(table.add(row)?)
    })?;
    Ok((table.into_bytes()?, frames))
}

/// The recording as CSV, and its frames. Times are ms since 1970.
///
/// # Errors
/// [`RecordingTableError`].
pub fn recording_csv(path: &Path) -> Result<(String, u64), RecordingTableError> {
    let header = COLUMNS.map(|(name, _, kind)| match kind {
        ColumnKind::Time => format!("{name}_unix_ms"),
        _ => name.to_owned(),
    });
    let mut text = header.join(",") + "\n";
    let mut frames = 0;
    for_each_row(path, |row| {
        frames += 1;
        for (at, cell) in row.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "," });
            // Writing to a string cannot fail.
            let _ = match cell {
                Cell::Whole(value) => write!(text, "{value}"),
                Cell::Real(value) => write!(text, "{value}"),
                Cell::Flag(value) => text.write_str(if *value { "yes" } else { "no" }),
                Cell::Text(value) => text.write_str(&csv::field(value)),
                Cell::Absent => Ok(()),
            };
        }
        text.push('\n');
        Ok(())
    })?;
    Ok((text, frames))
}

fn for_each_row(
    path: &Path,
    mut take: impl FnMut(Vec<Cell>) -> Result<(), RecordingTableError>,
) -> Result<(), RecordingTableError> {
    let text = read_input_text(path)
        .map_err(|source| RecordingTableError::Read { path: path.to_owned(), source })?;
    for (number, line) in (1..).zip(text.lines()) {
        let record: Option<Value> = serde_json::from_str(line).ok();
        let record = record.filter(|record| record["frame"].is_u64() && record["count"].is_u64());
        let record =
            record.ok_or_else(|| RecordingTableError::Line { path: path.to_owned(), line: number })?;
        take(COLUMNS.map(|(_, place, kind)| cell(record.pointer(place), kind)).into())?;
    }
    Ok(())
}

/// A value of a line; absent if an earlier version wrote the line without it.
fn cell(value: Option<&Value>, kind: ColumnKind) -> Cell {
    let value = value.unwrap_or(&Value::Null);
    let found = match kind {
        ColumnKind::Whole | ColumnKind::Time => value.as_i64().map(Cell::Whole),
        ColumnKind::Real => value.as_f64().map(Cell::Real),
        ColumnKind::Flag => value.as_bool().map(Cell::Flag),
        ColumnKind::Text => match value {
            Value::Array(words) => {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                Some(Cell::Text(words.join("; ")))
            }
            other => other.as_str().map(|text| Cell::Text(text.to_owned())),
        },
    };
    found.unwrap_or(Cell::Absent)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use shared::wire::{FrameReport, Name, QcFlags};
    use shared::{Microseconds, PixelSize};

    use super::*;
    use crate::records::frame_record::FrameRecord;
    use crate::records::provenance::Provenance;
    use crate::records::recording::Recording;
    use crate::records::test_report::test_report;

    fn record() -> FrameRecord {
        let report = FrameReport {
            frame: 7,
            time_unix_ms: 1_700_000_000_000,
            source: Name::try_from("a, b").unwrap(),
            count: 12,
            median_diameter_px: 20.0,
            exposure: Some(Microseconds(1500)),
            qc_flags: QcFlags::OUT_OF_FOCUS.union(QcFlags::TOO_DENSE),
            ..test_report()
        };
        FrameRecord::new(&report, &Provenance::of_nothing(PixelSize::try_from(0.5).ok()))
    }

    #[test]
    fn every_field_of_a_record_has_its_column() {
        let places: BTreeSet<&str> = COLUMNS.iter().map(|&(_, place, _)| place).collect();
        let json = serde_json::to_value(record()).unwrap();
        for (name, value) in json.as_object().unwrap() {
            let place = format!("/{name}");
            let is_there =
                places.iter().any(|known| *known == place || known.starts_with(&format!("{place}/")));
            assert!(is_there, "{name}: {value}");
        }
    }

    #[test]
    fn recordings_of_this_and_of_earlier_versions_become_tables() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counts.jsonl");
        fs::write(&path, "{\"frame\":6,\"count\":9,\"time_unix_ms\":5,\"doubts\":[]}\n").unwrap();
        Recording::open(&path).unwrap().add(&record()).unwrap();
        let (text, frames) = recording_csv(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((frames, lines.len()), (2, 3));
        assert!(lines[0].starts_with("entry,frame,time_unix_ms,"));
        assert!(lines[1].starts_with(",6,5,,"), "{}", lines[1]);
        assert!(lines[2].starts_with("2,7,1700000000000,\"a, b\","), "{}", lines[2]);
        assert!(lines[2].contains("out of focus; too dense"), "{}", lines[2]);
        assert_eq!(recording_parquet(&path).unwrap().1, 2);
        fs::write(&path, "{\"frame\":6}\n").unwrap();
        let error = recording_parquet(&path).unwrap_err().to_string();
        assert!(error.contains("line 1 of ") && error.ends_with("is not an entry of a recording"), "{error}");
    }
}
