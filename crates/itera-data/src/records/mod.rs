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
//! | `kind` | the form of a file, told by its beginning |
//! | `open` | the documents of one file |
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
mod kind;
mod open;
mod parquet;
mod shard;
mod source;
mod table;
mod text;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use sha2::{Digest as _, Sha256};

pub use self::{
    error::RecordError,
    inputs::{Input, find_inputs},
    source::{Source, Survey},
};
use self::{
    kind::{Kind, kind_of},
    open::open,
    shard::Span,
};
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

#[cfg(test)]
mod tests;
