//! CSV and TSV: a record a row, the text in one column.

use std::io::{self, BufRead, Read};

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::{BYTE_ORDER_MARK, LONGEST, Part, RecordError, RecordOptions};

/// Whether the first line of a file is a header with this column; one column alone is a text of one word unless the
/// file `is_table` by its name.
pub(super) fn has_column(line: &[u8], delimiter: u8, column: &str, is_table: bool) -> bool {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(line.trim_ascii_end());
    let headers = reader.byte_headers();
    headers.is_ok_and(|names| (is_table || names.len() > 1) && position(names, column).is_some())
}

fn position(names: &ByteRecord, column: &str) -> Option<usize> {
    names
        .iter()
        .position(|name| name.strip_prefix(BYTE_ORDER_MARK).unwrap_or(name) == column.as_bytes())
}

/// The rows of a file.
pub(super) struct TableRows<R> {
    name: String,
    rows: Reader<Limited<R>>,
    text: usize,
    id: Option<usize>,
    row: ByteRecord,
    /// Bytes between a row and where the reader says that the next one begins.
    line_feed: u64,
    is_over: bool,
}

/// A reader that ends with an error where a row has no end.
struct Limited<R> {
    inner: R,
    /// Bytes that it still gives.
    left: usize,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(taken).ok_or_else(|| {
            io::Error::other(format!(
                "a row of over {LONGEST} bytes; a quotation mark may be missing"
            ))
        })?;
        Ok(taken)
    }
}

impl<R: BufRead> TableRows<R> {
    /// `has_returns`: lines end with a carriage return and a line feed.
    pub(super) fn new(
        name: String,
        reader: R,
        delimiter: u8,
        has_returns: bool,
        options: &RecordOptions,
    ) -> Result<Self, RecordError> {
        let mut rows = ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(Limited {
                inner: reader,
                left: LONGEST,
            });
        let headers = rows
            .byte_headers()
            .map_err(|error| read_error(&name, error))?;
        let column = |field: &str, option| {
            position(headers, field).ok_or_else(|| RecordError::NoField {
                name: name.clone(),
                what: "column",
                field: field.to_owned(),
                found: headers
                    .iter()
                    .map(|name| String::from_utf8_lossy(name).into_owned())
                    .collect(),
                option,
            })
        };
        let text = column(options.text_field(), "text-field")?;
        let id = options.id_field.as_ref();
        let id = id.map(|field| column(field, "id-field")).transpose()?;
        Ok(Self {
            name,
            rows,
            text,
            id,
            row: ByteRecord::new(),
            line_feed: u64::from(has_returns),
            is_over: false,
        })
    }
}

impl<R: BufRead> Iterator for TableRows<R> {
    type Item = Result<Part, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let at = self.rows.position().clone();
        self.rows.get_mut().left = LONGEST;
        match self.rows.read_byte_record(&mut self.row) {
            Ok(false) => None,
            Ok(true) => {
                let id = self
                    .id
                    .map(|column| String::from_utf8_lossy(&self.row[column]));
                let byte =
                    self.row.position().map_or(at.byte(), csv::Position::byte) + self.line_feed;
                let id = id.map_or_else(|| format!("{}:{byte}", self.name), Into::into);
                Some(Ok(Part::whole(id, self.row[self.text].to_vec())))
            }
            Err(error) => {
                if let csv::ErrorKind::UnequalLengths {
                    expected_len, len, ..
                } = error.kind()
                {
                    return Some(Err(RecordError::Broken {
                        name: self.name.clone(),
                        place: format!("line {}", at.line()),
                        reason: format!("{len} columns, expected {expected_len}"),
                    }));
                }
                self.is_over = true;
                Some(Err(match read_error(&self.name, error) {
                    // The limit was reached, so that no later row can be found.
                    RecordError::Read { source, .. } if source.kind() == io::ErrorKind::Other => {
                        RecordError::Broken {
                            name: self.name.clone(),
                            place: format!("line {}", at.line()),
                            reason: source.to_string(),
                        }
                    }
                    error => error,
                }))
            }
        }
    }
}

fn read_error(name: &str, error: csv::Error) -> RecordError {
    RecordError::Read {
        name: name.to_owned(),
        source: error.into(),
    }
}
