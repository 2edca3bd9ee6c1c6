//! Renders the files under `results/` into reports and charts, and compares two sets of results.
//!
//! One run goes through these files in order:
//!
//! | file | step |
//! |---|---|
//! | `args`, `options` | the command line, typed, then checked |
//! | `input` | every result file, read and checked; bad ones with the reason |
//! | `views` | tables, pictures and facts |
//! | `pages` | templates filled with them: Markdown, HTML, blocks of pages that people keep |
//! | `compare`, `benchmark` | metrics of two sets of results; metrics for dashboards |
//! | `output` | files written whole or not at all, or compared with what is there |
//!
//! Reports are a pure function of the results: no clock, no locale, no order of a hash map.

mod args;
mod benchmark;
mod compare;
mod input;
mod options;
mod output;
mod pages;
mod views;

use std::path::Path;

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, note, print, warn};
use itera_core::files::write_atomic;

pub use crate::args::Args;
use crate::{
    args::Format,
    input::{Inputs, Kind},
    options::Options,
    output::Files,
    views::Views,
};

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, a folder that cannot be read or written.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    let options = Options::new(args)?;
    let inputs = read(&options.results, &options.models, &options.out)?;
    if inputs.sources.is_empty() {
        warn(format!(
            "nothing could be read in `{}`, so no report is written; let the tools write results \
             first, for example `cargo run --release -p itera-validate`",
            options.results.display()
        ));
        return Ok(ExitStatus::CheckFailed);
    }
    for kind in Kind::missing(&inputs) {
        note(format!("not measured: {} ({})", kind.what, kind.schema));
    }
    let old = options.compare.as_ref().map(|old| {
        let before = read(&old.results, &old.models, &options.out);
        before.context("cannot compare with the old results")
    });
    let old = old.transpose()?;
    let views = Views::new(&inputs)?;
    let files = match options.format {
        Format::Markdown => pages::reports(&inputs, &views, options.tables())?,
        Format::GithubBenchmark => benchmark::files(&inputs)?,
        Format::Metrics => benchmark::release(&inputs)?,
    };
    // Before anything is written: a page may be refused.
    let pages = match &options.pages {
        Some(workspace) => pages::kept(&inputs, &views, workspace)?,
        None => Files::new(),
    };
    let stale = deliver(&options, &files, &pages)?;
    let mut has_passed = !options.check || (stale.is_empty() && inputs.problems.is_empty());
    let limit = options.max_regression_percent();
    let outcome = old.map(|old| Outcome::new(&old, &inputs, limit));
    if let Some(outcome) = &outcome {
        has_passed &= !outcome.has_regression;
        // A file that cannot be read may hide the very figure that became worse.
        has_passed &= !outcome.is_gate || inputs.problems.is_empty();
    }
    if let Some(path) = &options.summary {
        let comparison = outcome.as_ref().map(|outcome| outcome.text.as_str());
        let text = pages::summary(&inputs, &views, &stale, comparison)?;
        write_atomic(path, text.as_bytes())?;
    }
    if let Some(outcome) = &outcome {
        print(&outcome.text)?;
    }
    ensure!(
        outcome.is_none_or(|outcome| outcome.has_compared || !outcome.is_gate),
        "nothing could be compared, so no regression could be found; the table says why for each \
         metric: measure both sets of results by the same protocol"
    );
    Ok(if has_passed {
        ExitStatus::Done
    } else {
        ExitStatus::CheckFailed
    })
}

/// Reads a set of results and says what is wrong with it.
fn read(results: &Path, models: &Path, reports: &Path) -> anyhow::Result<Inputs> {
    let inputs = input::load(results, models, reports)?;
    for problem in &inputs.problems {
        warn(format!("{}: {}", problem.label, problem.reason));
    }
    for file in &inputs.unknown {
        note(format!("{}: {}", file.label, file.reason));
    }
    Ok(inputs)
}

/// Writes the reports and pages, or says which of them are stale.
fn deliver(options: &Options, reports: &Files, pages: &Files) -> anyhow::Result<Vec<String>> {
    let (folder, root) = (&options.out, options.pages.as_ref().unwrap_or(&options.out));
    let out = folder.display();
    // One that has other forms beside them has no leftovers of theirs.
    let leftovers = match options.format {
        Format::Markdown => output::leftovers(folder, options.tables(), reports),
        Format::GithubBenchmark | Format::Metrics => Vec::new(),
    };
    if !options.check {
        let written = output::write_all(folder, reports).with_context(|| {
            format!("no report can be written to `{out}`; name another `--out`")
        })?;
        note(format!(
            "{out}: {} files, {written} of them new or changed",
            reports.len()
        ));
        for name in leftovers {
            warn(format!("{name} in {out} belongs to no result; delete it"));
        }
        let written = output::write_all(root, pages)?;
        if written > 0 {
            note(format!(
                "{} with new figures",
                views::count_of(written, "page")
            ));
        }
        return Ok(Vec::new());
    }
    let mut stale = output::differing(folder, reports);
    stale.extend(
        leftovers
            .iter()
            .map(|name| format!("{name}: belongs to no result; delete it")),
    );
    stale.extend(output::differing(root, pages));
    for line in &stale {
        print(format!("{line}\n"))?;
    }
    note(match stale.len() {
        0 => format!(
            "{out}: all {} files are up to date",
            reports.len() + pages.len()
        ),
        n => format!("{n} files are stale; run `itera-report` without `--check`"),
    });
    Ok(stale)
}

/// What a comparison came to.
struct Outcome {
    text: String,
    /// Whether a regression was to be looked for.
    is_gate: bool,
    has_compared: bool,
    has_regression: bool,
}

impl Outcome {
    fn new(old: &Inputs, new: &Inputs, max_regression_percent: Option<f64>) -> Self {
        let (old, new) = (compare::metrics(old), compare::metrics(new));
        let comparisons = compare::compare(old, new, max_regression_percent);
        let verdict = compare::verdict_text(&comparisons, max_regression_percent);
        let table = compare::table(&comparisons).markdown();
        Self {
            text: format!("### Comparison with the old results\n\n{verdict}\n\n{table}"),
            is_gate: max_regression_percent.is_some(),
            has_compared: comparisons.iter().any(|c| c.verdict.is_comparison()),
            has_regression: comparisons.iter().any(|c| c.is_regression),
        }
    }
}
