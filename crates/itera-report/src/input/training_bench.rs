//! The speeds of training, from the bench of `itera-learn`: a plain table of a form of its own.

use serde::{Deserialize, Serialize};

use super::kinds::Plain;

/// Speeds of training one preset.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct TrainingBench {
    pub(crate) command: String,
    pub(crate) cores: u64,
    pub(crate) length: u64,
    pub(crate) preset: String,
    pub(crate) vocab_size: u64,
    pub(crate) rows: Vec<TrainingBenchRow>,
}

/// The speed of one way to divide a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainingBenchRow {
    pub(crate) batch: u64,
    pub(crate) replicas: u64,
    pub(crate) steps: u64,
    pub(crate) tokens_per_s_median: f64,
    pub(crate) tokens_per_s_p10: f64,
    pub(crate) tokens_per_s_p90: f64,
}

impl Plain for TrainingBench {
    fn check(&self) -> Result<(), String> {
        for (i, row) in self.rows.iter().enumerate() {
            let speeds = [
                row.tokens_per_s_p10,
                row.tokens_per_s_median,
                row.tokens_per_s_p90,
            ];
            if !speeds.iter().all(|speed| speed.is_finite() && *speed > 0.0) || !speeds.is_sorted()
            {
                return Err(format!(
                    "field `rows[{i}]` has the speeds {speeds:?}, expected rising numbers above 0"
                ));
            }
        }
        Ok(())
    }
}

impl TrainingBench {
    pub(super) const SCHEMA: &str = "itera.training-bench/1";
}
