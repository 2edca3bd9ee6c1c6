//! Documents one after the other, from files of any form and size, without holding them all.
//!
//! ```text
//! names --inputs--> files --decode--> bytes --text | json | table | parquet--> parts of documents
//! ```
//!
//! | file | what |
//! |---|---|
//! | `inputs` | which files a name means |
//! | `shard` | which part of them one of several processes reads |
//! | `decode` | compressed files |
//! | `text` | plain text by a rule |
//! | `json`, `table`, `parquet` | a column of JSON lines, of CSV or TSV, of Parquet |
//! | `source` | what is known of a text before it is read, and how it is read again |
//! | `corpus` | all documents at once |
//!
//! A long document of plain text comes in parts, cut where no tokenizer joins the two sides. All others
//! are whole, and no longer than [`LONGEST`].

mod corpus;
mod decode;
mod error;
mod inputs;
mod json;
mod parquet;
mod shard;
mod source;
mod table;
mod text;

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use self::{
    decode::{Decoded, decode},
    json::JsonLines,
    parquet::ParquetRows,
    shard::Span,
    table::TableRows,
    text::TextDocuments,
};
use sha2::{Digest as _, Sha256};

pub use self::{
    error::RecordError,
    inputs::{Input, find_inputs},
    source::{Source, Survey},
};
use crate::format::of_other_than_text;
use crate::{DocumentRule, corpus::BYTE_ORDER_MARK, digest::hex};

/// Bytes of the longest record, and of the longest word of a plain text.
pub const LONGEST: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Bytes of a part of a long document.
const PART: usize = 256 << 10;

/// Bytes at the beginning of a file by which its form is told.
const HEAD: usize = 64 << 10;

/// How records are read.
#[derive(Clone, Debug, Default)]
pub struct RecordOptions {
    /// The field or column that holds the text; none for `text`, and for plain text where there is no such column.
    pub text_field: Option<String>,
    /// The field or column that holds the id; none for file and place.
    pub id_field: Option<String>,
    /// None for articles where a plain text begins with one, else stories.
    pub rule: Option<DocumentRule>,
    /// Which part to read of how many, from 1.
    pub shard: Option<(u64, u64)>,
    /// Whether documents without text are left out.
    pub skips_empty: bool,
}

impl RecordOptions {
    /// The field or column that holds the text.
    pub fn text_field(&self) -> &str {
        self.text_field.as_deref().unwrap_or("text")
    }
}

/// A document, or a part of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of the first part of a document: its id. Without a field for it, the name of the file and the byte at
    /// which the document begins there, when unpacked; of Parquet, the number of the row.
    pub id: Option<String>,
    /// The text; joined, the parts of a document are all of it.
    pub text: Vec<u8>,
    /// Whether this is the last part of its document.
    pub is_last: bool,
}

impl Part {
    fn whole(id: String, text: Vec<u8>) -> Self {
        Self {
            id: Some(id),
            text,
            is_last: true,
        }
    }

    /// Whether this is all of a document without text.
    fn is_empty(&self) -> bool {
        self.id.is_some() && self.is_last && self.text.is_empty()
    }
}

type Documents = Box<dyn Iterator<Item = Result<Part, RecordError>> + Send>;

