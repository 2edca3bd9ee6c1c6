//! The command line as typed; [`options`](crate::options) checks it.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use itera_cli::PrecisionArg;

/// Measure time, memory and energy per token of checkpoints, with their uncertainty.
///
/// Without arguments, every shipped checkpoint is measured at every precision, and the result is written
/// to results/power.json and results/power-samples.csv. Every row is measured by processes of its own.
/// Energy is measured where the machine has a counter that works, and estimated from the TDP of
/// platforms.
///
/// Exit status: 0 done, 1 slower or larger than the baseline permits, 2 could not run or compare.
#[derive(Debug, Parser)]
#[command(name = "itera-power", version)]
pub struct Args {
    /// Checkpoint by name or path; may be repeated [default: every shipped one].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: Vec<String>,
    /// Precision of the weights; all are those that the checkpoint has [default: all].
    #[arg(long)]
    pub(crate) precision: Option<PrecisionArg>,
    /// Platforms to estimate energy for, by name [default: desktop,laptop,embedded, or all of
    /// --platforms].
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Platforms of your own: a CSV file with the columns of data/platforms.csv, read in its place.
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) platforms: Option<PathBuf>,
    /// Processes that measure each row, one after the other [default: 10].
    #[arg(long, value_name = "N")]
    pub(crate) processes: Option<u64>,
    /// Samples of each process [default: 5].
    #[arg(long, value_name = "N")]
    pub(crate) samples: Option<u64>,
    /// Tokens of a pass [default: 128].
    #[arg(long, value_name = "N")]
    pub(crate) seq_len: Option<usize>,
    /// Read a prompt (prefill), write a text (decode) [default: both].
    #[arg(long)]
    pub(crate) mode: Option<ModeArg>,
    /// Passes side by side, one thread each [default: 1].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Seconds that the samples of a row take together [default: 1.5, or less where there are many rows];
    /// 60 for figures to publish.
    #[arg(long, value_name = "S")]
    pub(crate) min_seconds: Option<f64>,
    /// Grams of CO2 equivalent for a kilowatt-hour [default: 475, the world's mean of 2019 by the IEA].
    #[arg(long, value_name = "G")]
    pub(crate) carbon_intensity: Option<f64>,
    /// Take bits per byte from this result of itera-validate, so that the gate sees it.
    #[arg(long, value_name = "FILE")]
    pub(crate) validation: Option<PathBuf>,
    /// File for the result as JSON [without other arguments: results/power.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// File for all samples as CSV [without other arguments: results/power-samples.csv].
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Append a row in the form of codecarbon's emissions.csv to this file: by a counter, or for this
    /// machine or the one platform that is named.
    #[arg(long, value_name = "FILE")]
    pub(crate) emissions_csv: Option<PathBuf>,
    /// Compare with this result, or with this other build of the program, which is then measured in turns
    /// with this one; exit with status 1 if something became worse.
    #[arg(long, value_name = "FILE|PROGRAM")]
    pub(crate) baseline: Option<PathBuf>,
    /// Percent by which time and energy may exceed the baseline's [default: 10].
    #[arg(long, value_name = "PCT", requires = "baseline")]
    pub(crate) max_regression: Option<f64>,
    /// Print the JSON on standard output instead of the tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure one row, read from standard input, and print it.
    #[arg(long, hide = true, exclusive = true)]
    pub(crate) worker: bool,
}

/// What a pass does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Reads a prompt, a chunk at a time.
    Prefill,
    /// Writes a text, a token at a time.
    Decode,
    /// One after the other.
    Both,
}
