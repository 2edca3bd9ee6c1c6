//! The form of a file, told by its beginning.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use super::{
    BYTE_ORDER_MARK, HEAD, RecordError, RecordOptions, decode::decode, parquet, shard, table, text,
};
use crate::{DocumentRule, format::of_other_than_text};

/// The form of a file that is not Parquet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    JsonLines,
    /// Values with this byte between them.
    Table(u8),
    Text(DocumentRule),
}

impl Kind {
    /// The form by the beginning of a file; where that leaves it open, by the ending of its name.
    pub(super) fn of(
        head: &[u8],
        name: &str,
        options: &RecordOptions,
        compression: Option<&'static str>,
    ) -> Result<Self, RecordError> {
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
        let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
        if text.trim_ascii_start().starts_with(b"{\"") || has_ending(name, &["jsonl", "ndjson"]) {
            return Ok(Self::JsonLines);
        }
        if let Some((format, remedy)) = unreadable(head, text) {
            return refuse(format, remedy);
        }
        if let Some(delimiter) = delimiter(text, name, options) {
            return Ok(Self::Table(delimiter));
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
    pub(super) const fn has_lines(self) -> bool {
        matches!(
            self,
            Self::JsonLines | Self::Text(DocumentRule::Line | DocumentRule::Story)
        )
    }

    /// Where the first record begins that begins at or behind `start`.
    pub(super) fn record_at(self, path: &Path, start: u64) -> io::Result<u64> {
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

/// The format of a file that is not read, and the remedy. `text` is `head` without a byte order mark.
fn unreadable(head: &[u8], text: &[u8]) -> Option<(&'static str, &'static str)> {
    if head.starts_with(b"PAR1") && head.contains(&0) {
        return Some(("a Parquet file", "give it as a file that is not packed"));
    }
    if head.starts_with(b"\xff\xfe\0\0") {
        return Some(("UTF-32", "convert it with `iconv -f UTF-32 -t UTF-8`"));
    }
    if is_json_document(text) {
        let remedy = "make lines of it: `jq -c '.[]'` for an array of objects";
        return Some(("a JSON document", remedy));
    }
    let binary = || {
        Some((
            binary(head)?,
            "give files of text, JSON lines, CSV or Parquet",
        ))
    };
    of_other_than_text(head).or_else(binary)
}

/// What stands between the values of a table; `None` if the text is not a table.
fn delimiter(text: &[u8], name: &str, options: &RecordOptions) -> Option<u8> {
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_table = has_ending(name, &["csv", "tsv", "tab"]);
    let has_column =
        |delimiter: &u8| table::has_column(first, *delimiter, options.text_field(), is_table);
    let found = [b',', b'\t', b';'].into_iter().find(has_column);
    // A table without that column is refused when its header is read.
    let by_name = || {
        if has_ending(name, &["csv"]) {
            b','
        } else {
            b'\t'
        }
    };
    found.or_else(|| is_table.then(by_name))
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

/// The form of a file that is neither packed nor Parquet; none of others.
pub(super) fn kind_of(
    name: &str,
    path: &Path,
    options: &RecordOptions,
) -> Result<Option<Kind>, RecordError> {
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
pub(super) fn peek(reader: &mut Box<dyn BufRead + Send>) -> io::Result<&[u8]> {
    let mut head = Vec::new();
    reader.take(HEAD as u64).read_to_end(&mut head)?;
    let rest = std::mem::replace(reader, Box::new(io::empty()));
    // Twice as much, so that the next look at the buffer finds all of it.
    let whole = io::Cursor::new(head).chain(rest);
    *reader = Box::new(BufReader::with_capacity(2 * HEAD, whole));
    reader.fill_buf()
}
