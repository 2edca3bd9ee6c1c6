//! The command line as typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use itera_core::checkpoint::Precision;
use itera_data::Dataset;

/// Compress texts by a model and an arithmetic coder, and restore them.
///
/// What a text takes is what the model needs to predict it, as `itera-validate` scores it. Whoever restores it needs the
/// same model.
#[derive(Debug, Parser)]
#[command(name = "itera-zip", version)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compress a file.
    Compress(CompressArgs),
    /// Restore a file, by the model that it names.
    Restore(RestoreArgs),
    /// Measure sizes and speed, beside those of zstd, xz, bzip2 and `PPMd`.
    Bench(BenchArgs),
}

/// What to compress, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct CompressArgs {
    /// File, or - for standard input.
    #[arg(value_name = "INPUT", default_value = "-")]
    pub(crate) input: String,
    /// File to write, or - for standard output [default: INPUT.itz, or standard output].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<String>,
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH", default_value = "micro-tinystories")]
    pub(crate) checkpoint: String,
    /// Precision of the weights.
    #[arg(long, default_value = "int4")]
    pub(crate) precision: Precision,
    /// Threads [default: one per core]; the output does not depend on them.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// A short message as printable characters, with as little around it as possible.
    #[arg(long, conflicts_with = "threads")]
    pub(crate) message: bool,
}

/// What to restore.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// File, or - for standard input.
    #[arg(value_name = "INPUT", default_value = "-")]
    pub(crate) input: String,
    /// File to write, or - for standard output [default: INPUT without .itz, or standard output].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<String>,
    /// Checkpoint by name or path [default: the one that the file names; of a message micro-tinystories].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: Option<String>,
    /// Precision of the weights, of a message only [default: int4].
    #[arg(long, requires = "message")]
    pub(crate) precision: Option<Precision>,
    /// Threads [default: one per core].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// The input is what `compress --message` wrote.
    #[arg(long, conflicts_with = "threads")]
    pub(crate) message: bool,
}

/// What to measure, and where to put the result.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Checkpoint by name or path; may be repeated [default: micro-tinystories and micro-wikitext2].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: Vec<String>,
    /// tinystories-head, wikitext2, another data set or a text file [default: the checkpoint's own].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) dataset: Option<Dataset>,
    /// File of short messages, one a line.
    #[arg(long, value_name = "FILE", default_value = "data/samples/messages.txt")]
    pub(crate) messages: PathBuf,
    /// Precision of the weights.
    #[arg(long, default_value = "int4")]
    pub(crate) precision: Precision,
    /// File for the result as JSON.
    #[arg(long, value_name = "FILE", default_value = "results/zip.json")]
    pub(crate) output: PathBuf,
}
