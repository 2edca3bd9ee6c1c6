//! The record of `itera-validate`: how well models predict texts.

mod adaptation;
mod check;
mod divergence;
mod interval;
mod mix;

use std::fmt;

pub use self::{
    adaptation::{AdaptationProtocol, StaticScore},
    divergence::{Divergence, StateError},
    interval::{LEAST_DOCUMENTS, ci95},
    mix::MixProtocol,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Envelope, HostInfo, ModelInfo, ToolInfo};

/// Rows of (model, text, score); all rows of a file follow one protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ValidationRecord {
    /// Schema, time, tool and host; `model` if all rows are about one.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// How every row was scored.
    pub protocol: ScoringProtocol,
    /// One row for each pair of model and text.
    pub rows: Vec<ValidationRow>,
}

/// One model on one text. All metrics follow from `nll_nats` and the counts beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ValidationRow {
    /// The model that was scored.
    pub model: ModelInfo,
    /// Name of the data set, or the path of a file.
    pub dataset: String,
    /// Split of the data set, or `all`.
    pub split: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub dataset_sha256: String,
    /// What the digest says: for example the official WikiText-2 v1 test split.
    pub dataset_verdict: String,
    /// Documents scored.
    pub documents: u64,
    /// Bytes scored: every byte of the documents; separators do not count.
    pub bytes: u64,
    /// Unicode characters in those bytes.
    pub chars: u64,
    /// Words in those bytes, by the rule of the data set.
    pub words: u64,
    /// Tokens scored.
    pub tokens: u64,
    /// Scored tokens that stand for a character outside the vocabulary. Above 0, the score covers
    /// less than the text: it holds that some unknown character stood there, not which.
    pub unknown_tokens: u64,
    /// Negative log-likelihood of the text, summed document by document in order.
    pub nll_nats: f64,
    /// `nll_nats / ln 2 / bytes`.
    pub bits_per_byte: f64,
    /// `exp(nll_nats / bytes)`, which is 2 to the power of `bits_per_byte`.
    pub byte_perplexity: f64,
    /// `exp(nll_nats / chars)`.
    pub char_perplexity: f64,
    /// `exp(nll_nats / words)`; null without words, or if it is beyond 64-bit floats.
    pub word_perplexity: Option<f64>,
    /// `exp(nll_nats / tokens)`.
    pub token_perplexity: f64,
    /// The 95 % interval over documents: where the figure of other documents of this kind may lie.
    /// Null for fewer than 10 documents, and where a program leaves it to the reader.
    pub bits_per_byte_ci95: Option<[f64; 2]>,
    /// What no model at all would reach on the same text.
    pub baselines: Baselines,
    /// What a file of the text would take that is compressed by this model; absent in older
    /// files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_length: Option<CodeLength>,
    /// Precision of the weights during scoring.
    pub precision: String,
    /// Implementation of the forward pass: `native` or `burn`.
    pub engine: String,
    /// Instruction set of the native engine; null for another engine, and in files written before
    /// there was a choice.
    #[serde(default)]
    pub kernel: Option<String>,
    /// How far the predictions are from those of a reference; null if not asked for.
    #[serde(default)]
    pub divergence: Option<Divergence>,
    /// The score of weights that stay, beside that of weights that move; absent if they all stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_score: Option<StaticScore>,
    /// How the row was scored; the same as the record's.
    pub protocol: ScoringProtocol,
    /// Wall time of scoring; after a merge, the sum over the shards.
    pub seconds: f64,
    /// `tokens / seconds`.
    pub tokens_per_s: f64,
    /// `bytes` over the bytes of all documents of the text.
    pub bytes_scored_fraction: f64,
    /// Bytes of all documents of the text, scored or not.
    pub dataset_bytes: u64,
    /// Which part of the documents was scored; null for all that the protocol selects.
    pub shard: Option<ShardInfo>,
    /// Where each part of a merged row comes from; empty for a row of one run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartSource>,
    /// The score of every document.
    #[serde(flatten)]
    pub per_document: Documents,
}

/// Scores by document: the raw values for intervals, comparisons and exact merging.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Documents {
    /// Position of each document in the text, counted from 0.
    pub document_indices: Vec<u64>,
    /// Bytes of each document that were scored.
    pub document_bytes: Vec<u64>,
    /// Negative log-likelihood of each document, summed token by token in order.
    pub document_nll_nats: Vec<f64>,
}

