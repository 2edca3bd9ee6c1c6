//! Why bytes are not a sound file. Names that come from the file are printed with escapes, since they may
//! hold anything.

use alloc::{format, string::String, string::ToString};
use core::{fmt::Display, str::Utf8Error};

use thiserror::Error;

/// The first thing found wrong with a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The header is longer than the file.
    #[error(
        "the header is declared {declared} bytes long, but {available} bytes follow: \
         the file is cut off or not a safetensors file"
    )]
    HeaderLength {
        /// Bytes that the header should have.
        declared: u64,
        /// Bytes after the length field.
        available: usize,
    },
    /// The header is not text.
    #[error("the header is not UTF-8 text: the file is damaged or not a safetensors file")]
    HeaderText(#[source] Utf8Error),
    /// The header is text, but not the JSON of a safetensors file.
    #[error("the header is not the JSON of a safetensors file")]
    Header(#[source] serde_json::Error),
    /// An entry of `__metadata__` is absent.
    #[error("`__metadata__` has no entry `{0}`: itera writes no such file, or one of another kind")]
    MissingMetadata(&'static str),
    /// An entry is not the JSON that it should be.
    #[error("`{key}` cannot be read")]
    MetadataJson {
        /// The entry.
        key: &'static str,
        /// The fault and its place in the entry.
        source: serde_json::Error,
    },
    /// Content does not match its SHA-256.
    #[error("{what} has SHA-256 {found}, expected {expected:?} (`{key}`): the file is damaged")]
    Digest {
        /// The digested part of the file.
        what: &'static str,
        /// The entry with the expected digest.
        key: &'static str,
        /// Digest written in the file.
        expected: String,
        /// Digest of the content.
        found: String,
    },
    /// A tensor is absent.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// A tensor that files of this content do not have.
    #[error("tensor {0:?} is unexpected: nothing in the file refers to it")]
    UnexpectedTensor(String),
    /// A version, size, shape, dtype or offset is not as it must be.
    #[error("{part} is {found}, expected {expected}")]
    Mismatch {
        /// The part of the file.
        part: String,
        /// What it must be, with the remedy where there is one.
        expected: String,
        /// Its value.
        found: String,
    },
}

impl ContainerError {
    pub(crate) fn mismatch(
        part: impl Into<String>,
        expected: impl Into<String>,
        found: &dyn Display,
    ) -> Self {
        Self::Mismatch {
            part: part.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    pub(crate) fn shape(tensor: &str, expected: &[usize], found: &[usize]) -> Self {
        let part = format!("the shape of tensor `{tensor}`");
        Self::mismatch(part, format!("{expected:?}"), &format!("{found:?}"))
    }
}