/// Reads documents from one file after the other.
pub struct Records {
    options: RecordOptions,
    inputs: VecDeque<(Input, Span)>,
    open: Option<Documents>,
    rule: DocumentRule,
    bytes: u64,
    read: Arc<AtomicU64>,
    hasher: Sha256,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("options", &self.options)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl Records {
    /// Opens nothing yet but what is needed to divide the inputs into shards.
    ///
    /// # Errors
    /// A file cannot be read, or standard input is to be divided.
    pub fn new(inputs: &[Input], options: RecordOptions) -> Result<Self, RecordError> {
        let spans = shard::spans(inputs, &options)?;
        let bytes = spans.iter().filter_map(|(_, span)| span.bytes()).sum();
        Ok(Self {
            options,
            inputs: spans.into(),
            open: None,
            rule: DocumentRule::default(),
            bytes,
            read: Arc::default(),
            hasher: Sha256::new(),
        })
    }

    /// SHA-256 of the ids and texts that were given out so far.
    pub fn sha256(&self) -> String {
        hex(self.hasher.clone())
    }

    /// The rule by which the words of the last document are counted: that of its file.
    pub fn rule(&self) -> DocumentRule {
        self.rule
    }

    fn hash(&mut self, part: &Part) {
        let id = part.id.as_ref().map(String::as_bytes);
        for bytes in id.into_iter().chain([&part.text[..]]) {
            self.hasher.update((bytes.len() as u64).to_le_bytes());
            self.hasher.update(bytes);
        }
        self.hasher.update([u8::from(part.is_last)]);
    }

    /// Bytes of the files to read, as they lie on the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Those that have been read so far: a counter that another thread may look at.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }
}

impl Iterator for Records {
    type Item = Result<Part, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(part) = open.next() {
                    if let Ok(part) = &part {
                        if self.options.skips_empty && part.is_empty() {
                            continue;
                        }
                        self.hash(part);
                    }
                    return Some(part);
                }
                self.open = None;
            }
            let (input, span) = self.inputs.pop_front()?;
            match open(&input, span, &self.options, &self.read) {
                Ok((documents, rule)) => {
                    self.open = Some(documents);
                    self.rule = rule;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The documents of one file by its form, and the rule by which their words are counted.
fn open(
    input: &Input,
    span: Span,
    options: &RecordOptions,
    read: &Arc<AtomicU64>,
) -> Result<(Documents, DocumentRule), RecordError> {
    let name = input.to_string();
    let fail = |source| RecordError::Read {
        name: name.clone(),
        source,
    };
    if let (Input::File { path, .. }, Span::RowGroups(range)) = (input, &span) {
        let rows = ParquetRows::open(name, path, range.clone(), options, Arc::clone(read))?;
        return Ok((Box::new(rows), options.rule.unwrap_or_default()));
    }
    let source: Box<dyn Read + Send> = match input {
        Input::Standard => Box::new(io::stdin()),
        Input::File { path, .. } => Box::new(File::open(path).map_err(fail)?),
        Input::Sample { text, .. } => Box::new(*text),
    };
    let counted = Counted {
        source,
        read: Arc::clone(read),
    };
    let Decoded {
        mut reader,
        compression,
    } = decode(counted).map_err(fail)?;
    let head = peek(&mut reader).map_err(fail)?;
    let kind = Kind::of(head, &name, options, compression)?;
    let first_end = head.iter().position(|&byte| byte == b'\n');
    let has_returns = first_end.is_some_and(|end| head[..end].ends_with(b"\r"));
    // Only now is it known where its records can be told apart.
    let (reader, range) = match (span, input) {
        (Span::Bytes(range), Input::File { path, .. })
            if compression.is_none() && kind.has_lines() =>
        {
            let start = kind.record_at(path, range.start).map_err(fail)?;
            let mut file = File::open(path).map_err(fail)?;
            file.seek(SeekFrom::Start(start)).map_err(fail)?;
            let counted = Counted {
                source: Box::new(file),
                read: Arc::clone(read),
            };
            let reader: Box<dyn BufRead + Send> = Box::new(BufReader::with_capacity(HEAD, counted));
            (reader, start..range.end)
        }
        _ => (reader, 0..u64::MAX),
    };
    let documents: Documents = match kind {
        Kind::JsonLines => Box::new(JsonLines::new(name, reader, range, options)),
        Kind::Table(delimiter) => {
            let rows = TableRows::new(name, reader, delimiter, has_returns, options)?;
            Box::new(rows)
        }
        Kind::Text(rule) => Box::new(TextDocuments::new(name, reader, range, rule)),
    };
    let rule = match kind {
        Kind::Text(rule) => rule,
        _ => options.rule.unwrap_or_default(),
    };
    Ok((documents, rule))
}

/// The form of a file that is neither packed nor Parquet; none of others.
fn kind_of(name: &str, path: &Path, options: &RecordOptions) -> Result<Option<Kind>, RecordError> {
    let fail = |source| RecordError::Read {
        name: name.to_owned(),
        source,
    };
    if parquet::is_parquet(path).map_err(fail)? {
        return Ok(None);
    }
    let mut decoded = File::open(path).and_then(decode).map_err(fail)?;
    if decoded.compression.is_some() {
        return Ok(None);
    }
    let head = peek(&mut decoded.reader).map_err(fail)?;
    Kind::of(head, name, options, None).map(Some)
}

/// The first [`HEAD`] bytes of a reader, which stay in it.
fn peek(reader: &mut Box<dyn BufRead + Send>) -> io::Result<&[u8]> {
    let mut head = Vec::new();
    reader.take(HEAD as u64).read_to_end(&mut head)?;
    let rest = std::mem::replace(reader, Box::new(io::empty()));
    // Twice as much, so that the next look at the buffer finds all of it.
    let whole = io::Cursor::new(head).chain(rest);
    *reader = Box::new(BufReader::with_capacity(2 * HEAD, whole));
    reader.fill_buf()
}

/// The form of a file that is not Parquet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    JsonLines,
    /// Values with this byte between them.
    Table(u8),
    Text(DocumentRule),
}

impl Kind {
    /// The form by the beginning of a file; where that leaves it open, by the ending of its name.
    fn of(
        head: &[u8],
        name: &str,
        options: &RecordOptions,
        compression: Option<&'static str>,
    ) -> Result<Self, RecordError> {
        let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
        let refuse = |format: &str, remedy: &str| {
            Err(RecordError::NotText {
                name: name.to_owned(),
                format: match compression {
                    Some(compression) => format!("{format} in {compression}"),
                    None => format.to_owned(),
                },
                remedy: remedy.to_owned(),
            })
        };
        if text.trim_ascii_start().starts_with(b"{\"") || has_ending(name, &["jsonl", "ndjson"]) {
            return Ok(Self::JsonLines);
        }
        if head.starts_with(b"PAR1") && head.contains(&0) {
            return refuse("a Parquet file", "give it as a file that is not packed");
        }
        if head.starts_with(b"\xff\xfe\0\0") {
            return refuse("UTF-32", "convert it with `iconv -f UTF-32 -t UTF-8`");
        }
        if is_json_document(text) {
            return refuse(
                "a JSON document",
                "make lines of it: `jq -c '.[]'` for an array of objects",
            );
        }
        if let Some((format, remedy)) = of_other_than_text(head) {
            return refuse(format, remedy);
        }
        if let Some(format) = binary(head) {
            return refuse(format, "give files of text, JSON lines, CSV or Parquet");
        }
        let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let is_table = has_ending(name, &["csv", "tsv", "tab"]);
        let has_column =
            |delimiter: &u8| table::has_column(first, *delimiter, options.text_field(), is_table);
        if let Some(delimiter) = [b',', b'\t', b';'].into_iter().find(has_column) {
            return Ok(Self::Table(delimiter));
        }
        if is_table {
            // Which of them, its header says; there is no such column.
            return Ok(Self::Table(if has_ending(name, &["csv"]) {
                b','
            } else {
                b'\t'
            }));
        }
        if let Some(field) = &options.text_field {
            return refuse(
                "plain text",
                &format!("it has no field or column `{field}`; leave out `--text-field`"),
            );
        }
        let of_itself = || {
            if text::begins_with_article(head) {
                DocumentRule::Article
            } else {
                DocumentRule::Story
            }
        };
        Ok(Self::Text(options.rule.unwrap_or_else(of_itself)))
    }

    /// Whether a reader that begins in the middle of a file can tell where a record begins.
    const fn has_lines(self) -> bool {
        matches!(
            self,
            Self::JsonLines | Self::Text(DocumentRule::Line | DocumentRule::Story)
        )
    }

    /// Where the first record begins that begins at or behind `start`.
    fn record_at(self, path: &Path, start: u64) -> io::Result<u64> {
        if start == 0 {
            return Ok(0);
        }
        let is_end = |line: &[u8]| match self {
            Self::Text(DocumentRule::Story) => text::is_separator(line),
            _ => true,
        };
        shard::behind_line(path, start, is_end)
    }
}

/// Whether a name ends so, an ending of a packed file aside.
fn has_ending(name: &str, endings: &[&str]) -> bool {
    let mut parts = name.rsplit('.').map(str::to_ascii_lowercase);
    let mut last = parts.next().unwrap_or_default();
    if ["gz", "zst", "bz2", "xz"].contains(&last.as_str()) {
        last = parts.next().unwrap_or_default();
    }
    endings.contains(&last.as_str())
}

/// Whether a text is one JSON value of several lines, or begins as one.
fn is_json_document(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(text);
    (text.starts_with(b"[") || text.starts_with(b"{"))
        && text.contains(&b'"')
        && parsed.map_or_else(|error| error.is_eof() && head.len() >= HEAD, |_| true)
}

/// What a file is whose first bytes no text has.
fn binary(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 11] = [
        (b"\x04\x22\x4d\x18", "LZ4 data"),
        (b"\x1f\x9d", "data of `compress`"),
        (b"{\\rtf", "an RTF document"),
        (b"\x89PNG\r\n", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"GIF8", "a GIF picture"),
        (b"%PDF-", "a PDF document"),
        (b"\x7fELF", "a program"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"ARROW1", "an Arrow file"),
        (b"\xff\xff\xff\xff", "an Arrow stream"),
    ];
    let known = KNOWN.iter().find(|(magic, _)| head.starts_with(magic));
    let is_tar = || head.get(257..262) == Some(b"ustar");
    known
        .map(|(_, name)| *name)
        .or_else(|| is_tar().then_some("an archive of several files"))
        .or_else(|| {
            head.contains(&0)
                .then_some("no text: it has bytes that are 0")
        })
}

/// Counts what is read.
struct Counted {
    source: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.source.read(buffer)?;
        self.read.fetch_add(taken as u64, Ordering::Relaxed);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
