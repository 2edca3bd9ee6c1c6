//! What is asked for, and what comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use itera_core::{
    sampling::{SamplingConfig, SamplingError},
    tokenizer::TokenizerError,
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::{
    adjust::Adjustments,
    logprobs::Logprobs,
    session::{Session, Start},
};
use crate::{client::ClientId, weights::Variant};

/// A text to continue.
#[derive(Debug)]
pub(crate) struct Request {
    /// Who asks: the queue serves clients in turn.
    pub(crate) client: ClientId,
    /// What the prompt follows.
    pub(crate) start: Start,
    pub(crate) prompt: Prompt,
    /// The weights; those of a session, if it goes on with one.
    pub(crate) variant: Arc<Variant>,
    pub(crate) sampling: SamplingConfig,
    pub(crate) adjustments: Adjustments,
    /// Most tokens to write; end-of-text does not count.
    pub(crate) max_tokens: usize,
    /// Texts that end the answer and are not part of it.
    pub(crate) stop: Vec<String>,
    /// Whether the answer begins with the prompt.
    pub(crate) echo: bool,
    /// Whether the end-of-text before the prompt is told with the probabilities of an echo.
    pub(crate) tells_start: bool,
    /// How many alternatives to tell the probability of beside each token's own.
    pub(crate) logprobs: Option<usize>,
    pub(crate) reply: Reply,
    /// When the request came in.
    pub(crate) received: Instant,
}

/// The beginning of a text, or what is added to one.
#[derive(Debug)]
pub(crate) enum Prompt {
    /// As text.
    Text(String),
    /// As ids below the vocabulary size, without the end-of-text that a text starts with.
    Tokens(Vec<u32>),
}

/// Where the answer goes. A receiver that is dropped ends the request within one token.
#[derive(Debug)]
pub(crate) enum Reply {
    /// All at once.
    Whole(oneshot::Sender<Result<Completion, GenerateError>>),
    /// Piece by piece. While the client is slow, its text waits in the answer and not in the channel, which
    /// has room for at least [`MIN_EVENTS`].
    Stream(mpsc::Sender<Event>),
}

/// Events that the channel of a stream needs room for: the last piece, the end, and one more.
pub(crate) const MIN_EVENTS: usize = 3;

impl Reply {
    /// Whether the client has gone.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Whole(sender) => sender.is_closed(),
            Self::Stream(sender) => sender.is_closed(),
        }
    }

    /// Sends the last word of a request. A client that has gone is not told.
    pub(super) fn end(self, outcome: Result<Completion, GenerateError>) {
        match self {
            Self::Whole(sender) => drop(sender.send(outcome)),
            // There is room: pieces leave it.
            Self::Stream(sender) => drop(sender.try_send(Event::End(outcome))),
        }
    }
}

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Event {
    /// More text, or the probabilities of tokens whose text is still held back.
    Delta {
        text: String,
        /// Tokens written so far.
        tokens: usize,
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
    /// Those of them that were read before and not again.
    pub(crate) cached_tokens: usize,
    /// Tokens written.
    pub(crate) tokens: usize,
    pub(crate) finish: Finish,
    /// None of a stream, whose pieces have brought them.
    pub(crate) logprobs: Option<Logprobs>,
    /// What has written it.
    pub(crate) variant: Arc<Variant>,
    /// Where the text stands, if it will go on.
    pub(crate) session: Option<Box<Session>>,
    /// From the request's arrival to its first token.
    pub(crate) first_token: Duration,
    /// From the request's arrival to the end.
    pub(crate) total: Duration,
    /// Its share of the time of the thread that wrote it.
    pub(crate) worked: Duration,
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
    /// The queue was full, and the request gave its place to a client with fewer of them.
    #[error("the queue is full")]
    Displaced,
}
