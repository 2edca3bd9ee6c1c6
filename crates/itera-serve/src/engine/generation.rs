//! One request on its way: what the model is to read next, and what becomes of its answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use itera_core::{model::State, sampling::Sampler};

use super::{
    Completion, Event, Finish, GenerateError, Logprobs, Prompt, Reply, Request,
    adjust::Adjuster,
    prefixes::STRIDE,
    request::MIN_EVENTS,
    session::{Session, Start},
    text::TextBuilder,
};
use crate::weights::Variant;

/// Tokens of a prompt that are read in one step, so that long prompts hold up the others little.
const PIECE: usize = 32;

/// What the model reads.
#[derive(Debug)]
pub(super) struct Feed {
    /// End-of-text and the prompt; in a session what is not read of it and the prompt.
    prompt: Vec<u32>,
    /// Tokens of it that are read.
    at: usize,
    /// Most tokens of it in a step.
    piece: usize,
    /// The token written last.
    last: [u32; 1],
}

impl Feed {
    /// The tokens of this step, and the token of the prompt that follows them, if one does.
    pub(super) fn next(&self) -> (&[u32], Option<u32>) {
        if self.is_read() {
            return (&self.last, None);
        }
        let (rest, len) = (&self.prompt[self.at..], self.step_len());
        (&rest[..len], rest.get(len).copied())
    }

    /// Tokens of the prompt that a step reads.
    fn step_len(&self) -> usize {
        let rest = self.prompt.len() - self.at;
        rest.min(self.piece).min(STRIDE - self.at % STRIDE)
    }

    /// End-of-text and the prompt.
    pub(super) fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    /// Whether all of the prompt is read.
    pub(super) const fn is_read(&self) -> bool {
        self.at == self.prompt.len()
    }

    /// So many tokens of the prompt were read before; how many of them the client has given.
    pub(super) const fn skip(&mut self, len: usize) -> usize {
        self.at = len;
        len - 1
    }

    /// The tokens of this step are read, and `written` comes next. What is read of the prompt so far, if what the model
    /// remembers of it is worth keeping.
    pub(super) fn advance(&mut self, written: Option<u32>) -> Option<&[u32]> {
        if let Some(token) = written {
            self.last = [token];
        }
        let len = self.step_len();
        self.at += len;
        let is_place = self.is_read() || self.at.is_multiple_of(STRIDE);
        (len > 0 && is_place && self.at > PIECE).then(|| &self.prompt[..self.at])
    }
}

/// A step of several requests side by side, which share its time alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) began: Instant,
    pub(super) side_by_side: u32,
}

impl Share {
    fn elapsed(self) -> Duration {
        self.began.elapsed() / self.side_by_side.max(1)
    }
}

/// What is written.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) variant: Arc<Variant>,
    sampler: Sampler,
    adjuster: Option<Adjuster>,
    max_tokens: usize,
    top: Option<usize>,
    /// The prompt as far as it is scored, if its tokens get probabilities too.
    scored_prompt: Option<TextBuilder>,
    text: TextBuilder,
    /// Bytes of the text that repeat the prompt.
    echoed: usize,
    /// Probabilities that no piece has brought yet.
    fresh: Logprobs,
    prompt_tokens: usize,
    /// Tokens of the prompt that were not read again.
    pub(super) cached_tokens: usize,
    /// What predicts the token behind the prompt, after the step that has read it.
    pub(super) prompt_logits: Option<Arc<[f32]>>,
    tokens: usize,
    received: Instant,
    first_token: Option<Instant>,
    /// Whether no token follows.
    is_last: bool,
    /// None once the end is told.
    reply: Option<Reply>,
    /// The token written in this step.
    pub(super) written: Option<u32>,
    /// Its share of the thread's time until this step.
    worked: Duration,
    /// Its share of this step.
    pub(super) step: Option<Share>,
    /// Whether the text began with this request.
    pub(super) is_new: bool,
    /// Of a text that will go on, its tokens before this request.
    goes_on: Option<usize>,
    /// The end of such a text, until its state is known.
    ended: Option<Ended>,
}

