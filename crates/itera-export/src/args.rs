//! The command line as typed; each command checks its own part.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use itera_cli::PrecisionArg;
use itera_data::{Dataset, Split};

/// Write checkpoints for other runtimes, check that these compute the same, and measure them.
#[derive(Debug, Parser)]
#[command(name = "itera-export", version)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write ONNX files of checkpoints.
    Onnx(OnnxArgs),
    /// Write a GGUF file of a checkpoint, for llama.cpp and what is built on it.
    ///
    /// The model must have the form that llama.cpp knows: routing over the chosen experts, and `d_inner`
    /// twice `d_model`.
    Gguf(GgufArgs),
    /// Write a folder of a checkpoint that transformers loads, at fp32.
    ///
    /// The model must have the form that transformers knows, the same as for `gguf`.
    Hf(HfArgs),
    /// Write C99 of a checkpoint, one header and one source, for controllers.
    ///
    /// The code allocates nothing, needs no library, and computes what the native engine computes to the last bit.
    C(CArgs),
    /// Make a checkpoint of a GGUF file or a folder of transformers, of weights of this form that were
    /// trained elsewhere.
    Import(ImportArgs),
    /// Run ONNX files in other runtimes, on real text, and compare with the native engine. So is a graph
    /// that was read back into Burn, in a build with --features burn.
    ///
    /// Exit status 1 if a file differs; one in results/onnx is then renamed to NAME.failed.onnx.
    Verify(VerifyArgs),
    /// Measure one checkpoint in every runtime, in turns within one run.
    Bench(BenchArgs),
    /// Write tokens of a sample text and the native engine's logits after each, for scripts that check
    /// other implementations.
    Logits(LogitsArgs),
    /// Print what the result holds.
    Table {
        /// The result [default: results/onnx-export.json].
        #[arg(value_name = "FILE")]
        result: Option<PathBuf>,
        /// Only the measured runtimes, as the Markdown table of the README.
        #[arg(long)]
        markdown: bool,
    },
}

/// What to write.
#[derive(Debug, clap::Args)]
pub(crate) struct OnnxArgs {
    /// Checkpoint by name or path; may be repeated [default: every shipped one].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: Vec<String>,
    /// step (a token at a time), sequence (any number of tokens at once) or both.
    #[arg(long, default_value = "both")]
    pub(crate) graph: GraphArg,
    /// Precision of the weights.
    #[arg(long, default_value = "all")]
    pub(crate) precision: PrecisionArg,
    /// Version of the operators, 18 to 23; 4-bit integers need 21.
    #[arg(long, value_name = "N", default_value_t = 21)]
    pub(crate) opset: i64,
    /// Whether layers are written out one by one (fast) or as one body that is scanned (small); layers
    /// that are stored differently are always written out [default: unrolled for fp32, stacked for int8
    /// and int4].
    #[arg(long)]
    pub(crate) layers: Option<LayersArg>,
    /// Folder for the files NAME.GRAPH.PRECISION.onnx [default: results/onnx].
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// What to write for llama.cpp.
#[derive(Debug, clap::Args)]
pub(crate) struct GgufArgs {
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: String,
    /// Precision of the matrices; gains, taps and dynamics are f32 in all.
    #[arg(long)]
    pub(crate) precision: GgufPrecision,
    /// Leave out the identity layer that llama.cpp needs for its cache.
    #[arg(long)]
    pub(crate) pure: bool,
    /// The file.
    #[arg(long, value_name = "FILE.gguf")]
    pub(crate) output: PathBuf,
}

/// What to write for transformers.
#[derive(Debug, clap::Args)]
pub(crate) struct HfArgs {
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: String,
    /// The folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

/// What to write for controllers.
#[derive(Debug, clap::Args)]
pub(crate) struct CArgs {
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: String,
    /// Precision of the matrices.
    #[arg(long)]
    pub(crate) precision: CPrecision,
    /// Name of the files, and what all functions and macros begin with [default: the checkpoint's, with
    /// underscores for hyphens and dots].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The folder for NAME.h and NAME.c.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

/// What to read.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// A folder of transformers or a GGUF file.
    #[arg(value_name = "DIR|FILE.gguf")]
    pub(crate) source: PathBuf,
    /// File for the checkpoint.
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) output: PathBuf,
}

/// What to check, where, and against which text.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Files written by `itera-export onnx` [default: all in results/onnx].
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The runtime to check in.
    #[arg(long, default_value = "all")]
    pub(crate) runtime: RuntimeArg,
    /// Path of the checkpoint that the files were made from [default: found by its name].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: Option<String>,
    /// wikitext2, tinystories, sample, or a text file [default: the checkpoint's own].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) dataset: Option<Dataset>,
    /// test, valid or train [default: test where there is one, else valid].
    #[arg(long)]
    pub(crate) split: Option<Split>,
    /// Tokens of text to compare, from the first document on; at least 1,024 for the drift of the
    /// state.
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub(crate) max_tokens: usize,
    /// File for the result as JSON [default: results/onnx-export.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH", default_value = "micro-tinystories")]
    pub(crate) checkpoint: String,
    /// Tokens of one run of the sequence graph.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) seq_len: usize,
    /// Samples of each runtime; the median counts.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) samples: usize,
    /// Threads of each runtime. The native engine, tract and Burn read one sequence on one.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,
    /// File for the result as JSON [default: results/onnx-export.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Whose logits.
#[derive(Debug, clap::Args)]
pub(crate) struct LogitsArgs {
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH", default_value = "micro-tinystories")]
    pub(crate) checkpoint: String,
    /// Tokens to read.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) seq_len: usize,
    /// File for tokens and logits as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Which graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphArg {
    /// One token and the state in, logits and the new state out.
    Step,
    /// Any number of tokens at once.
    Sequence,
    /// One file for each.
    Both,
}

/// How layers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayersArg {
    /// Each for itself.
    Unrolled,
    /// One body over stacked weights.
    Stacked,
}

/// Where files are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeArg {
    /// Compiled into this program.
    Tract,
    /// The library of `scripts/setup-onnxruntime.sh`.
    Onnxruntime,
    /// No file: a small graph that became Burn code in a build with --features burn.
    Burn,
    /// All that are there.
    All,
}

/// Precision of a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GgufPrecision {
    /// Single floats.
    F32,
    /// Half floats.
    F16,
    /// Integers of 8 bits as `Q8_0` where llama.cpp runs them, else f16.
    Int8,
    /// Integers of 4 bits as `Q4_0` where llama.cpp runs them, else f16.
    Int4,
}

/// Precision of the matrices in C; floats differ from machine to machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CPrecision {
    /// 8-bit integers with a scale for each group.
    Int8,
    /// 4-bit integers with a scale for each group.
    Int4,
}
