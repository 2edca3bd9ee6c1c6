//! The record of the example `simulate` of itera-serve: what a model gains from feedback on a text that it has not
//! seen, and what it loses on its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Envelope, Record,
    check::{self, RecordError},
};

/// Streams of feedback, one for each seed. Every text is scored before it is learnt from. `model` is
/// the checkpoint that the streams begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationRecord {
    /// Schema, time, tool, host and model.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// What was played, and how it was learnt from.
    pub protocol: SimulationProtocol,
    /// One run for each seed.
    pub runs: Vec<SimulationRun>,
    /// Least improvement of a run on the new text, in percent.
    pub least_improvement_percent: f64,
    /// Largest loss of a run on the model's own text, in percent; below 0 if none lost.
    pub largest_base_loss_percent: f64,
    /// Whether both are within the bar.
    pub passed: bool,
}

/// What was played, and how it was learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationProtocol {
    /// Name of the text that the feedback comes from.
    pub domain: String,
    /// SHA-256 of its file.
    pub domain_sha256: String,
    /// Name of the model's own text.
    pub base: String,
    /// SHA-256 of its file.
    pub base_sha256: String,
    /// Documents of the own text that judge an adaptation; feedback and replay never touch them.
    pub guard_documents: u64,
    /// Documents that are replayed.
    pub replay_documents: u64,
    /// Documents that tell what was forgotten; nothing else sees them.
    pub held_out_documents: u64,
    /// Bytes of those.
    pub held_out_bytes: u64,
    /// Feedback records that are learnt from.
    pub records: u64,
    /// Records after those, which are scored only.
    pub records_after: u64,
    /// Records from one adaptation to the next.
    pub adapt_after: u64,
    /// Settings of the adaptations.
    pub settings: serde_json::Value,
    /// Least improvement that is asked for, in percent.
    pub bar_improvement_percent: f64,
    /// Largest loss that is permitted, in percent.
    pub bar_base_loss_percent: f64,
}

/// One stream of feedback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationRun {
    /// Chose the order of the records.
    pub seed: u64,
    /// Scores over time, between adaptations.
    pub windows: Vec<SimulationWindow>,
    /// The adaptations in order.
    pub adaptations: Vec<SimulationAdaptation>,
    /// Bits per byte of the records after the last adaptation, by the weights of the start.
    pub after_static_bits_per_byte: f64,
    /// The same by the adapted weights.
    pub after_adapted_bits_per_byte: f64,
    /// By how much the second is below the first, in percent.
    pub improvement_percent: f64,
    /// Bits per byte of the held out documents of the own text, by the weights of the start.
    pub base_static_bits_per_byte: f64,
    /// The same by the adapted weights.
    pub base_adapted_bits_per_byte: f64,
    /// By how much the second is above the first, in percent.
    pub base_loss_percent: f64,
}

/// Records from one adaptation to the next, scored before they were learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationWindow {
    /// Records before the window.
    pub records_before: u64,
    /// Records in it.
    pub records: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// By the weights of the start.
    pub static_bits_per_byte: f64,
    /// By the weights of that time.
    pub adapted_bits_per_byte: f64,
}

/// What an adaptation came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationAdaptation {
    /// Records before it.
    pub after_records: u64,
    /// Whether its weights were taken.
    pub accepted: bool,
    /// Why, or why not.
    pub reason: String,
    /// Records that it learnt from.
    pub records_used: u64,
    /// Updates of the weights.
    pub steps: u64,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Nats per token before.
    pub feedback_loss_before: f64,
    /// Nats per token after.
    pub feedback_loss_after: f64,
    /// Bits per byte of the guard documents before.
    pub guard_bits_per_byte_before: f64,
    /// Bits per byte of the guard documents after.
    pub guard_bits_per_byte_after: f64,
    /// Wall time.
    pub seconds: f64,
}

impl SimulationRecord {
    /// Derives the summary from the runs.
    pub fn judge(&mut self) {
        let improvements = self.runs.iter().map(|run| run.improvement_percent);
        let losses = self.runs.iter().map(|run| run.base_loss_percent);
        self.least_improvement_percent = improvements.fold(f64::INFINITY, f64::min);
        self.largest_base_loss_percent = losses.fold(f64::NEG_INFINITY, f64::max);
        self.passed = self.least_improvement_percent >= self.protocol.bar_improvement_percent
            && self.largest_base_loss_percent <= self.protocol.bar_base_loss_percent;
    }
}

impl Record for SimulationRecord {
    const SCHEMA: &'static str = "itera.simulation/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        check::sha256("protocol.domain_sha256", &self.protocol.domain_sha256)?;
        check::sha256("protocol.base_sha256", &self.protocol.base_sha256)?;
        check::ensure(!self.runs.is_empty(), "runs", "empty", "at least one run")?;
        for (i, run) in self.runs.iter().enumerate() {
            run.validate(&format!("runs[{i}]"))?;
        }
        let mut judged = self.clone();
        judged.judge();
        check::close(
            "least_improvement_percent",
            self.least_improvement_percent,
            judged.least_improvement_percent,
        )?;
        check::close(
            "largest_base_loss_percent",
            self.largest_base_loss_percent,
            judged.largest_base_loss_percent,
        )?;
        check::ensure(
            self.passed == judged.passed,
            "passed",
            self.passed,
            judged.passed,
        )
    }
}

impl SimulationRun {
    fn validate(&self, at: &str) -> Result<(), RecordError> {
        let percent = |better: f64, worse: f64| 100.0 * (1.0 - better / worse);
        check::close(
            &format!("{at}.improvement_percent"),
            self.improvement_percent,
            percent(
                self.after_adapted_bits_per_byte,
                self.after_static_bits_per_byte,
            ),
        )?;
        check::close(
            &format!("{at}.base_loss_percent"),
            self.base_loss_percent,
            -percent(
                self.base_adapted_bits_per_byte,
                self.base_static_bits_per_byte,
            ),
        )?;
        for (i, window) in self.windows.iter().enumerate() {
            let field = |name: &str| format!("{at}.windows[{i}].{name}");
            check::finite(&field("static_bits_per_byte"), window.static_bits_per_byte)?;
            check::finite(
                &field("adapted_bits_per_byte"),
                window.adapted_bits_per_byte,
            )?;
        }
        Ok(())
    }
}
