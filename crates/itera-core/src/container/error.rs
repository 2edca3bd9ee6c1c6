//! Why bytes are not a sound file. Every variant carries the facts: the tensor, the expected and the
//! found value.
//!
//! Names that come from the file are printed with escapes, since they may hold anything.

use std::str::Utf8Error;

use thiserror::Error;

/// The first thing found wrong with a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// Fewer bytes than the length of the header takes.
    #[error("the file has {found} bytes, expected at least 8: it is not a safetensors file")]
    TooShort {
        /// Bytes of the file.
        found: usize,
    },
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
    /// The header is longer than any that is read.
    #[error(
        "the header has {found} bytes, expected at most {limit}: \
         it holds too many tensors, or a text (such as the tokenizer) is too long"
    )]
    HeaderSize {
        /// Bytes of the header.
        found: usize,
        /// The most that are read and written.
        limit: usize,
    },
    /// The header is not text.
    #[error("the header is not UTF-8 text: the file is damaged or not a safetensors file")]
    HeaderText(#[source] Utf8Error),
    /// The header is text, but not the JSON of a safetensors file.
    #[error("the header is not the JSON of a safetensors file")]
    Header(#[source] serde_json::Error),
    /// An entry of `__metadata__` is absent.
    #[error(
        "`__metadata__` has no entry `{key}`: itera writes no such file, or one of another kind"
    )]
    MissingMetadata {
        /// The entry.
        key: &'static str,
    },
    /// The format version is not an integer.
    #[error("`{key}` is {found:?}, expected a version number")]
    VersionText {
        /// The entry.
        key: &'static str,
        /// Its text.
        found: String,
    },
    /// The file has a version that this build does not read.
    #[error(
        "the file has format version {found}, this build reads versions {oldest} to {newest}: \
         update itera, or make the file again with this version"
    )]
    Version {
        /// Version of the file.
        found: u32,
        /// Oldest version that this build reads.
        oldest: u32,
        /// Newest version that this build reads.
        newest: u32,
    },
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
    #[error("tensor `{tensor}` is missing")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor that files of this content do not have.
    #[error("tensor {tensor:?} is unexpected: nothing in the file refers to it")]
    UnexpectedTensor {
        /// Its name.
        tensor: String,
    },
    /// The values are of another type.
    #[error("tensor {tensor:?} has dtype {found:?}, expected {expected}")]
    Dtype {
        /// Its name.
        tensor: String,
        /// Allowed dtypes.
        expected: &'static str,
        /// Dtype in the file.
        found: String,
    },
    /// The sizes are not the expected ones.
    #[error("tensor `{tensor}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// Shape expected.
        expected: Vec<usize>,
        /// Shape found.
        found: Vec<usize>,
    },
    /// More axes than any tensor has.
    #[error("tensor {tensor:?} has {found} axes, expected at most {limit}")]
    Rank {
        /// Its name.
        tensor: String,
        /// Axes found.
        found: usize,
        /// The most that are read.
        limit: usize,
    },
    /// A tensor does not start where the one before it ends.
    #[error(
        "the data of tensor {tensor:?} starts at {found}, expected {expected}: \
         tensors neither overlap nor leave holes"
    )]
    Offset {
        /// Its name.
        tensor: String,
        /// Byte of the data section where the tensor before ends.
        expected: usize,
        /// Byte where it is declared to start.
        found: usize,
    },
    /// Declared bytes do not match shape and dtype.
    #[error(
        "the data of tensor {tensor:?} goes from {begin} to {end}, expected {} bytes by its shape",
        .expected.map_or_else(|| "an impossible number of".to_owned(), |n| n.to_string())
    )]
    Extent {
        /// Its name.
        tensor: String,
        /// First byte in the data section.
        begin: usize,
        /// Byte after the last.
        end: usize,
        /// Bytes by shape and dtype; `None` where their number does not fit the machine.
        expected: Option<usize>,
    },
    /// The tensors do not fill the file.
    #[error(
        "the tensors take {expected} bytes, but {found} follow the header: \
         the file is cut off or has bytes added"
    )]
    DataLength {
        /// Bytes by the header.
        expected: usize,
        /// Bytes in the file.
        found: usize,
    },
}
