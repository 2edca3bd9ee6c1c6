//! The command line, checked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use itera_cli::{Files, workspace};

use crate::{
    args::{Args, Format},
    pages::TABLES,
};

/// What to render, where to, and what to compare it with.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) results: PathBuf,
    pub(crate) models: PathBuf,
    pub(crate) out: PathBuf,
    /// The workspace, if the figures of its pages are to be those of the results: not where reports go
    /// elsewhere.
    pub(crate) pages: Option<PathBuf>,
    pub(crate) check: bool,
    pub(crate) compare: Option<Old>,
    pub(crate) summary: Option<PathBuf>,
    pub(crate) format: Format,
}

/// The older results.
#[derive(Debug)]
pub(crate) struct Old {
    pub(crate) results: PathBuf,
    pub(crate) models: PathBuf,
    /// The regression that is let pass, in percent; none if all are.
    pub(crate) max_regression_percent: Option<f64>,
}

impl Options {
    /// Checks the numbers and that there is a folder of results. Other files are checked where they
    /// are read or written.
    pub(crate) fn new(args: Args) -> anyhow::Result<Self> {
        if let Some(percent) = args.fail_on_regression {
            ensure!(
                percent.is_finite() && percent >= 0.0,
                "`--fail-on-regression` is {percent}, expected a number of percent from 0 up"
            );
        }
        let root = workspace()?;
        let results = args.results.unwrap_or_else(|| root.join("results"));
        let compare = args.compare.map(|old| Old {
            models: models_beside(&old),
            results: old,
            max_regression_percent: args.fail_on_regression,
        });
        let is_of_workspace = args.out.is_none() && args.format == Format::Markdown;
        let options = Self {
            pages: is_of_workspace.then(|| root.clone()),
            models: args.models.unwrap_or_else(|| models_beside(&results)),
            out: args.out.unwrap_or_else(|| root.join("reports")),
            check: args.check,
            compare,
            summary: args.summary,
            format: args.format,
            results,
        };
        options.check_summary()?;
        Ok(options)
    }

    /// Refuses a summary over one of the files that are read.
    fn check_summary(&self) -> anyhow::Result<()> {
        let Some(summary) = &self.summary else {
            return Ok(());
        };
        let old = self
            .compare
            .iter()
            .flat_map(|old| [&old.results, &old.models]);
        let folders = [&self.results, &self.models].into_iter().chain(old);
        let entries = folders.flat_map(fs::read_dir).flatten().flatten();
        let files = entries.fold(Files::default(), |files, entry| {
            files.read("a result", entry.path())
        });
        files.write("`--summary`", summary).check()
    }
}

impl Options {
    /// The way from the reports to their tables.
    pub(crate) const fn tables(&self) -> &'static str {
        if self.pages.is_some() {
            TABLES
        } else {
            "tables"
        }
    }

    /// The regression that is let pass, in percent; none if all are.
    pub(crate) fn max_regression_percent(&self) -> Option<f64> {
        self.compare.as_ref()?.max_regression_percent
    }
}

/// `data/models` in the folder that holds the folder of results.
fn models_beside(results: &Path) -> PathBuf {
    results.join("..").join("data").join("models")
}
