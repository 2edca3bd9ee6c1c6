//! The record of `itera-validate bench`: how fast the native engine runs, and what bounds it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Envelope, Record,
    check::{self, RecordError},
};

/// Speeds of one model at several precisions and kernels. `model` is the checkpoint at the first of
/// them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineBenchRecord {
    /// Schema, time, tool, host and model.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// How the figures were measured.
    pub protocol: EngineBenchProtocol,
    /// What the machine can do at most, for each kernel.
    pub machine: Vec<MachineLimits>,
    /// One row for each workload, precision, kernel and number of threads.
    pub rows: Vec<EngineBenchRow>,
    /// Cost of a token after so many tokens; it should not grow.
    pub context: Vec<ContextCost>,
    /// Memory, for each precision.
    pub memory: Vec<MemoryCost>,
}

/// How the figures were measured: every workload in turn, round after round, so that a slow moment
/// of the machine falls on all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineBenchProtocol {
    /// Samples of each figure.
    pub samples: u64,
    /// Shortest duration of a sample, in seconds.
    pub sample_seconds: f64,
    /// Where the tokens come from.
    pub text: String,
}

/// What a kernel reaches in loops that do nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MachineLimits {
    /// Name of the kernel.
    pub kernel: String,
    /// Multiply-adds of floats in registers, per second and core.
    pub float_multiply_adds_per_s: f64,
    /// Multiply-adds of 8-bit integers in registers, per second and core.
    pub integer_multiply_adds_per_s: f64,
    /// Bytes read per second and core from memory of the size of the fp32 weights.
    pub read_bytes_per_s: f64,
}

/// One workload. Throughput is of tokens but for `score`, which also has bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineBenchRow {
    /// `decode`, `decode-batch-16`, `prefill-128`, `prefill-1024` or `score`.
    pub workload: String,
    /// Precision of the weights.
    pub precision: String,
    /// Name of the kernel.
    pub kernel: String,
    /// Threads, each with sequences of its own.
    pub threads: u64,
    /// Tokens of one run of the workload, over all threads.
    pub tokens: u64,
    /// Bytes of text that these tokens stand for.
    pub text_bytes: u64,
    /// Duration of one run in each sample, in seconds, in the order measured.
    pub sample_seconds: Vec<f64>,
    /// Median of `sample_seconds`.
    pub median_seconds: f64,
    /// `tokens / median_seconds`.
    pub tokens_per_s: f64,
    /// `text_bytes / median_seconds`.
    pub bytes_per_s: f64,
    /// Multiply-adds of one token.
    pub multiply_adds_per_token: u64,
    /// Bytes of weights and state that one token moves; in batches the weights count once for all.
    pub bytes_per_token: f64,
    /// The most tokens per second that bandwidth and arithmetic allow.
    pub roofline_tokens_per_s: f64,
    /// What the roofline consists of: `arithmetic` or `bandwidth`.
    pub roofline_bound: String,
}

/// Cost of decoding at one position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContextCost {
    /// Precision of the weights.
    pub precision: String,
    /// Tokens read before.
    pub context_tokens: u64,
    /// Median duration of a token, in seconds.
    pub seconds_per_token: f64,
}

/// Memory that a precision takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryCost {
    /// Precision of the weights.
    pub precision: String,
    /// Bytes of the checkpoint file; null where the precision was made in memory.
    pub file_bytes: Option<u64>,
    /// Bytes of packed matrices that one token reads.
    pub matrix_bytes_per_token: u64,
    /// Bytes of recurrent state of one session.
    pub state_bytes: u64,
    /// Peak resident memory of a process that loads the model and decodes; null where the system
    /// does not tell.
    pub peak_resident_bytes: Option<u64>,
}

impl Record for EngineBenchRecord {
    const SCHEMA: &'static str = "itera.engine-bench/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        for (i, limits) in self.machine.iter().enumerate() {
            let positive = [
                limits.float_multiply_adds_per_s,
                limits.integer_multiply_adds_per_s,
                limits.read_bytes_per_s,
            ];
            for value in positive {
                above_zero(&format!("machine[{i}]"), value)?;
            }
        }
        for (i, row) in self.rows.iter().enumerate() {
            row.validate(&format!("rows[{i}]"))?;
        }
        for (i, cost) in self.context.iter().enumerate() {
            above_zero(
                &format!("context[{i}].seconds_per_token"),
                cost.seconds_per_token,
            )?;
        }
        Ok(())
    }
}

impl EngineBenchRow {
    fn validate(&self, at: &str) -> Result<(), RecordError> {
        let field = |name: &str| format!("{at}.{name}");
        for seconds in &self.sample_seconds {
            above_zero(&field("sample_seconds"), *seconds)?;
        }
        let median = median(&self.sample_seconds);
        check::close(&field("median_seconds"), self.median_seconds, median)?;
        let per_second = |count: u64| count as f64 / self.median_seconds;
        check::close(
            &field("tokens_per_s"),
            self.tokens_per_s,
            per_second(self.tokens),
        )?;
        check::close(
            &field("bytes_per_s"),
            self.bytes_per_s,
            per_second(self.text_bytes),
        )?;
        above_zero(&field("roofline_tokens_per_s"), self.roofline_tokens_per_s)
    }
}

/// The middle value, or the mean of the two in the middle; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

fn above_zero(field: &str, value: f64) -> Result<(), RecordError> {
    check::finite(field, value)?;
    check::ensure(value > 0.0, field, value, "above 0")
}
