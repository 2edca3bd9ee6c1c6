//! The documents of one file, whatever its form.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Documents, HEAD, Input, RecordError, RecordOptions,
    decode::{Decoded, decode},
    json::JsonLines,
    kind::{Kind, peek},
    parquet::ParquetRows,
    shard::Span,
    table::TableRows,
    text::TextDocuments,
};
use crate::DocumentRule;

/// The documents of one file by its form, and the rule by which their words are counted.
pub(super) fn open(
    input: &Input,
    span: Span,
    options: &RecordOptions,
    read: &Arc<AtomicU64>,
) -> Result<(Documents, DocumentRule), RecordError> {
    let name = input.to_string();
    if let (Input::File { path, .. }, Span::RowGroups(range)) = (input, &span) {
        let rows = ParquetRows::open(name, path, range.clone(), options, Arc::clone(read))?;
        return Ok((Box::new(rows), options.rule.unwrap_or_default()));
    }
    let fail = |source| RecordError::Read {
        name: name.clone(),
        source,
    };
    let Decoded {
        mut reader,
        compression,
    } = Counted::open(input, read).and_then(decode).map_err(fail)?;
    let head = peek(&mut reader).map_err(fail)?;
    let kind = Kind::of(head, &name, options, compression)?;
    let first_end = head.iter().position(|&byte| byte == b'\n');
    let has_returns = first_end.is_some_and(|end| head[..end].ends_with(b"\r"));
    // Only now is it known where its records can be told apart.
    let (reader, range) = match (span, input) {
        (Span::Bytes(range), Input::File { path, .. })
            if compression.is_none() && kind.has_lines() =>
        {
            part(kind, path, range, read).map_err(fail)?
        }
        _ => (reader, 0..u64::MAX),
    };
    Ok(match kind {
        Kind::JsonLines => {
            let lines = JsonLines::new(name, reader, range, options);
            (Box::new(lines), options.rule.unwrap_or_default())
        }
        Kind::Table(delimiter) => {
            let rows = TableRows::new(name, reader, delimiter, has_returns, options)?;
            (Box::new(rows), options.rule.unwrap_or_default())
        }
        Kind::Text(rule) => (
            Box::new(TextDocuments::new(name, reader, range, rule)),
            rule,
        ),
    })
}

/// The file at `path` from the first record in `range` on, and the range that begins there.
fn part(
    kind: Kind,
    path: &Path,
    range: Range<u64>,
    read: &Arc<AtomicU64>,
) -> io::Result<(Box<dyn BufRead + Send>, Range<u64>)> {
    let start = kind.record_at(path, range.start)?;
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let counted = Counted {
        source: Box::new(file),
        read: Arc::clone(read),
    };
    let reader = BufReader::with_capacity(HEAD, counted);
    Ok((Box::new(reader), start..range.end))
}

/// Counts what is read.
struct Counted {
    source: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Counted {
    fn open(input: &Input, read: &Arc<AtomicU64>) -> io::Result<Self> {
        Ok(Self {
            source: match input {
                Input::Standard => Box::new(io::stdin()),
                Input::File { path, .. } => Box::new(File::open(path)?),
                Input::Sample { text, .. } => Box::new(*text),
            },
            read: Arc::clone(read),
        })
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.source.read(buffer)?;
        self.read.fetch_add(taken as u64, Ordering::Relaxed);
        Ok(taken)
    }
}
