//! Why a checkpoint is refused. Every variant carries the facts: the tensor, the expected and the
//! found value. The file name is added by [`crate::models`], which alone knows it.

use alloc::string::String;

use thiserror::Error;

use super::Precision;
use crate::{config::ConfigError, container::ContainerError, tokenizer::TokenizerError};

/// The first thing found wrong with a checkpoint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file is not sound, or its tensors are not those of the config.
    #[error(transparent)]
    Container(#[from] ContainerError),
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
    /// The packed values of a tensor are not those of its shape.
    #[error("the packed values of tensor `{0}` cannot be read: the file is damaged")]
    Packed(String),
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
    /// A value or scale is not one that a checkpoint may hold.
    #[error("{what} {index} of tensor `{tensor}` is {found}, expected {expected}")]
    Value {
        /// `value` or `scale`.
        what: &'static str,
        /// The tensor's name.
        tensor: String,
        /// Position in row-major order.
        index: usize,
        /// The value.
        found: f32,
        /// What it may be.
        expected: &'static str,
    },
}
