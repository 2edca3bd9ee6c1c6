//! One of several parts of the inputs: equal shares of their bytes, the files laid end to end.
//!
//! A record belongs to the part in which its first byte lies, so that each process reads its share only. What
//! cannot be entered in the middle (a packed file, CSV, articles) counts as one record; of Parquet,
//! each row group does.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use super::{BYTE_ORDER_MARK, Input, Kind, RecordError, RecordOptions, kind_of, parquet};

/// The share of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Records that begin at these bytes.
    Bytes(Range<u64>),
    /// Row groups of a Parquet file, and the bytes that they have.
    RowGroups(RowGroups),
    /// All of an input of unknown length.
    All,
}

/// Some row groups that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowGroups {
    pub(super) groups: Range<usize>,
    pub(super) bytes: u64,
    /// The number of the first row.
    pub(super) first_row: u64,
}

impl Span {
    /// Bytes to read, as far as is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(range) => Some(range.end - range.start),
            Self::RowGroups(groups) => Some(groups.bytes),
            Self::All => None,
        }
    }
}

/// The inputs that have records of the shard, each with its share.
pub(super) fn spans(
    inputs: &[Input],
    options: &RecordOptions,
) -> Result<Vec<(Input, Span)>, RecordError> {
    let (index, count) = options.shard.unwrap_or((1, 1));
    let mut files = Vec::new();
    for input in inputs {
        let fail = |source| RecordError::Read {
            name: input.to_string(),
            source,
        };
        let len = match input {
            Input::File { path, .. } if fs::metadata(path).map_err(fail)?.is_file() => {
                Some(fs::metadata(path).map_err(fail)?.len())
            }
            Input::Sample { text, .. } => Some(text.len() as u64),
            _ if count > 1 => return Err(RecordError::Shards),
            _ => None,
        };
        files.push((input, len));
    }
    let total: u64 = files.iter().filter_map(|(_, len)| *len).sum();
    let bound = |index: u64| (u128::from(total) * u128::from(index) / u128::from(count)) as u64;
    let share = bound(index - 1)..bound(index);
    let (mut spans, mut start) = (Vec::new(), 0);
    for (input, len) in files {
        let Some(len) = len else {
            spans.push((input.clone(), Span::All));
            continue;
        };
        let from = |at: u64| at.saturating_sub(start).min(len);
        let own = from(share.start)..from(share.end);
        let begins_here = share.contains(&start);
        start += len;
        let Input::File { path, .. } = input else {
            if begins_here {
                spans.push((input.clone(), Span::Bytes(0..len)));
            }
            continue;
        };
        let name = input.to_string();
        let fail = |source| RecordError::Read {
            name: name.clone(),
            source,
        };
        if parquet::is_parquet(path).map_err(fail)? {
            let groups = parquet::row_groups(&name, path, &own)?;
            if !groups.groups.is_empty() {
                spans.push((input.clone(), Span::RowGroups(groups)));
            }
        } else if count == 1 {
            spans.push((input.clone(), Span::Bytes(0..len)));
        } else if kind_of(&name, path, options)?.is_some_and(Kind::has_lines) {
            if !own.is_empty() {
                spans.push((input.clone(), Span::Bytes(own)));
            }
        } else if begins_here {
            spans.push((input.clone(), Span::Bytes(0..len)));
        }
    }
    Ok(spans)
}

/// Where the first line begins, at or behind `start`, whose line before is an end. The length of the file if none
/// does.
pub(super) fn behind_line(
    path: &Path,
    start: u64,
    is_end: impl Fn(&[u8]) -> bool,
) -> io::Result<u64> {
    let mut file = File::open(path)?;
    // The line that ends right before `start` may be the end, so begin with the line of the byte before it.
    let mut at = line_start(&mut file, start - 1)?;
    file.seek(SeekFrom::Start(at))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        // The beginning of a long line tells whether it is an end.
        let mut taken = reader.by_ref().take(1 << 16).read_until(b'\n', &mut line)?;
        if taken == 0 {
            return Ok(at);
        }
        while line.last() != Some(&b'\n') {
            let mut rest = Vec::new();
            let more = reader.by_ref().take(1 << 16).read_until(b'\n', &mut rest)?;
            if more == 0 {
                break;
            }
            taken += more;
            line.truncate(1 << 16);
            if rest.last() == Some(&b'\n') {
                break;
            }
        }
        let text = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| at == 0);
        let is_end = is_end(text.unwrap_or(&line));
        at += taken as u64;
        if at >= start && is_end {
            return Ok(at);
        }
    }
}

/// Where the line begins that holds the byte at `at`.
fn line_start(file: &mut File, at: u64) -> io::Result<u64> {
    const BLOCK: u64 = 1 << 16;
    let mut end = at;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.clear();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(found) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + found as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
