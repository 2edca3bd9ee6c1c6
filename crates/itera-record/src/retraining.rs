//! The record of one retraining, written by `scripts/retrain.sh` and kept in the journal by `itera-serve versions
//! import`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Envelope, ModelInfo, Record,
    check::{self, RecordError},
};

/// One retraining: what it began with, what it read, and what the gate said. `model` is the candidate in floats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetrainingRecord {
    /// Schema, time, tool, host and model.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Why it was done: `manual`, `schedule`, `records` or `drift`.
    pub trigger: String,
    /// The weights that were served meanwhile, at the precision that the gate compares at.
    pub served: ModelInfo,
    /// SHA-256 of the checkpoint that training began with.
    pub base_sha256: String,
    /// SHA-256 of the candidate's training record.
    pub training_sha256: String,
    /// Everything that was read.
    pub texts: Vec<RetrainingText>,
    /// What the gate measured.
    pub gate: Vec<RetrainingGate>,
    /// Whether the candidate has passed the gate on every text.
    pub passed: bool,
    /// Whether it was refused after that, since it makes a probe likely.
    #[serde(default)]
    pub refused_by_probes: bool,
}

/// A text of a retraining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetrainingText {
    /// `training` for the model's own text, `accepted` for feedback that was trained on, `held_out` for feedback that
    /// was not, `guard`.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
}

/// The gate on one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetrainingGate {
    /// Name of the text.
    pub text: String,
    /// Precision of both models.
    pub precision: String,
    /// Of the weights that were served.
    pub bits_per_byte_before: f64,
    /// Of the candidate.
    pub bits_per_byte_after: f64,
    /// Percent more bits that the candidate may need.
    pub may_be_worse_percent: f64,
}

impl RetrainingGate {
    /// Whether the candidate is good enough on this text.
    pub fn passed(&self) -> bool {
        let limit = 1.0 + self.may_be_worse_percent / 100.0;
        self.bits_per_byte_after <= limit * self.bits_per_byte_before
    }
}

impl Record for RetrainingRecord {
    const SCHEMA: &'static str = "itera.retraining/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        check::ensure(self.envelope.model.is_some(), "model", "null", "a model")?;
        self.served.validate()?;
        let digests = [
            ("base_sha256", &self.base_sha256),
            ("training_sha256", &self.training_sha256),
        ];
        for (field, digest) in digests {
            check::sha256(field, digest)?;
        }
        for (i, text) in self.texts.iter().enumerate() {
            check::sha256(&format!("texts[{i}].sha256"), &text.sha256)?;
        }
        for (i, gate) in self.gate.iter().enumerate() {
            let field = |name| format!("gate[{i}].{name}");
            check::finite(&field("bits_per_byte_before"), gate.bits_per_byte_before)?;
            check::finite(&field("bits_per_byte_after"), gate.bits_per_byte_after)?;
            check::finite(&field("may_be_worse_percent"), gate.may_be_worse_percent)?;
        }
        check::ensure(!self.gate.is_empty(), "gate", "empty", "at least one text")?;
        let passed = self.gate.iter().all(RetrainingGate::passed);
        check::ensure(
            self.passed == passed,
            "passed",
            self.passed,
            format!("{passed}, by `gate`"),
        )
    }
}
