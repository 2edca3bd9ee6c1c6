//! A model, what it has read, and how it writes on.

use itera_core::{
    checkpoint::{Checkpoint, Precision},
    digest::sha256_hex,
    model::{Model, State, Workspace},
    sampling::{Sampler, SamplingConfig},
    tokenizer::Tokenizer,
};

use crate::{WebError, saved};

/// A model and one text that it reads or writes.
#[derive(Debug)]
pub struct Session {
    file_sha256: String,
    precision: Precision,
    tokenizer: Tokenizer,
    model: Model,
    state: State,
    work: Workspace,
    logits: Vec<f32>, // [vocab_size], of the next token
    sampler: Sampler,
}

/// What the model makes of a token of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub id: u32,
    /// Where it begins in the text, in bytes.
    pub offset: usize,
    /// Negative log-likelihood.
    pub nats: f64,
}

impl Session {
    /// The model of a checkpoint file. It has read end-of-text, and draws by its own distribution with seed 0.
    ///
    /// # Errors
    /// The first thing in the file that is not as the format demands.
    pub fn load(file: &[u8]) -> Result<Self, WebError> {
        let checkpoint = Checkpoint::from_bytes(file)?;
        let model = Model::from_checkpoint(&checkpoint)?;
        let mut session = Self {
            file_sha256: sha256_hex(file),
            precision: checkpoint.precision(),
            tokenizer: checkpoint.tokenizer,
            state: model.new_state(),
            work: model.new_workspace(),
            logits: Vec::new(),
            sampler: Sampler::new(SamplingConfig::default())?,
            model,
        };
        session.reset();
        Ok(session)
    }

    /// Facts about the model, as an object of JSON.
    pub fn about(&self) -> String {
        format!(
            r#"{{"parameters":{},"precision":"{}","kernel":"{}","tokenizer":"{}","vocabSize":{},"endOfText":{},"stateBytes":{},"sha256":"{}"}}"#,
            self.model.config().parameters(),
            self.precision,
            self.model.kernel(),
            self.tokenizer.kind(),
            self.tokenizer.vocab_size(),
            self.tokenizer.end_of_text(),
            self.state.bytes(),
            self.file_sha256,
        )
    }

    /// The tokens of a text; end-of-text is never among them.
    ///
    /// # Errors
    /// A tokenizer of characters reads UTF-8 only.
    pub fn tokenize(&self, text: &[u8]) -> Result<Vec<u32>, WebError> {
        Ok(self.tokenizer.encode(text)?)
    }

    /// The text of tokens, as bytes: a token may be a part of a character.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn detokenize(&self, tokens: &[u32]) -> Result<Vec<u8>, WebError> {
        self.check(tokens)?;
        Ok(self.tokenizer.decode(tokens))
    }

    /// The likelihood of each token of a text, from a fresh state: that of `itera-validate score` to the last bit. What
    /// the session has read stays as it is.
    ///
    /// # Errors
    /// As of [`tokenize`](Self::tokenize).
    pub fn score(&mut self, text: &[u8]) -> Result<Vec<TokenScore>, WebError> {
        let tokens = self.tokenize(text)?;
        let context = self.tokenizer.end_of_text();
        let mut state = self.model.new_state();
        let nats = self
            .model
            .score(&mut state, &mut self.work, context, &tokens);
        let offsets = self.offsets(text, &tokens);
        let scores = tokens.into_iter().zip(offsets).zip(nats);
        let scores = scores.map(|((id, offset), nats)| TokenScore { id, offset, nats });
        Ok(scores.collect())
    }

    /// Where the tokens of a text begin.
    fn offsets(&self, text: &[u8], tokens: &[u32]) -> Vec<usize> {
        // Only a tokenizer of characters loses some, and it has a token for each.
        if !self.tokenizer.is_lossless() {
            let text = str::from_utf8(text).unwrap_or_default();
            return text.char_indices().map(|(offset, _)| offset).collect();
        }
        let mut end = 0;
        let begin = |id: &u32| {
            let offset = end;
            end += self.tokenizer.token_bytes(*id).len();
            offset
        };
        tokens.iter().map(begin).collect()
    }

    /// Forgets what was read, but for end-of-text.
    pub fn reset(&mut self) {
        self.state.reset();
        self.advance(&[self.tokenizer.end_of_text()]);
    }

    /// Reads tokens.
    ///
    /// # Errors
    /// A token outside the vocabulary; nothing is read then.
    pub fn read(&mut self, tokens: &[u32]) -> Result<(), WebError> {
        self.check(tokens)?;
        self.advance(tokens);
        Ok(())
    }

    /// Chooses how tokens are drawn from here on.
    ///
    /// # Errors
    /// A setting that is out of its range.
    pub fn sample_by(&mut self, config: SamplingConfig) -> Result<(), WebError> {
        self.sampler = Sampler::new(config)?;
        Ok(())
    }

    /// Draws the next token, which is not read yet.
    pub fn draw(&mut self) -> u32 {
        self.sampler.sample(&self.logits)
    }

    /// The logits of the next token, `[vocab_size]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Negative log-likelihood of a next token, by the model's own distribution.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn nats(&self, token: u32) -> Result<f64, WebError> {
        self.check(&[token])?;
        Ok(self.model.nats(token, &self.logits))
    }

    /// What was read, as bytes for [`restore`](Self::restore).
    pub fn save(&self) -> Vec<u8> {
        let values = self.state.values().chain(self.logits.iter().copied());
        saved::write(&self.file_sha256, values)
    }

    /// Takes over what [`save`](Self::save) has written.
    ///
    /// # Errors
    /// Bytes that are of another model, or damaged; nothing changes then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), WebError> {
        let of_state = self.state.bytes() / size_of::<f32>();
        let len = of_state + self.logits.len();
        let values = saved::read(&self.file_sha256, bytes, len).ok_or(WebError::State)?;
        let (state, logits) = values.split_at(of_state);
        self.state.set_values(state);
        self.logits.copy_from_slice(logits);
        Ok(())
    }

    /// Reads tokens that are in the vocabulary.
    fn advance(&mut self, tokens: &[u32]) {
        let logits = self.model.prefill(tokens, &mut self.state, &mut self.work);
        if let Some(logits) = logits {
            self.logits.clear();
            self.logits.extend_from_slice(logits);
        }
    }

    fn check(&self, tokens: &[u32]) -> Result<(), WebError> {
        let vocab_size = self.tokenizer.vocab_size();
        match tokens.iter().find(|token| **token as usize >= vocab_size) {
            Some(&token) => Err(WebError::UnknownToken { token, vocab_size }),
            None => Ok(()),
        }
    }
}