/// Bytes of a text that is compressed by a model, without and with the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeLength {
    /// The text alone: `nll_nats / ln 2 / 8`, rounded up.
    pub text_bytes: u64,
    /// The file of the model, tokenizer included.
    pub model_file_bytes: u64,
    /// Both: what compares with a compressor that needs no model.
    pub total_bytes: u64,
}

/// Where a part of a merged row was scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartSource {
    /// The part.
    pub shard: ShardInfo,
    /// When it was scored: RFC 3339, UTC.
    pub created_at: String,
    /// By which program.
    pub tool: ToolInfo,
    /// On which machine.
    pub host: HostInfo,
}

/// A text that a compressor has read before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrimingText {
    /// Name of the data set.
    pub dataset: String,
    /// Its split.
    pub split: String,
    /// SHA-256 of the bytes that were read of its file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Bytes of its documents.
    pub bytes: u64,
}

/// Bits per byte that need no model. Over all documents that the protocol selects, also in a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Baselines {
    /// Every token equally likely: `log2(vocab_size) * tokens / bytes`.
    pub uniform_bits_per_byte: f64,
    /// Every token as likely as its share of this very text.
    pub unigram_bits_per_byte: f64,
    /// zstd at level 19 on the same bytes; null if not computed.
    pub zstd_bits_per_byte: Option<f64>,
    /// `PPMd` (variant H, order 8, 256 MiB) on the same bytes; null if not computed.
    #[serde(default)]
    pub ppmd_bits_per_byte: Option<f64>,
    /// The same after it has read `primed_with`; null if not computed.
    #[serde(default)]
    pub ppmd_primed_bits_per_byte: Option<f64>,
    /// What it has read; null where the training text is not there.
    #[serde(default)]
    pub primed_with: Option<PrimingText>,
    /// Whether the model is worse than guessing: `bits_per_byte` above the uniform baseline.
    pub worse_than_uniform: bool,
}

/// Everything needed to repeat a score or to refuse to compare it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoringProtocol {
    /// Where the state starts afresh.
    pub name: ProtocolKind,
    /// Tokens in a window; null unless `name` is `window`.
    pub window_tokens: Option<u64>,
    /// Tokens from one window to the next; null unless `name` is `window`.
    pub stride_tokens: Option<u64>,
    /// What precedes the first token of a document and of every window: `end_of_text`.
    pub context_start: String,
    /// Whether separators and the end of a document are scored: always false in this version.
    pub separators_scored: bool,
    /// Scored tokens at most, in document order; null for no limit.
    pub max_tokens: Option<u64>,
    /// Documents at most, from the first; null for no limit.
    pub limit_documents: Option<u64>,
    /// How `bits_per_byte_ci95` is found.
    pub bootstrap: Bootstrap,
    /// How the weights move while they read; absent if they stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptation: Option<AdaptationProtocol>,
    /// How n-grams of what was read are mixed in; absent for the model alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<MixProtocol>,
}

/// Where the state starts afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolKind {
    /// At every document.
    Document,
    /// Nowhere: the state is carried through the whole text.
    Stream,
    /// At every window of a document.
    Window,
}

/// The bootstrap over documents behind an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bootstrap {
    /// Resampled texts.
    pub draws: u64,
    /// Seed of the resampling.
    pub seed: u64,
}

/// One of several parts of the documents: those whose position is `index - 1` modulo `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShardInfo {
    /// This part, counted from 1.
    pub index: u64,
    /// How many parts there are.
    pub count: u64,
}

impl fmt::Display for ScoringProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            ProtocolKind::Document => f.write_str("document")?,
            ProtocolKind::Stream => f.write_str("stream")?,
            ProtocolKind::Window => f.write_str("window")?,
        }
        for (name, value) in [
            ("tokens", self.window_tokens),
            ("stride", self.stride_tokens),
            ("max-tokens", self.max_tokens),
            ("limit-documents", self.limit_documents),
        ] {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        if let Some(adaptation) = &self.adaptation {
            write!(
                f,
                ", WEIGHTS MOVE (dynamic evaluation{}, segment {}, learning-rate {}, pull {})",
                if adaptation.per_document {
                    " per document"
                } else {
                    ""
                },
                adaptation.segment_tokens,
                adaptation.learning_rate,
                adaptation.pull
            )?;
        }
        if let Some(mix) = &self.mix {
            write!(
                f,
                ", N-GRAMS MIXED IN (adaptive mix, order {}, discount {})",
                mix.order, mix.discount
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for ShardInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}
