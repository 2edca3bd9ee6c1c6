//! What another precision changes, token by token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{self, RecordError};

/// How far the predictions of a model are from those of a reference, over the scored tokens. The
/// mean of the likelihood hides errors that cancel; these do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Divergence {
    /// Precision of the reference.
    pub reference: String,
    /// Tokens compared.
    pub tokens: u64,
    /// Mean Kullback-Leibler divergence from the reference, in nats per token.
    pub mean_kl_nats: f64,
    /// The divergence that 99 % of the tokens stay below.
    pub p99_kl_nats: f64,
    /// The divergence that 99.9 % of the tokens stay below.
    pub p999_kl_nats: f64,
    /// Share of the tokens for which both find the same token most likely.
    pub top1_agreement: f64,
    /// Error of the carried state, read as one stream from the start of the text.
    pub state_errors: Vec<StateError>,
}

/// Error of the carried state after some steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateError {
    /// Tokens read.
    pub steps: u64,
    /// Length of the difference of the two states over the length of the reference's.
    pub relative_error: f64,
}

impl Divergence {
    /// Checks ranges and order.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn validate(&self) -> Result<(), RecordError> {
        let quantiles = [self.mean_kl_nats, self.p99_kl_nats, self.p999_kl_nats];
        for (field, value) in ["mean_kl_nats", "p99_kl_nats", "p999_kl_nats"]
            .into_iter()
            .zip(quantiles)
        {
            check::finite(field, value)?;
            check::ensure(value >= 0.0, field, value, "at least 0")?;
        }
        check::ensure(
            self.p99_kl_nats <= self.p999_kl_nats,
            "p99_kl_nats",
            self.p99_kl_nats,
            "at most `p999_kl_nats`",
        )?;
        let share = (0.0..=1.0).contains(&self.top1_agreement);
        check::ensure(share, "top1_agreement", self.top1_agreement, "0 to 1")?;
        self.state_errors
            .iter()
            .try_for_each(|error| check::finite("relative_error", error.relative_error))
    }
}
