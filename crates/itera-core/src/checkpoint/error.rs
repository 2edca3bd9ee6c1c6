//! Why bytes are no checkpoint. Every variant carries the facts: the tensor, what was expected,
//! what was found. The file name is added by [`crate::io`], which alone knows it.
//!
//! Names that come from the file are printed with escapes, since they may hold anything.

use std::str::Utf8Error;

use thiserror::Error;

use super::Precision;
use crate::{config::ConfigError, tokenizer::TokenizerError};

/// The first thing found wrong with a checkpoint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    // -- Header -----------------------------------------------------------------------------------
    /// Fewer bytes than the length of the header takes.
    #[error("the file has {found} bytes, expected at least 8: this is no safetensors file")]
    TooShort {
        /// Bytes of the file.
        found: usize,
    },
    /// The header is longer than the file.
    #[error(
        "the header is declared {declared} bytes long, but {available} bytes follow: \
         the file is cut off or no safetensors file"
    )]
    HeaderLength {
        /// Bytes that the header should have.
        declared: u64,
        /// Bytes after the length field.
        available: usize,
    },
    /// The header is not text.
    #[error("the header is not UTF-8 text: this is no safetensors file, or it is damaged")]
    HeaderText(#[source] Utf8Error),
    /// The header is text, but not that of a safetensors file.
    #[error("the header is not the JSON of a safetensors file")]
    Header(#[source] serde_json::Error),
    /// The safetensors library refuses a file that passed the checks here.
    #[error("the safetensors library refuses the file")]
    Safetensors(#[source] safetensors::SafeTensorError),

    // -- Metadata ---------------------------------------------------------------------------------
    /// An entry of `__metadata__` is absent.
    #[error("`__metadata__` has no entry `{key}`: the file was not written by itera")]
    MissingMetadata {
        /// The entry.
        key: &'static str,
    },
    /// The format version is no number.
    #[error("`itera.format` is {found:?}, expected a version number")]
    VersionText {
        /// Its text.
        found: String,
    },
    /// The file is newer than this build, or carries a version that never existed.
    #[error(
        "the file has format version {found}, this build reads versions 1 to {newest}: \
         update itera, or export the model again with this version"
    )]
    Version {
        /// Version of the file.
        found: u32,
        /// Newest version that this build reads.
        newest: u32,
    },
    /// An entry is longer than any real one.
    #[error("`{key}` has {found} bytes, expected at most {limit}")]
    MetadataLength {
        /// The entry.
        key: &'static str,
        /// Its bytes.
        found: usize,
        /// The most that are read.
        limit: usize,
    },
    /// An entry is not the JSON that it should be.
    #[error("`{key}` cannot be read")]
    MetadataJson {
        /// The entry.
        key: &'static str,
        /// What is wrong and where in the entry.
        source: serde_json::Error,
    },
    /// Content does not match its SHA-256.
    #[error("{what} has SHA-256 {found}, expected {expected:?} (`{key}`): the file is damaged")]
    Digest {
        /// What was digested.
        what: &'static str,
        /// The entry with the expected digest.
        key: &'static str,
        /// Digest written in the file.
        expected: String,
        /// Digest of the content.
        found: String,
    },
    /// The sizes describe no model.
    #[error("the config describes no model")]
    Config(#[from] ConfigError),
    /// The tokenizer is broken.
    #[error("the tokenizer cannot be used")]
    Tokenizer(#[from] TokenizerError),
    /// Tokenizer and model disagree about the vocabulary.
    #[error("the tokenizer has {tokenizer} entries, expected `vocab_size` = {config}")]
    Vocabulary {
        /// Entries by the config.
        config: usize,
        /// Entries of the tokenizer.
        tokenizer: usize,
    },

    // -- Set and layout of tensors ----------------------------------------------------------------
    /// Fewer tensors than the layers of the config need.
    #[error("the config has {layers} layers of {per_layer} tensors, but there are {found} tensors")]
    TooFewTensors {
        /// Layers by the config.
        layers: usize,
        /// Tensors that each layer has.
        per_layer: usize,
        /// Tensors in all.
        found: usize,
    },
    /// A tensor of the config, or the scales of a quantised one, is absent.
    #[error("tensor `{tensor}` is missing")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor that the config does not have.
    #[error("tensor {tensor:?} is not part of this config")]
    UnexpectedTensor {
        /// Its name.
        tensor: String,
    },
    /// The values are of another kind.
    #[error("tensor {tensor:?} has dtype {found:?}, expected {expected}")]
    Dtype {
        /// Its name.
        tensor: String,
        /// What is allowed.
        expected: &'static str,
        /// What the file says.
        found: String,
    },
    /// The sizes are not those of the config.
    #[error("tensor `{tensor}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// Shape by the config, as stored.
        expected: Vec<usize>,
        /// Shape found.
        found: Vec<usize>,
    },
    /// More axes than any tensor of a model has.
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
        /// Bytes by shape and dtype; `None` where that number does not fit the machine.
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

    // -- Values -----------------------------------------------------------------------------------
    /// A tensor in memory has another number of entries than its shape says.
    #[error("tensor `{tensor}` has {found} {what}, expected {expected}")]
    Length {
        /// Its name.
        tensor: String,
        /// `values`, `bytes` or `scales`.
        what: &'static str,
        /// Entries by shape and group.
        expected: usize,
        /// Entries found.
        found: usize,
    },
    /// A tensor that must stay fp32 is quantised.
    #[error("tensor `{tensor}` is stored as {found}, expected fp32: it is not a quantised matrix")]
    NotQuantizable {
        /// Its name.
        tensor: String,
        /// How it is stored.
        found: Precision,
    },
    /// Rows cannot be divided like this.
    #[error(
        "tensor `{tensor}` has {scales} scales for each row of {row} values, which is no group of \
         32 or 16 (or, for int8, of a whole row)"
    )]
    Group {
        /// Its name.
        tensor: String,
        /// Values in a row.
        row: usize,
        /// Scales for each row.
        scales: usize,
    },
    /// A value is infinite or not a number.
    #[error("value {index} of tensor `{tensor}` is {found}, expected a finite number")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Position in row-major order.
        index: usize,
        /// The value.
        found: f32,
    },
    /// A quantised value lies outside the range of its precision.
    #[error("value {index} of tensor `{tensor}` is {found}, expected {low} to {high}")]
    Range {
        /// Its name.
        tensor: String,
        /// Position in row-major order.
        index: usize,
        /// The value.
        found: i8,
        /// The lowest that may be.
        low: i8,
        /// The highest that may be.
        high: i8,
    },
    /// A scale is infinite or not a number.
    #[error("scale {index} of tensor `{tensor}` is {found}, expected a finite number")]
    Scale {
        /// Its name.
        tensor: String,
        /// Position in row-major order.
        index: usize,
        /// The scale.
        found: f32,
    },
}
