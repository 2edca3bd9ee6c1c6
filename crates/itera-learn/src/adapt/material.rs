//! The material of an adaptation: feedback, replay, and the documents that judge it.

use itera_core::config::ModelConfig;
use serde::{Deserialize, Serialize};

use super::AdaptError;

/// The judgement of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The output was good: it becomes more likely.
    Accepted,
    /// The output is what should have been written: it becomes more likely.
    Corrected,
    /// The output was bad: it becomes less likely.
    Rejected,
}

impl Verdict {
    /// Whether the output is to become more likely.
    pub const fn is_wanted(self) -> bool {
        matches!(self, Self::Accepted | Self::Corrected)
    }
}

/// One record of feedback. Tokens of the checkpoint's tokenizer; the end-of-text token that starts
/// every text is not among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The text that the output continues; may be empty.
    pub prompt: Vec<u32>,
    /// The text that was written, or should have been; at least one token. Ends in end-of-text where
    /// the text ended by itself and not at a limit of length.
    pub output: Vec<u32>,
    /// Its judgement.
    pub verdict: Verdict,
    /// How much it counts; 1 usually.
    pub weight: f64,
}

/// A document that training never sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardDocument {
    /// Its tokens, end-of-text not among them.
    pub tokens: Vec<u32>,
    /// Bytes that the tokens stand for.
    pub bytes: u64,
}

/// A text that must not become likely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Tokens of the text that it follows; none for one at the beginning.
    pub prompt: Vec<u32>,
    /// Its tokens, at least one.
    pub text: Vec<u32>,
}

/// Everything that an adaptation reads.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// Feedback; at least one record.
    pub examples: &'a [Example],
    /// Documents in the manner of what the base weights were trained on, tokens without
    /// end-of-text; may be empty, and then nothing is replayed.
    pub replay: &'a [Vec<u32>],
    /// Documents that judge the result and take no part in training; at least one.
    pub guard: &'a [GuardDocument],
    /// Texts that must not become likely; may be empty.
    pub probes: &'a [Probe],
}

impl Material<'_> {
    /// Checks that there is something to learn from and to judge by, and every token.
    ///
    /// # Errors
    /// [`AdaptError::Material`], or [`AdaptError::Token`] for a token that the model does not have.
    pub(super) fn validate(&self, model: &ModelConfig) -> Result<(), AdaptError> {
        let refuse = |what, remedy| Err(AdaptError::Material { what, remedy });
        if self.examples.is_empty() {
            return refuse("no record of feedback", "collect feedback first");
        }
        let usable = |example: &Example| {
            let weighs = example.weight.is_finite() && example.weight >= 0.0;
            weighs && !example.output.is_empty()
        };
        if !self.examples.iter().all(usable) {
            return refuse(
                "a record with an empty output, or a weight that is NaN or negative",
                "leave such records out",
            );
        }
        if self.examples.iter().all(|example| example.weight == 0.0) {
            return refuse("no record of any weight", "give one a weight above 0");
        }
        let guarded = |document: &GuardDocument| document.bytes > 0 && !document.tokens.is_empty();
        if !self.guard.iter().any(guarded) {
            return refuse(
                "no guard document",
                "give documents of the text that the model must not get worse on",
            );
        }
        if self.probes.iter().any(|probe| probe.text.is_empty()) {
            return refuse("a probe without a token", "leave it out");
        }
        let vocab_size = model.vocab_size;
        let examples = self.examples.iter();
        let texts = examples.flat_map(|example| [&example.prompt, &example.output]);
        let texts = texts.chain(self.replay);
        let texts = texts.chain(self.guard.iter().map(|document| &document.tokens));
        let probes = self.probes.iter();
        let texts = texts.chain(probes.flat_map(|probe| [&probe.prompt, &probe.text]));
        match texts.flatten().find(|token| **token as usize >= vocab_size) {
            Some(&token) => Err(AdaptError::Token { token, vocab_size }),
            None => Ok(()),
        }
    }
}
