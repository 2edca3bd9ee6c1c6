//! What can be refused.

use itera_core::{
    checkpoint::CheckpointError, container::ContainerError, model::ModelError,
    sampling::SamplingError, tokenizer::TokenizerError,
};
use thiserror::Error;

/// Why a call has no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebError {
    /// Nothing can be done before a model is loaded.
    #[error("no model is loaded; load a checkpoint first")]
    NoModel,
    /// The bytes are no checkpoint.
    #[error("the bytes are no checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is no model.
    #[error("the checkpoint cannot be used")]
    Model(#[from] ModelError),
    /// The text has no tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A setting is out of its range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Bytes that should be tokens are none.
    #[error("{0} bytes are no list of tokens, which have four bytes each")]
    NotTokens(usize),
    /// A token that the model does not know.
    #[error("the token {token} is outside the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
    /// The bytes are not what this model has saved.
    #[error("these bytes are no state of this model; give those that the same model has saved")]
    State,
}

impl WebError {
    /// The message with its cause.
    ///
    /// The causes that there are stand here by name. Asked for as `dyn Error`, they would bring what a debugger shows
    /// of them, which is a part of every page that loads this.
    pub fn to_text(&self) -> String {
        match self {
            Self::Checkpoint(error) | Self::Model(ModelError::Checkpoint(error)) => match error {
                CheckpointError::Config(cause) => format!("{self}: {error}: {cause}"),
                CheckpointError::Tokenizer(cause) => format!("{self}: {error}: {cause}"),
                CheckpointError::Container(ContainerError::MetadataJson { source, .. }) => {
                    format!("{self}: {error}: {source}")
                }
                _ => format!("{self}: {error}"),
            },
            _ => self.to_string(),
        }
    }
}
