//! The record of one training run, written by `itera-train`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Envelope, Record,
    check::{self, RecordError},
};

/// One training run: what was done, on which text, and what came out. `model` is the checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingRecord {
    /// Schema, time, tool, host and model.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The command that repeats the run, one argument each, the program first.
    pub command: Vec<String>,
    /// Seed of every random choice of the run.
    pub seed: u64,
    /// Name of the preset, for example `micro`; `custom` for the sizes of the checkpoint that the run
    /// started from.
    pub preset: String,
    /// Sizes of the model: the checkpoint's `itera.config`.
    pub config: serde_json::Value,
    /// Kind of the tokenizer and size of its vocabulary, for example `bpe 512`.
    pub tokenizer: String,
    /// Every option that shapes the run: batch, length, schedule, optimiser, backend.
    pub protocol: serde_json::Value,
    /// The texts that were read.
    pub data: Vec<DataSource>,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens trained on, repetitions included.
    pub tokens: u64,
    /// Wall time of training, evaluation excluded.
    pub seconds: f64,
    /// `tokens / seconds`.
    pub tokens_per_s: f64,
    /// Mean cross-entropy of the last steps, in nats per token.
    pub train_nats_per_token: f64,
    /// Bits per byte of the whole validation split after the last step; null if not measured.
    pub valid_bits_per_byte: Option<f64>,
    /// The metrics of every logged step: a CSV file, its path relative to this record.
    pub curve: Option<String>,
}

/// A text that a run has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataSource {
    /// Name of the data set.
    pub dataset: String,
    /// Its split.
    pub split: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// What the digest says about the file, for example that it is the official one.
    pub verdict: String,
    /// Size of the file.
    pub bytes: u64,
}

impl Record for TrainingRecord {
    const SCHEMA: &'static str = "itera.training/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        check::finite("seconds", self.seconds)?;
        check::finite("tokens_per_s", self.tokens_per_s)?;
        check::finite("train_nats_per_token", self.train_nats_per_token)?;
        if let Some(bits) = self.valid_bits_per_byte {
            check::finite("valid_bits_per_byte", bits)?;
        }
        for (i, source) in self.data.iter().enumerate() {
            check::sha256(&format!("data[{i}].sha256"), &source.sha256)?;
        }
        check::ensure(
            !self.command.is_empty(),
            "command",
            "empty",
            "the program's arguments",
        )?;
        check::ensure(self.config.is_object(), "config", &self.config, "an object")?;
        check::ensure(
            self.protocol.is_object(),
            "protocol",
            &self.protocol,
            "an object",
        )
    }
}
