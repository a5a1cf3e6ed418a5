//! Tables as Parquet files, written row group by row group, so that long recordings need little memory.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

/// Rows of a row group.
const GROUP: usize = 65_536;

/// What a column holds. Every value may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Whole numbers.
    Whole,
    /// Numbers.
    Real,
    /// Yes or no.
    Flag,
    /// Text.
    Text,
    /// ms since 1970, UTC.
    Time,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Of [`ColumnKind::Whole`] or [`ColumnKind::Time`].
    Whole(i64),
    /// Of [`ColumnKind::Real`].
    Real(f64),
    /// Of [`ColumnKind::Flag`].
    Flag(bool),
    /// Of [`ColumnKind::Text`].
    Text(String),
    /// Of any.
    Absent,
}

/// A table that grows row by row.
#[derive(Debug)]
pub struct ParquetTable {
    writer: SerializedFileWriter<Vec<u8>>,
    kinds: Vec<ColumnKind>,
    rows: Vec<Vec<Cell>>,
}

impl ParquetTable {
    /// A table of these columns, without a row.
    ///
    /// # Errors
    /// [`ParquetError`] when a name is none.
    pub fn new(columns: &[(&str, ColumnKind)]) -> Result<Self, ParquetError> {
        let fields: String = columns
            .iter()
            .map(|(name, kind)| match kind {
                ColumnKind::Whole => format!("OPTIONAL INT64 {name};\n"),
                ColumnKind::Real => format!("OPTIONAL DOUBLE {name};\n"),
                ColumnKind::Flag => format!("OPTIONAL BOOLEAN {name};\n"),
                ColumnKind::Text => format!("OPTIONAL BINARY {name} (STRING);\n"),
                ColumnKind::Time => format!("OPTIONAL INT64 {name} (TIMESTAMP(MILLIS,true));\n"),
            })
            .collect();
        let schema = parse_message_type(&format!("message nuclei {{\n{fields}}}"))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("nuclei-host {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
        Ok(Self { writer, kinds: columns.iter().map(|&(_, kind)| kind).collect(), rows: Vec::new() })
    }

    /// Adds a row, one cell per column.
    ///
    /// # Errors
    /// [`ParquetError`].
    ///
    /// # Panics
    /// When there are more or fewer cells than columns.
    pub fn add(&mut self, row: Vec<Cell>) -> Result<(), ParquetError> {
        assert_eq!(row.len(), self.kinds.len(), "one cell per column");
        self.rows.push(row);
        if self.rows.len() == GROUP { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.writer.next_row_group()?;
        for (column, kind) in self.kinds.iter().enumerate() {
            let cells = || rows.iter().map(|row| &row[column]);
            match kind {
                ColumnKind::Whole | ColumnKind::Time => {
                    write::<Int64Type>(&mut group, cells().map(Cell::whole))?
                }
                ColumnKind::Real => write::<DoubleType>(&mut group, cells().map(Cell::real))?,
                ColumnKind::Flag => write::<BoolType>(&mut group, cells().map(Cell::flag))?,
                ColumnKind::Text => write::<ByteArrayType>(&mut group, cells().map(Cell::text))?,
            }
        }
        group.close()?;
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    /// [`ParquetError`].
    pub fn into_bytes(mut self) -> Result<Vec<u8>, ParquetError> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        self.writer.into_inner()
    }
}

impl Cell {
    const fn whole(&self) -> Option<i64> {
        match self {
            Self::Whole(value) => Some(*value),
            _ => None,
        }
    }

    const fn real(&self) -> Option<f64> {
        match self {
            Self::Real(value) => Some(*value),
            _ => None,
        }
    }

    const fn flag(&self) -> Option<bool> {
        match self {
            Self::Flag(value) => Some(*value),
            _ => None,
        }
    }

    fn text(&self) -> Option<ByteArray> {
        match self {
            Self::Text(value) => Some(value.as_str().into()),
            _ => None,
        }
    }
}

/// Writes the group's next column.
fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut values, mut present) = (Vec::new(), Vec::new());
    for cell in cells {
        present.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<T>().write_batch(&values, Some(&present), None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    use super::*;

    #[test]
    fn rows_come_back_over_several_groups() {
        let columns = [
            ("whole", ColumnKind::Whole),
            ("real_um", ColumnKind::Real),
            ("flag", ColumnKind::Flag),
            ("text", ColumnKind::Text),
        ];
        let mut table = ParquetTable::new(&columns).unwrap();
        let count = GROUP + 10;
        for at in 0..count {
            let text = if at % 3 == 0 { Cell::Absent } else { Cell::Text(format!("é{at}")) };
            table.add(vec![Cell::Whole(at as i64), Cell::Real(0.5), Cell::Flag(at % 2 == 0), text]).unwrap();
        }
        let reader = SerializedFileReader::new(Bytes::from(table.into_bytes().unwrap())).unwrap();
        assert_eq!(
            (reader.num_row_groups(), reader.metadata().file_metadata().num_rows()),
            (2, count as i64)
        );
        for (at, row) in reader.get_row_iter(None).unwrap().enumerate() {
            let row = row.unwrap();
            assert_eq!((row.get_long(0).unwrap(), row.get_bool(2).unwrap()), (at as i64, at % 2 == 0));
            assert_eq!(row.get_string(3).ok(), (at % 3 != 0).then(|| format!("é{at}")).as_ref());
        }
    }

    #[test]
    fn a_table_without_a_row_is_a_file_too() {
        let table = ParquetTable::new(&[("time", ColumnKind::Time)]).unwrap();
        let reader = SerializedFileReader::new(Bytes::from(table.into_bytes().unwrap())).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    }
}
