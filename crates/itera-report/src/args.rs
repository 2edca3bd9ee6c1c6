//! The command line as typed; [`options`](crate::options) checks it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Render the files under results/ into Markdown reports and charts.
///
/// Reports depend on the results alone: the same files give the same bytes on every machine. Files
/// that cannot be used are listed with the reason, in the reports and on standard error.
///
/// Exit status: 0 done; 1 a check failed (--check found stale reports or bad files,
/// --fail-on-regression found a regression, or nothing could be read); 2 could not run, or nothing
/// could be compared.
#[derive(Debug, Parser)]
#[command(name = "itera-report", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) render: RenderArgs,
}

/// What to do other than rendering.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count the code of a repository into a result file, from which reports take their statistics.
    Count {
        /// Folder to count; what git ignores is left out [default: the workspace].
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// File for the result [default: results/code.json of the workspace].
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// What to render, where to, and what to compare it with.
#[derive(Debug, clap::Args)]
pub(crate) struct RenderArgs {
    /// Folder of the result files [default: results of the workspace].
    #[arg(long, value_name = "DIR")]
    pub(crate) results: Option<PathBuf>,
    /// Folder of the models, whose training records are read [default: data/models beside the
    /// folder of results].
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Folder for the reports [default: reports of the workspace, and the figures in its README.md and
    /// data/models/README.md].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write nothing; fail if the reports are not those of the results.
    #[arg(long)]
    pub(crate) check: bool,
    /// Compare with an older folder of results, and print old, new, change and verdict.
    #[arg(long, value_name = "OLD_RESULTS")]
    pub(crate) compare: Option<PathBuf>,
    /// Fail if something is worse than in --compare by more than so many percent and more than its
    /// noise.
    #[arg(long, value_name = "PCT", requires = "compare")]
    pub(crate) fail_on_regression: Option<f64>,
    /// File for a short Markdown text, fit for the summary of a CI job.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// What to write into the folder of the reports.
    #[arg(long, default_value = "markdown")]
    pub(crate) format: Format,
}

/// What to write into the folder of the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Reports and charts.
    Markdown,
    /// Metrics for github-action-benchmark: benchmark-smaller-is-better.json and
    /// benchmark-bigger-is-better.json.
    GithubBenchmark,
}
