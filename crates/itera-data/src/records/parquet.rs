//! Parquet: a record a row, the text in one column.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parquet::{
    basic::Type as PhysicalType,
    errors::ParquetError,
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
    record::{
        Field, Row,
        reader::{ReaderIter, TreeBuilder},
    },
    schema::types::{SchemaDescriptor, Type},
};

use super::{LONGEST, Part, RecordError, RecordOptions, shard::RowGroups};

const MAGIC: &[u8] = b"PAR1";

/// Whether a file begins as Parquet does and is not text that happens to: it ends with the same letters, or has
/// bytes that no text has.
pub(super) fn is_parquet(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(1024).read_to_end(&mut head)?;
    if !head.starts_with(MAGIC) {
        return Ok(false);
    }
    let mut tail = [0; MAGIC.len()];
    file.seek(SeekFrom::End(-(MAGIC.len() as i64)))?;
    file.read_exact(&mut tail)?;
    Ok(tail == MAGIC || head.contains(&0))
}

/// The row groups that begin in `share`.
pub(super) fn row_groups(
    name: &str,
    path: &Path,
    share: &Range<u64>,
) -> Result<RowGroups, RecordError> {
    let reader = reader(name, path)?;
    let (mut at, mut row) = (0, 0);
    let mut found = RowGroups {
        groups: 0..0,
        bytes: 0,
        first_row: 0,
    };
    for (index, group) in reader.metadata().row_groups().iter().enumerate() {
        let bytes = group.compressed_size() as u64;
        if share.contains(&at) {
            if found.groups.is_empty() {
                (found.groups, found.first_row) = (index..index, row);
            }
            found.groups.end = index + 1;
            found.bytes += bytes;
        }
        at += bytes;
        row += group.num_rows() as u64;
    }
    Ok(found)
}

fn reader(name: &str, path: &Path) -> Result<SerializedFileReader<File>, RecordError> {
    let file = File::open(path).map_err(|source| RecordError::Read {
        name: name.to_owned(),
        source,
    })?;
    SerializedFileReader::new(file).map_err(|error| read_error(name, error))
}

fn read_error(name: &str, error: ParquetError) -> RecordError {
    RecordError::Read {
        name: name.to_owned(),
        source: io::Error::other(error),
    }
}

fn holds_texts(column: &Type) -> bool {
    column.is_primitive() && column.get_physical_type() == PhysicalType::BYTE_ARRAY
}

/// The rows of some row groups.
pub(super) struct ParquetRows {
    name: String,
    options: RecordOptions,
    reader: SerializedFileReader<File>,
    /// The columns of text and id.
    columns: Arc<SchemaDescriptor>,
    groups: Range<usize>,
    rows: Option<ReaderIter>,
    row: u64,
    read: Arc<AtomicU64>,
    is_over: bool,
}

impl ParquetRows {
    pub(super) fn open(
        name: String,
        path: &Path,
        range: RowGroups,
        options: &RecordOptions,
        read: Arc<AtomicU64>,
    ) -> Result<Self, RecordError> {
        let reader = reader(&name, path)?;
        let schema = reader.metadata().file_metadata().schema();
        let find = |field: &str, what, option, suits: fn(&Type) -> bool| {
            let suitable = || schema.get_fields().iter().filter(|column| suits(column));
            let found = suitable().find(|column| column.name() == field);
            found.cloned().ok_or_else(|| RecordError::NoField {
                name: name.clone(),
                what,
                field: field.to_owned(),
                found: suitable().map(|column| column.name().to_owned()).collect(),
                option,
            })
        };
        let text = find(
            options.text_field(),
            "column of texts",
            "text-field",
            holds_texts,
        )?;
        let mut columns = vec![text];
        if let Some(field) = &options.id_field {
            let column = find(field, "column of values", "id-field", Type::is_primitive)?;
            if field != options.text_field() {
                columns.push(column);
            }
        }
        let columns = Type::group_type_builder("schema")
            .with_fields(columns)
            .build()
            .map_err(|error| read_error(&name, error))?;
        Ok(Self {
            name,
            options: options.clone(),
            reader,
            columns: Arc::new(SchemaDescriptor::new(Arc::new(columns))),
            row: range.first_row,
            groups: range.groups,
            rows: None,
            read,
            is_over: false,
        })
    }

    /// The next row; `None` at the end.
    fn read(&mut self) -> Result<Option<Row>, ParquetError> {
        loop {
            if let Some(rows) = &mut self.rows {
                if let Some(row) = rows.next() {
                    return row.map(Some);
                }
                self.rows = None;
            }
            let Some(group) = self.groups.next() else {
                return Ok(None);
            };
            let group = self.reader.get_row_group(group)?;
            let bytes = group.metadata().compressed_size();
            self.read.fetch_add(bytes as u64, Ordering::Relaxed);
            let columns = Arc::clone(&self.columns);
            self.rows = Some(TreeBuilder::new().as_iter(columns, &*group)?);
        }
    }

    fn part(&self, row: &Row) -> Result<Part, String> {
        let (mut text, mut id) = (None, None);
        for (name, field) in row.get_column_iter() {
            if name == self.options.text_field() {
                text = Some(match field {
                    Field::Str(text) => text.as_bytes().to_vec(),
                    Field::Bytes(bytes) => bytes.data().to_vec(),
                    Field::Null => return Err(format!("`{name}` is null")),
                    _ => return Err(format!("`{name}` holds no texts")),
                });
            }
            if self.options.id_field.as_ref() == Some(name) {
                id = Some(match field {
                    Field::Str(text) => text.clone(),
                    Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
                    Field::Null => return Err(format!("`{name}` is null")),
                    other => other.to_string(),
                });
            }
        }
        let text = text.ok_or("no text")?;
        if text.len() > LONGEST {
            return Err(format!("a text of over {LONGEST} bytes"));
        }
        let id = id.unwrap_or_else(|| format!("{}:{}", self.name, self.row));
        Ok(Part::whole(id, text))
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Part, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.read() {
            Ok(None) => None,
            Ok(Some(row)) => {
                let part = self.part(&row);
                self.row += 1;
                Some(part.map_err(|reason| RecordError::Broken {
                    name: self.name.clone(),
                    place: format!("row {}", self.row),
                    reason,
                }))
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(read_error(&self.name, error)))
            }
        }
    }
}
