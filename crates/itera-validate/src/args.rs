//! The command line as typed; [`options`](crate::options) checks it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use itera_cli::PrecisionArg;
use itera_core::checkpoint::Precision;
use itera_data::{Dataset, DocumentRule, Split};

use crate::options::Shard;

/// Measure how well checkpoints predict texts: bits per byte and perplexities.
///
/// Without arguments, every shipped checkpoint is scored at every precision on its own data set (on
/// a sample text where the data set is not there) and the result is written to
/// results/validation.json.
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
    /// Score documents one by one, from files of any form and size, into a file of rows.
    ///
    /// Reads plain text, JSON lines, CSV, TSV and Parquet, also packed as gz, zst, bz2 or xz; what a file is, its
    /// content says. Memory does not grow with the input. A run that was ended goes on with --resume.
    Score(StreamArgs),
    /// Join the results of all shards into the result of one run, bit for bit; also the rows of `score`.
    Merge {
        /// Results written with --shard, or the folder with the rows of all shards.
        #[arg(required = true, value_name = "PART")]
        parts: Vec<PathBuf>,
        /// File for the joined result.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Say which of two results is better: the difference with a 95 % interval, and the p-value of a
    /// sign-flip permutation test over documents, corrected for the number of rows (Holm).
    Compare {
        /// The result to compare with.
        #[arg(value_name = "A.json")]
        a: PathBuf,
        /// The result to judge.
        #[arg(value_name = "B.json")]
        b: PathBuf,
        /// End with status 1 if a row of B needs more bits by more than so many percent.
        #[arg(long, value_name = "PCT")]
        fail_if_worse: Option<f64>,
    },
    /// Measure how fast the native engine runs, at each precision and kernel.
    Bench(BenchArgs),
    /// Decode in a process of its own and print its peak resident memory: a part of `bench`.
    #[command(hide = true)]
    Decode {
        /// Checkpoint by name or path.
        checkpoint: String,
        /// Precision of the weights.
        precision: Precision,
        /// Name of the kernel.
        kernel: String,
    },
}

/// Which documents to score, and where their rows go.
#[derive(Debug, clap::Args)]
pub(crate) struct StreamArgs {
    /// Files, folders, patterns, names of data sets, hf:OWNER/NAME[:CONFIG][:SPLIT] for what is in Hugging
    /// Face's cache, or - for standard input.
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH", default_value = "micro-tinystories")]
    pub(crate) checkpoint: String,
    /// Precision of the weights [default: that of the checkpoint].
    #[arg(long)]
    pub(crate) precision: Option<Precision>,
    /// Instruction set: auto (the fastest), avx512, avx2, neon or scalar.
    #[arg(long, value_name = "KERNEL", default_value = "auto")]
    pub(crate) kernel: String,
    /// A second checkpoint, whose bits per byte are subtracted: what is left is small for texts that the first
    /// knows and the second does not.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) against: Option<String>,
    /// Field or column that holds the text [default: text].
    #[arg(long, value_name = "NAME")]
    pub(crate) text_field: Option<String>,
    /// Field or column that holds the id [default: the file and the byte at which the document begins].
    #[arg(long, value_name = "NAME")]
    pub(crate) id_field: Option<String>,
    /// What a document of a plain text is: story (between lines <|endoftext|>), article, line, paragraph or
    /// whole [default: article where a file begins with one, else story].
    #[arg(long, value_name = "RULE")]
    pub(crate) document_rule: Option<DocumentRule>,
    /// What becomes of a record that is broken: it ends the run, or it is left out and counted.
    #[arg(long, default_value = "fail")]
    pub(crate) on_error: OnError,
    /// A row for each token: its place in the document, its likelihood, its rank among all tokens.
    #[arg(long)]
    pub(crate) tokens: bool,
    /// Write the text into the row too.
    #[arg(long, conflicts_with = "tokens")]
    pub(crate) keep_text: bool,
    /// Only rows of at least so many bits per byte.
    #[arg(long, value_name = "X", conflicts_with = "tokens")]
    pub(crate) min_bits_per_byte: Option<f64>,
    /// Only rows of at most so many bits per byte.
    #[arg(long, value_name = "X", conflicts_with = "tokens")]
    pub(crate) max_bits_per_byte: Option<f64>,
    /// Only rows whose bits per byte are at most so much above those of --against.
    #[arg(
        long,
        value_name = "X",
        conflicts_with = "tokens",
        allow_hyphen_values = true
    )]
    pub(crate) max_difference: Option<f64>,
    /// Threads that score [default: one per core]; the result does not depend on them.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Read one of N shares of the input, for example 1/4, or auto for what Slurm or Kubernetes says; the
    /// output is then NAME.1-of-4.jsonl for NAME.jsonl, and `merge` joins them.
    #[arg(long, value_name = "I/N|auto")]
    pub(crate) shard: Option<String>,
    /// File for the rows, by its ending .jsonl, .csv or .parquet, the first two also with .gz or .zst
    /// [default: JSON lines on standard output].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Go on with the output where an earlier run was ended, or begin it.
    #[arg(long)]
    pub(crate) resume: bool,
}

/// What becomes of a record that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// The run ends.
    Fail,
    /// It is left out and counted.
    Skip,
}

