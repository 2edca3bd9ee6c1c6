//! What is asked for, and what comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use itera_core::{
    checkpoint::Precision,
    sampling::{SamplingConfig, SamplingError},
    tokenizer::TokenizerError,
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::logprobs::Logprobs;

/// A text to continue.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prompt: Prompt,
    pub(crate) precision: Precision,
    pub(crate) sampling: SamplingConfig,
    /// Most tokens to write; end-of-text does not count.
    pub(crate) max_tokens: usize,
    /// Texts that end the answer and are not part of it.
    pub(crate) stop: Vec<String>,
    /// Whether the answer begins with the prompt.
    pub(crate) echo: bool,
    /// How many alternatives to tell the probability of beside each token's own.
    pub(crate) logprobs: Option<usize>,
    pub(crate) reply: Reply,
    /// When the request came in.
    pub(crate) received: Instant,
}

/// The beginning of a text.
#[derive(Debug)]
pub(crate) enum Prompt {
    /// As text.
    Text(String),
    /// As ids below the vocabulary size, end-of-text not added.
    Tokens(Vec<u32>),
}

/// Where the answer goes. A receiver that is dropped ends the request within one token.
#[derive(Debug)]
pub(crate) enum Reply {
    /// All at once.
    Whole(oneshot::Sender<Result<Completion, GenerateError>>),
    /// Piece by piece. Unbounded, but no longer than the answer, which is bounded.
    Stream(mpsc::UnboundedSender<Event>),
}

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Event {
    /// More text, or the probabilities of tokens whose text is still held back.
    Delta {
        text: String,
        logprobs: Option<Logprobs>,
    },
    /// The last of all.
    End(Result<Completion, GenerateError>),
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) text: String,
    /// Bytes of `text` that repeat the prompt.
    pub(crate) echoed: usize,
    /// Tokens of the prompt, without the end-of-text that starts it.
    pub(crate) prompt_tokens: usize,
    /// Tokens written.
    pub(crate) tokens: usize,
    pub(crate) finish: Finish,
    pub(crate) logprobs: Option<Logprobs>,
    pub(crate) weights_version: Arc<str>,
    pub(crate) precision: Precision,
    /// From the request's arrival to its first token.
    pub(crate) first_token: Duration,
    /// From the request's arrival to the end.
    pub(crate) total: Duration,
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The model ended the text.
    EndOfText,
    /// A stop text was written.
    Stop,
    /// As many tokens as were asked for.
    Length,
}

impl Finish {
    /// OpenAI's word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EndOfText | Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Why nothing was written.
#[derive(Clone, Debug, Error)]
pub(crate) enum GenerateError {
    /// The tokenizer does not take the prompt.
    #[error(transparent)]
    Prompt(#[from] TokenizerError),
    /// The sampling makes no sense.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
}
