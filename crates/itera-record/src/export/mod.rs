//! The record of `itera-export`: files for other runtimes, whether they compute the same, and how
//! fast they run there.

mod check;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::check::p95;
use crate::{Envelope, ModelInfo, StateError};

/// Files, checks and measurements. The commands of the tool each write their own part; a part that
/// has not been made yet is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportRecord {
    /// Schema, time, tool and host of the command that wrote last; `model` is null.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The files that were checked.
    pub files: Vec<ExportFile>,
    /// One for each file and runtime.
    pub checks: Vec<ExportCheck>,
    /// Graphs that Burn has read back.
    pub round_trips: Vec<ExportRoundTrip>,
    /// How fast one model runs in every runtime.
    pub bench: Option<ExportBench>,
}

/// An ONNX file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportFile {
    /// Name of the file.
    pub file: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub file_sha256: String,
    /// The checkpoint that it was made from, at the precision of the file.
    pub model: ModelInfo,
    /// `step` or `sequence`.
    pub graph: String,
    /// Version of the operators.
    pub opset: u64,
    /// `unrolled`, or `stacked` where all layers are one scanned body.
    pub layers: String,
    /// Nodes, those of bodies included.
    pub nodes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// `file_bytes / model.bytes`: what graph, names, tokenizer and metadata add to the weights.
    pub file_per_weight_bytes: f64,
    /// `8 * file_bytes / model.params`: bits of a weight with everything in the file.
    pub file_bits_per_weight: f64,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportVerdict {
    /// The runtime computes what the native engine computes.
    Passed,
    /// It does not.
    Failed,
    /// It cannot run the file, or is not installed.
    Unavailable,
}

impl ExportVerdict {
    /// The verdict in words.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Unavailable => "not available",
        }
    }
}

/// One file in one runtime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportCheck {
    /// Name of the file.
    pub file: String,
    /// SHA-256 of the file.
    pub file_sha256: String,
    /// `tract` or `onnxruntime`.
    pub runtime: String,
    /// Its version.
    pub version: String,
    /// How the check ended.
    pub verdict: ExportVerdict,
    /// Why it failed or could not be made; null for passed ones.
    pub reason: Option<String>,
    /// What was compared; null where the runtime could not run the file.
    pub figures: Option<ExportFigures>,
}

/// A file in a runtime against the native engine, on the same tokens of real text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportFigures {
    /// Name of the text.
    pub dataset: String,
    /// Its split, or `all`.
    pub split: String,
    /// SHA-256 of the text's file.
    pub dataset_sha256: String,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// Bytes that these tokens stand for.
    pub bytes: u64,
    /// Largest difference of a logit from that of the native engine with the very weights of the file
    /// as floats.
    pub max_abs_difference: f64,
    /// Largest difference divided by the largest magnitude among the logits of its token, or by 1 where
    /// that is smaller.
    pub max_relative_difference: f64,
    /// The most that `max_relative_difference` may be.
    pub tolerance: f64,
    /// Mean divergence of the prediction from that of the fp32 checkpoint, `KL(fp32 || file)`.
    pub mean_kl_nats: f64,
    /// The divergence that 99.9 % of the predictions stay below or at.
    pub p999_kl_nats: f64,
    /// Share of tokens at which the most likely next token is that of the fp32 checkpoint.
    pub top1_agreement: f64,
    /// Bits per byte in the runtime.
    pub bits_per_byte: f64,
    /// Bits per byte of the native engine at the precision of the file; it rounds inputs as well where
    /// weights are integers.
    pub native_bits_per_byte: f64,
    /// Bits per byte of the native engine with the fp32 checkpoint.
    pub fp32_bits_per_byte: f64,
    /// Error of the carried state after so many tokens of one stream, against the native engine with the
    /// very weights of the file as floats.
    pub state_errors: Vec<StateError>,
    /// Batches of random tokens; older records have none.
    #[serde(default)]
    pub shapes: Vec<ExportShape>,
}

/// Random tokens in one shape, read in two pieces, or one by one by a step graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportShape {
    /// Sequences that are read at once.
    pub batch: u64,
    /// Tokens of each.
    pub tokens: u64,
    /// Of the last logits of each, as in [`ExportFigures::max_relative_difference`].
    pub max_relative_difference: f64,
}

/// A graph that was made Burn code again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportRoundTrip {
    /// Name of the model, for example the preset of the committed graph.
    pub model: String,
    /// `step` or `sequence`.
    pub graph: String,
    /// SHA-256 of the graph as a file, 64 lower-case hexadecimal digits.
    pub file_sha256: String,
    /// The importer and its version.
    pub importer: String,
    /// How it ended.
    pub verdict: ExportVerdict,
    /// Why it failed or could not be made; null for passed ones.
    pub reason: Option<String>,
    /// What was compared; null where nothing ran.
    pub figures: Option<ExportFigures>,
}

/// One model in every runtime, on the same tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportBench {
    /// The checkpoint in fp32.
    pub model: ModelInfo,
    /// How the figures were measured.
    pub protocol: ExportBenchProtocol,
    /// One row for each runtime and precision, fastest first.
    pub rows: Vec<ExportBenchRow>,
    /// What could not be measured.
    pub missing: Vec<ExportBenchGap>,
}

/// How the figures were measured: every runtime in turn, round after round, so that a slow moment of
/// the machine falls on all. Before each sample the runtime runs once untimed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportBenchProtocol {
    /// Tokens of one run, from a fresh state.
    pub seq_len: u64,
    /// Samples of each row.
    pub samples: u64,
    /// Runs before the first sample.
    pub warm_up: u64,
    /// Threads.
    pub threads: u64,
    /// Where the tokens come from.
    pub text: String,
    /// SHA-256 of the tokens as little-endian 32-bit integers.
    pub tokens_sha256: String,
}

/// One runtime at one precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportBenchRow {
    /// `native`, `tract`, `onnxruntime`, `burn-flex`, `burn-ndarray`, `torchscript`, `llama.cpp`, `transformers`.
    pub runtime: String,
    /// Its version.
    pub version: String,
    /// Precision of the weights.
    pub precision: String,
    /// Whether it was measured in turns with the others; else in a process of its own.
    pub is_interleaved: bool,
    /// Duration of each sample in seconds, in the order measured.
    pub sample_seconds: Vec<f64>,
    /// Median of `sample_seconds`.
    pub median_seconds: f64,
    /// What 95 % of `sample_seconds` stay below or at.
    pub p95_seconds: f64,
    /// Tokens of a run by `median_seconds`.
    pub tokens_per_s: f64,
    /// Median of the slowest row by that of this one.
    pub speed_up: f64,
    /// Bytes of the file that the runtime reads.
    pub file_bytes: u64,
}

/// A runtime that could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportBenchGap {
    /// Its name.
    pub runtime: String,
    /// Precision of the weights.
    pub precision: String,
    /// Why, and what to do about it.
    pub reason: String,
}
