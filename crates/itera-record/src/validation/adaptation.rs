//! Scores of weights that move while they read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Documents, ValidationRow};
use crate::check::{self, RecordError};

/// How the weights moved: a part of the protocol, so that such a score is never compared with that
/// of weights that stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdaptationProtocol {
    /// `dynamic_evaluation`: each segment is scored, then learnt from, in the order of the text.
    pub method: String,
    /// Whether each document starts with the weights of the checkpoint; else they are carried from document to document.
    #[serde(default)]
    pub per_document: bool,
    /// Tokens in a segment; the last of a document may have fewer.
    pub segment_tokens: u64,
    /// Learning rate of each update.
    pub learning_rate: f64,
    /// Share of the way back to the weights of the checkpoint that each update goes.
    pub pull: f64,
}

/// What the model alone, its weights left as they are, makes of the same text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StaticScore {
    /// Updates of the weights, one for each segment; 0 where they stay.
    pub updates: u64,
    /// Bits per byte of the model alone.
    pub static_bits_per_byte: f64,
    /// `1 - bits_per_byte / static_bits_per_byte`; below 0 if learning has made it worse.
    pub gain: f64,
    /// Negative log-likelihood of each document by the model alone.
    pub static_document_nll_nats: Vec<f64>,
}

impl AdaptationProtocol {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn validate(&self) -> Result<(), RecordError> {
        let (segment, rate, pull) = (self.segment_tokens, self.learning_rate, self.pull);
        check::ensure(segment > 0, "segment_tokens", segment, "at least 1")?;
        check::finite("learning_rate", rate)?;
        check::ensure(rate >= 0.0, "learning_rate", rate, "at least 0")?;
        let share = (0.0..=1.0).contains(&pull);
        check::ensure(share, "pull", pull, "0 to 1")
    }
}

impl StaticScore {
    /// Checks the figures against those of the row.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn validate(&self, row: &ValidationRow) -> Result<(), RecordError> {
        let nats = &self.static_document_nll_nats;
        let Documents {
            document_nll_nats, ..
        } = &row.per_document;
        check::ensure(
            nats.len() == document_nll_nats.len(),
            "static_document_nll_nats",
            format!("a list of {}", nats.len()),
            format!(
                "one value for each of {} documents",
                document_nll_nats.len()
            ),
        )?;
        let bits = nats.iter().sum::<f64>() / std::f64::consts::LN_2 / row.bytes as f64;
        check::close("static_bits_per_byte", self.static_bits_per_byte, bits)?;
        check::finite("gain", self.gain)?;
        let left = row.bits_per_byte / self.static_bits_per_byte;
        check::close("gain", 1.0 - self.gain, left)
    }
}
