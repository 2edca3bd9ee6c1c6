//! How a quantised checkpoint was made, in its `itera.training`.

use serde_json::{Value, json};

use super::Method;
use crate::checkpoint::Checkpoint;

/// Key of the notes on quantisation, beside those of the training.
const KEY: &str = "quantization";

/// The notes on training that are kept. The rest is in the file that this one was made from.
const KEPT: [&str; 5] = ["command", "commit", "dataset", "seed", "steps"];

/// How a quantised checkpoint was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// SHA-256 of the fp32 file that it is the companion of.
    pub source_sha256: String,
    /// SHA-256 of the file whose weights were rounded, where these were trained on from the source.
    pub tuned_sha256: Option<String>,
    /// How weights were rounded.
    pub method: Method,
    /// The text that the rounding was calibrated with.
    pub calibration: Option<CalibrationSource>,
}

/// Calibration text: the first tokens of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationSource {
    /// Name of the data set.
    pub dataset: String,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Tokens that were read.
    pub tokens: usize,
}

impl Provenance {
    /// What a quantised checkpoint says.
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let notes = checkpoint.training.get(KEY)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let calibration = |notes: &Value| {
            Some(CalibrationSource {
                dataset: text(&notes["dataset"])?,
                sha256: text(&notes["sha256"])?,
                tokens: notes["tokens"].as_u64()? as usize,
            })
        };
        Some(Self {
            source_sha256: text(&notes["source_sha256"])?,
            tuned_sha256: text(&notes["tuned_sha256"]),
            method: notes["method"].as_str()?.parse().ok()?,
            calibration: calibration(&notes["calibration"]),
        })
    }

    /// The `training` of the quantised checkpoint, given its source's.
    pub fn with_training(&self, training: &Value) -> Value {
        let kept = KEPT
            .iter()
            .filter_map(|&key| Some((key.to_owned(), training.get(key)?.clone())));
        let mut notes: serde_json::Map<String, Value> = kept.collect();
        let calibration = self.calibration.as_ref().map(|source| {
            json!({"dataset": source.dataset, "sha256": source.sha256, "tokens": source.tokens})
        });
        let mut quantization = json!({
            "source_sha256": self.source_sha256,
            "method": self.method.name(),
            "calibration": calibration,
        });
        if let Some(tuned) = &self.tuned_sha256 {
            quantization["tuned_sha256"] = json!(tuned);
        }
        notes.insert(KEY.to_owned(), quantization);
        notes.into()
    }
}

/// SHA-256 of the file that a quantised checkpoint says it was made from.
pub fn source_sha256(checkpoint: &Checkpoint) -> Option<&str> {
    checkpoint.training.get(KEY)?.get("source_sha256")?.as_str()
}
