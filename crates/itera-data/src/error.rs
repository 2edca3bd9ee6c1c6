//! What can go wrong, with the facts as fields and the remedy in the message.

use std::{fmt::Write as _, io, path::PathBuf};

use thiserror::Error;

use crate::{Dataset, KnownText, LanesPosition, Split};

/// Why a corpus could not be loaded.
#[derive(Debug, Error)]
pub enum DataError {
    /// The name of the data set is the empty string.
    #[error("the name of the data set is empty; names are {}, or the path of a text file", Dataset::names().join(", "))]
    EmptyName,
    /// A table of texts in a data folder is not of its form.
    #[error("{0}; mend the file or delete it")]
    Table(String),
    /// No split has this name.
    #[error("no split is called `{0}`; splits are test, valid, train")]
    UnknownSplit(String),
    /// The data set exists, this split of it does not.
    #[error("{dataset} has no split `{split}`; it has {}", list(available))]
    NoSuchSplit {
        /// The data set asked for.
        dataset: Dataset,
        /// The split asked for.
        split: Split,
        /// The splits there are.
        available: Vec<Split>,
    },
    /// A named data set is in none of the places looked at.
    #[error(
        "the {split} split of {} was not found; looked for{}\n{}",
        text.name, lines(looked_at), text.remedy()
    )]
    Missing {
        /// The text asked for.
        text: &'static KnownText,
        /// The split asked for.
        split: Split,
        /// Every path tried, in order.
        looked_at: Vec<PathBuf>,
    },
    /// Neither a known name nor a file.
    #[error("there is no file `{}`, and no data set of that name; names are {}", path.display(), Dataset::names().join(", "))]
    NoSuchFile {
        /// What was given.
        path: PathBuf,
    },
    /// The file exists but could not be read.
    #[error("could not read `{}`; expected a text file that this user may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds text in another form than plain UTF-8.
    #[error("`{name}` is {format}, expected plain text; {remedy}")]
    NotText {
        /// Name of the corpus or path of the file.
        name: String,
        /// What the file is.
        format: &'static str,
        /// How to make text of it.
        remedy: &'static str,
    },
    /// The digest of a file proves another split than the one asked for.
    #[error(
        "`{}` is the official {found} split by its digest, but {asked} was asked for; \
         ask for {found}, or delete the file and run `scripts/fetch-data.sh`", path.display()
    )]
    OtherSplit {
        /// The file.
        path: PathBuf,
        /// The split asked for.
        asked: Split,
        /// The split that the file is.
        found: Split,
    },
    /// The name stands for one text, and the file holds another.
    #[error(
        "`{}` is not {}, whose sha256 is {expected}, but {found}; {}", path.display(), text.name, text.remedy()
    )]
    OtherText {
        /// The text asked for.
        text: &'static KnownText,
        /// The file.
        path: PathBuf,
        /// SHA-256 of the text of that name.
        expected: &'static str,
        /// SHA-256 of the file.
        found: String,
    },
    /// Records cannot be read.
    #[cfg(feature = "records")]
    #[error(transparent)]
    Record(#[from] crate::records::RecordError),
    /// There is nothing to score or to learn from.
    #[error(
        "`{name}` holds no document ({bytes} bytes); expected text, give another file or fetch it again"
    )]
    Empty {
        /// Name of the corpus or path of the file.
        name: String,
        /// Size of the file; a file of separators only is not empty and still has no document.
        bytes: u64,
    },
}

/// Why training lanes cannot be made or moved.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LanesError {
    /// A size is zero.
    #[error("`{field}` is 0, expected at least 1")]
    Zero {
        /// Name of the size.
        field: &'static str,
    },
    /// The documents do not fill one segment.
    #[error(
        "{tokens} tokens do not fill one segment of {batch} lanes x {length} tokens; \
         use fewer lanes, a shorter length or more text"
    )]
    TooShort {
        /// Tokens of the documents, one end-of-text token each included.
        tokens: usize,
        /// Lanes asked for.
        batch: usize,
        /// Tokens per lane and segment asked for.
        length: usize,
    },
    /// The position is beyond the end of an epoch: it comes from other data or other sizes.
    #[error(
        "segment {} does not exist, an epoch has {segments}; \
         resume with the data, lanes and length that the position was saved with",
        position.offset
    )]
    Position {
        /// The position asked for.
        position: LanesPosition,
        /// Segments in an epoch.
        segments: u64,
    },
}

fn list(splits: &[Split]) -> String {
    let names: Vec<_> = splits.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn lines(paths: &[PathBuf]) -> String {
    paths.iter().fold(String::new(), |mut text, path| {
        let _ = write!(text, "\n  {}", path.display());
        text
    })
}
