//! The command line as typed; [`options`](crate::options) checks it.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Render the files under results/ into Markdown reports and charts.
///
/// Reports depend only on the results: the same files give the same bytes on every machine. Files that
/// cannot be used are listed with the reason, in the reports and on stderr.
///
/// Exit status: 0 done; 1 a check failed (--check found stale reports or bad files,
/// --fail-on-regression found a regression, a missing figure or a bad file, or nothing could be read);
/// 2 could not run, or nothing could be compared.
#[derive(Debug, Parser)]
#[command(name = "itera-report", version)]
pub struct Args {
    /// Folder of the result files [default: results of the workspace].
    #[arg(long, value_name = "DIR")]
    pub(crate) results: Option<PathBuf>,
    /// Folder of the models, whose training records are read [default: data/models beside the
    /// folder of results].
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Folder for the reports, their tables in its tables/ [default: reports of the workspace, tables in
    /// results/tables, and the figures in README.md, docs/ and data/models/README.md].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Check that reports and figures are up to date, and write nothing.
    #[arg(long)]
    pub(crate) check: bool,
    /// Compare with an older results folder: print old, new, change and verdict.
    #[arg(long, value_name = "OLD_RESULTS")]
    pub(crate) compare: Option<PathBuf>,
    /// Fail if a figure is worse than in --compare by more than this percentage and more than its noise,
    /// or is missing.
    #[arg(long, value_name = "PCT", requires = "compare")]
    pub(crate) fail_on_regression: Option<f64>,
    /// File for a short Markdown summary, for example of a CI job.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// What to write into the folder of the reports.
    #[arg(long, default_value = "markdown")]
    pub(crate) format: Format,
}

/// What to write into the folder of the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Reports in Markdown and HTML, charts, and tables as CSV.
    Markdown,
    /// Metrics for github-action-benchmark: benchmark-smaller-is-better.json and
    /// benchmark-bigger-is-better.json.
    GithubBenchmark,
    /// All metrics as metrics-VERSION.json, to keep with a release: later reports in the same results
    /// folder say what changed since.
    Metrics,
}
