//! Scores of a model and of the n-grams that a document had so far, mixed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{self, RecordError};

/// How n-grams of what was read were mixed in: a part of the protocol, so that such a score is never compared with that
/// of the model alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MixProtocol {
    /// `adaptive_mix`: n-grams of tokens with absolute discounting, down to the model, mixed with the model by weights
    /// that learn, one for each length of context that was seen before. All begin anew where the state does.
    pub method: String,
    /// Tokens of the longest context.
    pub order: u64,
    /// What each count is less for a token that was not seen.
    pub discount: f64,
    /// Weight of the n-grams before the first token.
    pub first_weight: f64,
    /// Share that each token has in a weight, once many were read.
    pub rate: f64,
    /// Tokens after which the n-grams begin anew, which bounds memory.
    pub most_tokens: u64,
}

impl MixProtocol {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn validate(&self) -> Result<(), RecordError> {
        check::ensure(
            self.most_tokens > 0,
            "most_tokens",
            self.most_tokens,
            "at least 1",
        )?;
        for (name, value) in [
            ("discount", self.discount),
            ("first_weight", self.first_weight),
            ("rate", self.rate),
        ] {
            check::ensure((0.0..=1.0).contains(&value), name, value, "0 to 1")?;
        }
        Ok(())
    }
}