/// What to measure, and where to put the result.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH", default_value = "micro-tinystories")]
    pub(crate) checkpoint: String,
    /// Precision of the weights.
    #[arg(long, default_value = "all")]
    pub(crate) precision: PrecisionArg,
    /// all, auto (the fastest), or a kernel of this processor by name.
    #[arg(long, value_name = "KERNEL", default_value = "all")]
    pub(crate) kernel: String,
    /// Samples of each figure; the median counts.
    #[arg(long, value_name = "N", default_value_t = 11)]
    pub(crate) samples: usize,
    /// Shortest duration of a sample in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 30)]
    pub(crate) sample_ms: u64,
    /// Longest context at which the cost of a token is measured.
    #[arg(long, value_name = "TOKENS", default_value_t = 65_536)]
    pub(crate) max_context: usize,
    /// File for the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What to score, how, and where to put the result.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches of a command line"
)]
pub(crate) struct ScoreArgs {
    /// Checkpoint by name or path; may be repeated [default: every shipped one].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: Vec<String>,
    /// A data set by name (wikitext2, tinystories-head, sample, ...), a file, a folder, a pattern or
    /// hf:OWNER/NAME[:CONFIG][:SPLIT]; may be repeated [default: the checkpoint's own].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) dataset: Vec<Dataset>,
    /// Field or column that holds the text [default: text].
    #[arg(long, value_name = "NAME")]
    pub(crate) text_field: Option<String>,
    /// What a document of a plain text is: story, article, line, paragraph or whole [default: that of the data
    /// set; of a file, article where it begins with one, else story].
    #[arg(long, value_name = "RULE")]
    pub(crate) document_rule: Option<DocumentRule>,
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
    /// Precision of the weights [default: that of the checkpoint; without other arguments all].
    /// The file NAME.int8 or NAME.int4 beside the checkpoint is used where there is one made from
    /// it, else the weights are rounded in memory.
    #[arg(long)]
    pub(crate) precision: Option<PrecisionArg>,
    /// Instruction set of the native engine: auto (the fastest), avx512, avx2, neon or scalar.
    #[arg(long, value_name = "KERNEL", default_value = "auto")]
    pub(crate) kernel: String,
    /// Compare each token's prediction, and the carried state, with those of this precision.
    #[arg(long, value_name = "PRECISION")]
    pub(crate) reference: Option<ReferenceArg>,
    /// Implementation of the forward pass.
    #[arg(long, default_value = "native")]
    pub(crate) engine: EngineArg,
    /// Dynamic evaluation: score each segment of the text, then learn from it, so that the weights
    /// move along; prints the score of weights that stay beside it. Needs a build with
    /// --features burn.
    #[arg(long)]
    pub(crate) adapt: bool,
    /// Start each document of --adapt with the weights of the checkpoint, in place of those that the document before has
    /// left; documents may then be read in parallel and in shards.
    #[arg(long, requires = "adapt")]
    pub(crate) adapt_per_document: bool,
    /// Learning rate of --adapt [default: 0.0005].
    #[arg(long, value_name = "RATE")]
    pub(crate) adapt_learning_rate: Option<f64>,
    /// Tokens that --adapt scores, then learns from [default: 64].
    #[arg(long, value_name = "N")]
    pub(crate) adapt_segment: Option<u64>,
    /// Share of the way back to the weights of the checkpoint that each update of --adapt goes
    /// [default: 0.006].
    #[arg(long, value_name = "SHARE")]
    pub(crate) adapt_pull: Option<f64>,
    /// Adaptive mix: n-grams of the document so far predict too, mixed with the model by weights that learn; prints the
    /// score of the model alone beside it.
    #[arg(long)]
    pub(crate) mix: bool,
    /// Score at most this many tokens, from the first document on.
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u64>,
    /// Score at most this many documents, from the first on.
    #[arg(long, value_name = "N")]
    pub(crate) limit_documents: Option<u64>,
    /// Threads [default: one per core]; the result does not depend on them.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Score one of N parts of the documents, for example 1/3; `merge` joins the parts, which must have one kernel.
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// File for the result as JSON [without other arguments: results/validation.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// File for the rows of the result as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Leave out the comparison with compressors, which takes seconds for a megabyte.
    #[arg(long)]
    pub(crate) no_baselines: bool,
    /// Print the JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Layout of the JSON.
    #[arg(long, default_value = "itera")]
    pub(crate) format: Format,
}

impl ScoreArgs {
    /// Whether an argument is for the protocol of windows.
    pub(crate) fn asks_for_windows(&self) -> bool {
        self.window.is_some() || self.stride.is_some() || self.protocol == Some(ProtocolArg::Window)
    }
}

/// Where the state starts afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolArg {
    /// At every document.
    Document,
    /// Nowhere: the state is carried through the whole text.
    Stream,
    /// At every window of a document. Windows do not cross documents, so that figures differ from those of Hugging
    /// Face's guide (whose windows do) and of llama.cpp (which scores the second half of each).
    Window,
}

/// Layout of the result as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// That of this project, which its tools read.
    Itera,
    /// That of lm-evaluation-harness, one model and a task for each text.
    LmEval,
}

/// What to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReferenceArg {
    /// 32-bit floats.
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