/// What is told with the state of a text that will go on.
#[derive(Debug)]
struct Ended {
    reply: Reply,
    completion: Completion,
    /// What predicts the next token, if all are read.
    logits: Option<Arc<[f32]>>,
}

/// Prepares a request for its slot.
///
/// # Errors
/// The tokenizer does not take the prompt; the client has been told.
pub(super) fn begin(request: Request) -> Option<(Feed, Writing, Option<Box<Session>>)> {
    let keeps = request.start.keeps();
    let session = match request.start {
        Start::Fresh | Start::NewSession => None,
        Start::Session(session) => Some(session),
    };
    let tokenizer = &request.variant.tokenizer;
    let encoded = match &request.prompt {
        Prompt::Text(text) => tokenizer.encode(text.as_bytes()),
        Prompt::Tokens(tokens) => Ok(tokens.clone()),
    };
    let sampler = Sampler::new(request.sampling);
    let (tokens, sampler) = match (encoded, sampler) {
        (Ok(tokens), Ok(sampler)) => (tokens, sampler),
        (Err(error), _) => {
            request.reply.end(Err(GenerateError::Prompt(error)));
            return None;
        }
        (_, Err(error)) => {
            request.reply.end(Err(GenerateError::Sampling(error)));
            return None;
        }
    };
    let mut text = TextBuilder::new(request.stop);
    let echoed = if request.echo {
        text.begin_with(&tokenizer.decode(&tokens))
    } else {
        0
    };
    let scores_prompt = request.echo && request.logprobs.is_some();
    let mut fresh = Logprobs::default();
    if scores_prompt && request.tells_start {
        fresh.push_start();
    }
    let end_of_text = tokenizer.end_of_text();
    let temperature = request.sampling.temperature;
    let adjuster = Adjuster::new(&request.adjustments, temperature, end_of_text, &tokens);
    let prompt_tokens = tokens.len();
    let before = match &session {
        None => Some(end_of_text),
        Some(session) => session.unread,
    };
    let prompt: Vec<u32> = before.into_iter().chain(tokens).collect();
    let writing = Writing {
        variant: request.variant,
        sampler,
        adjuster,
        max_tokens: request.max_tokens,
        top: request.logprobs,
        scored_prompt: scores_prompt.then(|| TextBuilder::new(Vec::new())),
        text,
        echoed,
        fresh,
        prompt_tokens,
        cached_tokens: 0,
        prompt_logits: None,
        tokens: 0,
        received: request.received,
        first_token: None,
        is_last: false,
        reply: Some(request.reply),
        written: None,
        worked: Duration::ZERO,
        step: None,
        is_new: session.is_none(),
        goes_on: keeps.then(|| session.as_ref().map_or(0, |session| session.tokens)),
        ended: None,
    };
    let feed = Feed {
        prompt,
        at: 0,
        piece: if scores_prompt { 1 } else { PIECE },
        last: [0],
    };
    Some((feed, writing, session))
}

impl Writing {
    /// The thread has done this step.
    pub(super) fn end_step(&mut self) {
        self.worked += self.step.take().map_or(Duration::ZERO, Share::elapsed);
    }

    /// Whether the answer has ended, or nobody waits for it.
    pub(super) fn is_over(&self) -> bool {
        self.reply.as_ref().is_none_or(Reply::is_closed)
    }

    /// Whether the end was not told, since nobody waits for it.
    pub(super) const fn is_cancelled(&self) -> bool {
        self.reply.is_some()
    }

    /// Whether the tokens of the prompt get probabilities too.
    pub(super) const fn scores_prompt(&self) -> bool {
        self.scored_prompt.is_some()
    }

    /// Tokens written so far.
    pub(super) const fn tokens(&self) -> usize {
        self.tokens
    }

