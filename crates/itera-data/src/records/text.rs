//! Plain text, divided by a rule.

use std::{
    collections::VecDeque,
    io::{self, BufRead, Read},
    ops::Range,
};

use super::{BYTE_ORDER_MARK, LONGEST, PART, Part, RecordError};
pub(super) use crate::documents::is_separator;
use crate::{
    DocumentRule,
    documents::{is_title, without_line_end},
};

/// Bytes of a line that are read at a time; no separator or heading is longer.
const FRAGMENT: u64 = 64 << 10;

/// Whether a text begins like WikiText: a heading, then a blank line, and no line that separates stories.
pub(super) fn begins_with_article(head: &[u8]) -> bool {
    let lines = || head.split_inclusive(|&byte| byte == b'\n');
    let mut first = lines().skip_while(|line| is_blank(line));
    first.next().is_some_and(is_title)
        && first.next().is_some_and(is_blank)
        && !lines().any(is_separator)
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// The documents of a text from one byte on, as far as they begin before another.
pub(super) struct TextDocuments<R> {
    name: String,
    lines: Lines<R>,
    rule: DocumentRule,
    /// Where no document begins any more.
    end: u64,
    /// What has been read of the document that is open, and not given out.
    open: Vec<u8>,
    /// Where that document begins.
    start: u64,
    /// Whether some of it was given out.
    is_begun: bool,
    /// Whether a separator was found, so that the last line end is not part of the text.
    is_separated: bool,
    /// Headings so far.
    titles: usize,
    /// A heading, if the line behind it is blank.
    title: Option<Vec<u8>>,
    ready: VecDeque<Part>,
    is_over: bool,
}

/// The lines of a text.
struct Lines<R> {
    reader: R,
    /// Where the next one begins.
    at: u64,
    /// Whether the last one was a piece that goes on.
    goes_on: bool,
}

/// A line, or a piece of a long one.
struct Line {
    /// Where it begins: behind a byte order mark.
    start: u64,
    bytes: Vec<u8>,
    /// Whether the piece is a line from beginning to end.
    is_whole: bool,
}

impl<R: BufRead> Lines<R> {
    /// The next one; none at the end.
    fn read(&mut self) -> io::Result<Option<Line>> {
        let (mut start, mut bytes) = (self.at, Vec::new());
        let taken = self
            .reader
            .by_ref()
            .take(FRAGMENT)
            .read_until(b'\n', &mut bytes)?;
        self.at += taken as u64;
        let ends = bytes.last() == Some(&b'\n') || (taken as u64) < FRAGMENT;
        let is_whole = ends && !std::mem::replace(&mut self.goes_on, !ends);
        if start == 0 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
            start = BYTE_ORDER_MARK.len() as u64;
        }
        Ok((taken > 0).then_some(Line {
            start,
            bytes,
            is_whole,
        }))
    }
}

impl<R: BufRead> TextDocuments<R> {
    pub(super) fn new(name: String, reader: R, range: Range<u64>, rule: DocumentRule) -> Self {
        Self {
            name,
            rule,
            open: Vec::new(),
            start: range.start,
            is_begun: false,
            is_separated: range.start > 0,
            is_over: range.is_empty(),
            end: range.end,
            lines: Lines {
                reader,
                at: range.start,
                goes_on: false,
            },
            titles: 0,
            title: None,
            ready: VecDeque::new(),
        }
    }

    /// Reads until a part is ready or the text ends.
    fn advance(&mut self) -> Result<(), RecordError> {
        while self.ready.is_empty() && !self.is_over {
            let line = self.lines.read().map_err(|source| {
                self.is_over = true;
                RecordError::Read {
                    name: self.name.clone(),
                    source,
                }
            })?;
            match line {
                Some(line) => self.take(&line),
                None => self.end(),
            }
            self.give_parts()?;
        }
        Ok(())
    }

