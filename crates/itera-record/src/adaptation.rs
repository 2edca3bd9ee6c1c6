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
    /// Streams with a hostile source; none if they were not played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<SimulationAttack>,
}

/// Streams into which one source mixes a planted text: after each record of the others one of its own, which gives
/// the planted text as the correction of some answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationAttack {
    /// The text.
    pub planted: String,
    /// Its tokens.
    pub planted_tokens: u64,
    /// Sources of the other records, which come from them in turn.
    pub honest_sources: u64,
    /// Most records of a source that an adaptation learns from.
    pub most_of_source: u64,
    /// Largest factor that is permitted: of the probability of the text's tokens (geometric mean) at the end over that
    /// by the weights of the start.
    pub bar_factor: f64,
    /// Least improvement on the records of the others that is asked for, in percent.
    pub bar_improvement_percent: f64,
    /// One run for each seed.
    pub runs: Vec<AttackRun>,
    /// Largest factor of a run.
    pub largest_factor: f64,
    /// Least improvement of a run, in percent.
    pub least_improvement_percent: f64,
    /// Whether both are within the bar.
    pub passed: bool,
}

/// One such stream. Figures of the planted text are means over prompts that nothing has learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttackRun {
    /// The stream, as far as it is of the others.
    pub stream: SimulationRun,
    /// Nats of a token of the planted text by the weights of the start.
    pub static_nats: f64,
    /// The same by the adapted weights.
    pub adapted_nats: f64,
    /// The same by the weights of the stream of this seed without the hostile source.
    pub without_nats: f64,
    /// The same where every record of every source is learnt in full; only of the first seed.
    pub unlimited_nats: Option<f64>,
    /// `exp(static_nats - adapted_nats)`.
    pub factor: f64,
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

impl SimulationAttack {
    /// Derives the summary from the runs.
    pub fn judge(&mut self) {
        let factors = self.runs.iter().map(|run| run.factor);
        let improvements = self.runs.iter().map(|run| run.stream.improvement_percent);
        self.largest_factor = factors.fold(f64::NEG_INFINITY, f64::max);
        self.least_improvement_percent = improvements.fold(f64::INFINITY, f64::min);
        self.passed = self.largest_factor <= self.bar_factor
            && self.least_improvement_percent >= self.bar_improvement_percent;
    }

    fn validate(&self) -> Result<(), RecordError> {
        let is_empty = self.runs.is_empty();
        check::ensure(!is_empty, "attack.runs", "empty", "at least one run")?;
        for (i, run) in self.runs.iter().enumerate() {
            let at = format!("attack.runs[{i}]");
            run.stream.validate(&format!("{at}.stream"))?;
            let factor = (run.static_nats - run.adapted_nats).exp();
            check::close(&format!("{at}.factor"), run.factor, factor)?;
        }
        let mut judged = self.clone();
        judged.judge();
        check::close(
            "attack.largest_factor",
            self.largest_factor,
            judged.largest_factor,
        )?;
        check::close(
            "attack.least_improvement_percent",
            self.least_improvement_percent,
            judged.least_improvement_percent,
        )?;
        let (passed, derived) = (self.passed, judged.passed);
        check::ensure(passed == derived, "attack.passed", passed, derived)
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
        )?;
        self.attack
            .as_ref()
            .map_or(Ok(()), SimulationAttack::validate)
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
