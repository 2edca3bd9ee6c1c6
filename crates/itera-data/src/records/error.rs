//! Why records cannot be read.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a record, or all of a file, cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A record is broken; the records after it can be read.
    #[error("{name}, {place}: {reason}")]
    Broken {
        /// The file.
        name: String,
        /// Where in it, for example `line 812`.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The system refuses, or the file is damaged or cut short.
    #[error(
        "cannot read `{name}` to its end; it may be damaged, cut short or not yours to read; get a whole copy"
    )]
    Read {
        /// The file.
        name: String,
        /// What the system or the decoder says.
        source: io::Error,
    },
    /// A file holds something else than texts.
    #[error("`{name}` is {format}; {remedy}")]
    NotText {
        /// The file.
        name: String,
        /// What it is.
        format: String,
        /// What to do about it.
        remedy: String,
    },
    /// There is no such column.
    #[error("`{name}` has no {what} `{field}`; it has {}; name it with `--{option}`", found.join(", "))]
    NoField {
        /// The file.
        name: String,
        /// `column` or `field`.
        what: &'static str,
        /// The name asked for.
        field: String,
        /// Names there are.
        found: Vec<String>,
        /// The option that names it.
        option: &'static str,
    },
    /// No file is meant by a name.
    #[error("{0}")]
    NoInput(String),
    /// A folder cannot be looked into.
    #[error("cannot list `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Standard input is one piece.
    #[error("standard input cannot be divided into shards; give files")]
    Shards,
}

impl RecordError {
    /// Whether the records behind this one can be read.
    pub const fn is_of_one_record(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}