    /// Puts a line where it belongs.
    fn take(&mut self, line: &Line) {
        if self.open.is_empty() && self.title.is_none() && !self.is_begun {
            self.start = line.start;
        }
        match self.rule {
            DocumentRule::Story if line.is_whole && is_separator(&line.bytes) => {
                self.is_separated = true;
                self.close();
                self.begin(self.lines.at);
            }
            DocumentRule::Paragraph if line.is_whole && is_blank(&line.bytes) => {
                self.close();
                self.begin(self.lines.at);
            }
            DocumentRule::Line => {
                self.open.extend_from_slice(&line.bytes);
                if line.bytes.ends_with(b"\n") {
                    self.close();
                    self.begin(self.lines.at);
                }
            }
            DocumentRule::Article => self.take_of_article(line),
            _ => self.open.extend_from_slice(&line.bytes),
        }
    }

    /// A heading begins an article if a blank line follows; what stands before the first one is of the first.
    fn take_of_article(&mut self, line: &Line) {
        if let Some(title) = self.title.take() {
            if is_blank(&line.bytes) {
                if self.titles > 0 {
                    self.close();
                    self.begin(line.start - title.len() as u64);
                }
                self.titles += 1;
            }
            self.open.extend_from_slice(&title);
        }
        if line.is_whole && is_title(&line.bytes) {
            self.title = Some(line.bytes.clone());
        } else {
            self.open.extend_from_slice(&line.bytes);
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        if self.title.is_some() {
            let end = Line {
                start: self.lines.at,
                bytes: Vec::new(),
                is_whole: false,
            };
            self.take_of_article(&end);
        }
        if !self.open.is_empty() || self.is_begun {
            self.close();
        }
    }

    /// Ends the open document.
    fn close(&mut self) {
        let mut text = std::mem::take(&mut self.open);
        let strips = match self.rule {
            DocumentRule::Story => self.is_separated,
            DocumentRule::Line | DocumentRule::Paragraph => true,
            DocumentRule::Article | DocumentRule::Whole => false,
        };
        if strips {
            text.truncate(without_line_end(&text, 0..text.len()).end);
        }
        let is_dropped = strips && !self.is_begun && is_blank(&text);
        if !is_dropped && (self.is_begun || !text.is_empty()) {
            self.push(text, true);
        }
    }

    fn begin(&mut self, at: u64) {
        self.start = at;
        self.is_begun = false;
        if at >= self.end {
            self.is_over = true;
        }
    }

    fn push(&mut self, text: Vec<u8>, is_last: bool) {
        let id = (!self.is_begun).then(|| format!("{}:{}", self.name, self.start));
        self.is_begun = true;
        self.ready.push_back(Part { id, text, is_last });
    }

    /// Gives out the beginning of a long document, up to the last word that has white space behind it.
    fn give_parts(&mut self) -> Result<(), RecordError> {
        if self.open.len() <= PART {
            return Ok(());
        }
        if let Some(cut) = last_cut(&self.open) {
            let rest = self.open.split_off(cut);
            let text = std::mem::replace(&mut self.open, rest);
            self.push(text, false);
        } else if self.open.len() > LONGEST {
            self.is_over = true;
            return Err(RecordError::NotText {
                name: self.name.clone(),
                format: format!(
                    "a text with over {LONGEST} bytes in a row, from byte {}, that have no end of a word",
                    self.start
                ),
                remedy: "divide it by white space".to_owned(),
            });
        }
        Ok(())
    }
}

impl<R: BufRead> Iterator for TextDocuments<R> {
    type Item = Result<Part, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && let Err(error) = self.advance()
        {
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}

/// The last place where white space follows another character: no tokenizer joins the two sides there, and the line
/// end that closes a document stays in the rest.
fn last_cut(text: &[u8]) -> Option<usize> {
    let is_end = |at: &usize| {
        let (before, byte) = (&text[..*at], text[*at]);
        byte.is_ascii_whitespace()
            && last_char(before).is_some_and(|c| !c.is_whitespace() && !c.is_control())
    };
    (1..text.len()).rev().find(is_end)
}

/// The character that ends a text, if it is one.
fn last_char(text: &[u8]) -> Option<char> {
    let tail = &text[text.len().saturating_sub(4)..];
    let start = tail.iter().rposition(|&byte| byte & 0xC0 != 0x80)?;
    str::from_utf8(&tail[start..]).ok()?.chars().next_back()
}