    /// The model has read the tokens of this step and predicts the next one: `known`, if the prompt
    /// goes on, else one to draw.
    pub(super) fn accept(&mut self, known: Option<u32>, logits: &[f32]) {
        self.written = None;
        if let Some(token) = known {
            if let Some(scored) = &mut self.scored_prompt {
                let offset = scored.characters();
                scored.push(self.variant.tokenizer.token_bytes(token));
                self.note(token, logits, offset);
            }
            return;
        }
        if self.max_tokens == 0 {
            return self.finish(Finish::Length, Some(logits));
        }
        let token = match &mut self.adjuster {
            Some(adjuster) => self.sampler.sample(adjuster.adjust(logits, self.tokens)),
            None => self.sampler.sample(logits),
        };
        self.first_token.get_or_insert_with(Instant::now);
        if self.top.is_some() {
            let offset = self.text.characters();
            self.note(token, logits, offset);
        }
        if token == self.variant.tokenizer.end_of_text() {
            return self.finish(Finish::EndOfText, Some(logits));
        }
        self.tokens += 1;
        self.written = Some(token);
        if let Some(adjuster) = &mut self.adjuster {
            adjuster.note(token);
        }
        if self.text.push(self.variant.tokenizer.token_bytes(token)) {
            self.finish(Finish::Stop, None);
        } else if self.tokens == self.max_tokens {
            self.finish(Finish::Length, None);
        } else {
            self.stream();
        }
    }

    /// Adds a token to the list of probabilities.
    fn note(&mut self, token: u32, logits: &[f32], offset: usize) {
        let top = self.top.unwrap_or(0);
        let tokenizer = &self.variant.tokenizer;
        self.fresh.push(tokenizer, token, logits, top, offset);
    }

    /// Sends what is new, if the client keeps up; else it comes with a later piece.
    fn stream(&mut self) {
        let Some(Reply::Stream(sender)) = &self.reply else {
            return;
        };
        if sender.capacity() < MIN_EVENTS && !self.is_last {
            return;
        }
        let text = self.text.piece();
        let fresh = std::mem::take(&mut self.fresh);
        if !text.is_empty() || !fresh.tokens.is_empty() {
            let logprobs = self.top.map(|_| fresh);
            // A client that has gone is noticed before the next step.
            let _ = sender.try_send(Event::Delta {
                text,
                tokens: self.tokens,
                logprobs,
            });
        }
    }

    /// Tells the end; that of a text which will go on is told with its state. `logits` predict the next token, if all
    /// are read.
    fn finish(&mut self, finish: Finish, logits: Option<&[f32]>) {
        self.text.finish();
        self.is_last = true;
        self.stream();
        let Some(reply) = self.reply.take() else {
            return;
        };
        let now = Instant::now();
        let text = std::mem::replace(&mut self.text, TextBuilder::new(Vec::new()));
        let is_whole = matches!(reply, Reply::Whole(_));
        let completion = Completion {
            text: text.into_text(),
            echoed: self.echoed,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            tokens: self.tokens,
            finish,
            logprobs: self
                .top
                .filter(|_| is_whole)
                .map(|_| std::mem::take(&mut self.fresh)),
            variant: Arc::clone(&self.variant),
            session: None,
            first_token: self.first_token.unwrap_or(now) - self.received,
            total: now - self.received,
            worked: self.worked + self.step.map_or(Duration::ZERO, Share::elapsed),
        };
        if self.goes_on.is_some() {
            self.ended = Some(Ended {
                reply,
                completion,
                logits: logits.map(Arc::from),
            });
        } else {
            reply.end(Ok(completion));
        }
    }

    /// Tells the end of a text that will go on, if it has one: the model remembers `state` of it.
    pub(super) fn tell_end(&mut self, state: &State) {
        let (Some(ended), Some(before)) = (self.ended.take(), self.goes_on) else {
            return;
        };
        let Ended {
            reply,
            mut completion,
            logits,
        } = ended;
        completion.session = Some(Box::new(Session {
            variant: Arc::clone(&self.variant),
            tokens: before + completion.prompt_tokens + completion.tokens,
            state: state.clone(),
            unread: self.written,
            logits,
        }));
        reply.end(Ok(completion));
    }
}
