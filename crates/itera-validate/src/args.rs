//! The command line as typed; [`options`](crate::options) checks it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use itera_data::{Dataset, Split};

use crate::options::Shard;

/// Measure how well checkpoints predict texts: bits per byte and perplexities.
///
/// Without arguments, every shipped checkpoint is scored on its own data set (on a sample text
/// where the data set is not there) and the result is written to results/validation.json.
#[derive(Debug, Parser)]
#[command(
    name = "itera-validate",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) score: ScoreArgs,
}

/// What to do other than scoring.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Join the results of all shards into the result of one run, bit for bit.
    Merge {
        /// Results written with --shard.
        #[arg(required = true, value_name = "PART")]
        parts: Vec<PathBuf>,
        /// File for the joined result.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Say which of two results is better, with a 95 % interval of the difference.
    Compare {
        /// The result to compare with.
        #[arg(value_name = "A.json")]
        a: PathBuf,
        /// The result to judge.
        #[arg(value_name = "B.json")]
        b: PathBuf,
    },
}

/// What to score, how, and where to put the result.
#[derive(Debug, clap::Args)]
pub(crate) struct ScoreArgs {
    /// Checkpoint by name or path; may be repeated [default: every shipped one].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: Vec<String>,
    /// wikitext2, tinystories, sample, or a text file [default: the checkpoint's own].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) dataset: Option<Dataset>,
    /// test, valid or train [default: test where there is one, else valid].
    #[arg(long)]
    pub(crate) split: Option<Split>,
    /// Where the state starts afresh [default: document].
    #[arg(long)]
    pub(crate) protocol: Option<ProtocolArg>,
    /// Tokens in a window of the protocol window [default: 512].
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<u64>,
    /// Tokens from one window to the next [default: the window]; less gives every token context.
    #[arg(long, value_name = "N")]
    pub(crate) stride: Option<u64>,
    /// Precision of the weights during scoring.
    #[arg(long, default_value = "fp32")]
    pub(crate) precision: PrecisionArg,
    /// Implementation of the forward pass.
    #[arg(long, default_value = "native")]
    pub(crate) engine: EngineArg,
    /// Score at most this many tokens, from the first document on.
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u64>,
    /// Score at most this many documents, from the first on.
    #[arg(long, value_name = "N")]
    pub(crate) limit_documents: Option<u64>,
    /// Threads [default: one per core]; the result does not depend on them.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Score one of N parts of the documents, for example 1/3; `merge` joins the parts.
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// File for the result as JSON [without other arguments: results/validation.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// File for the rows of the result as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Print the JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the state starts afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolArg {
    /// At every document.
    Document,
    /// Nowhere: the state is carried through the whole text.
    Stream,
    /// At every window of a document, as transformer tools do.
    Window,
}

/// Precision of the weights during scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArg {
    /// 32-bit floats; quantised weights are unpacked.
    Fp32,
}

/// Implementation of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// The one of itera-core.
    Native,
    /// The one that training uses; needs a build with --features burn.
    Burn,
}
