//! Renders the files under `results/` into reports and charts, and compares two sets of results.
//!
//! One run goes through these files in order:
//!
//! | file | step |
//! |---|---|
//! | `args`, `options` | the command line, typed, then checked |
//! | `input` | every result file, read and checked; bad ones with the reason |
//! | `view` | which rows a table or a picture shows, and in which words |
//! | `chart` | pictures: shapes first, then PNG with the compiled-in typeface |
//! | `report` | Markdown with tables, pictures and links to the results |
//! | `page` | blocks of pages that people keep: the README |
//! | `compare`, `benchmark` | metrics of two sets of results; metrics for dashboards |
//! | `output` | files written whole or not at all, or compared with what is there |
//! | `count` | the subcommand that counts code into a result file |
//!
//! Reports are a pure function of the results: no clock, no locale, no order of a hash map.

mod args;
mod benchmark;
mod chart;
mod compare;
mod count;
mod input;
mod md;
mod num;
mod options;
mod output;
mod page;
mod report;
mod view;

use std::path::Path;

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, note, print, warn};

pub use crate::args::Args;
use crate::{
    args::{Command, Format, RenderArgs},
    input::Inputs,
    options::Options,
    output::Files,
};

/// Name of the program in records.
const TOOL: &str = "itera-report";

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, a folder that cannot be read or written.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    match args.command {
        None => render(args.render),
        Some(Command::Count { root, output }) => {
            let workspace = itera_cli::workspace()?;
            let output = output.unwrap_or_else(|| workspace.join("results").join("code.json"));
            let record = count::count(&root.unwrap_or(workspace))?;
            let json = serde_json::to_string_pretty(&record).context("cannot write the count")?;
            output::write(&output, format!("{json}\n").as_bytes())?;
            note(format!("counted into {}", output.display()));
            Ok(ExitStatus::Done)
        }
    }
}

/// Renders or checks the reports, compares, and sums up.
fn render(args: RenderArgs) -> anyhow::Result<ExitStatus> {
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
    say_what_is_missing(&inputs);
    let old = options.compare.as_ref().map(|old| {
        let before = read(&old.results, &old.models, &options.out);
        before.context("cannot compare with the old results")
    });
    let old = old.transpose()?;
    let files = match options.format {
        Format::Markdown => report::render(&inputs)?,
        Format::GithubBenchmark => benchmark::files(&inputs)?,
    };
    // Before anything is written: a page may be refused.
    let pages = match &options.pages {
        Some(workspace) => page::render(&inputs, workspace)?,
        None => Files::new(),
    };
    let mut stale = deliver(&options, &files)?;
    if let Some(workspace) = &options.pages {
        stale.extend(deliver_pages(&options, &pages, workspace)?);
    }
    let mut has_passed = !options.check || (stale.is_empty() && inputs.problems.is_empty());
    let limit = options.max_regression_percent();
    let outcome = old.map(|old| Outcome::new(&old, &inputs, limit));
    has_passed &= outcome
        .as_ref()
        .is_none_or(|outcome| !outcome.has_regression);
    if let Some(path) = &options.summary {
        let comparison = outcome.as_ref().map(|outcome| outcome.text.as_str());
        let text = report::summary(&inputs, &stale, comparison);
        output::write(path, text.as_bytes())?;
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

fn say_what_is_missing(inputs: &Inputs) {
    for kind in report::missing(inputs) {
        note(format!(
            "not measured: {}, no file of the form {}",
            kind.what, kind.form
        ));
    }
}

/// Writes the files, or says which of them are stale.
fn deliver(options: &Options, files: &Files) -> anyhow::Result<Vec<String>> {
    let out = options.out.display();
    if options.check {
        // The folder is that of the reports; one that has other forms beside them has no leftovers of theirs.
        let stale = match options.format {
            Format::Markdown => output::stale(&options.out, files),
            Format::GithubBenchmark => output::differing(&options.out, files),
        };
        for line in &stale {
            print(format!("{line}\n"))?;
        }
        note(match stale.len() {
            0 => format!("{out}: all {} files are those of the results", files.len()),
            n => format!("{out}: {n} files are stale; run `itera-report` without `--check`"),
        });
        return Ok(stale);
    }
    let written = output::write_all(&options.out, files)?;
    note(format!(
        "{out}: {} files, {written} of them new or changed",
        files.len()
    ));
    if options.format == Format::Markdown {
        for name in output::leftovers(&options.out, files) {
            warn(format!(
                "{name} in {out} is not of these results any more; delete it"
            ));
        }
    }
    Ok(Vec::new())
}

/// Writes the pages, or says which of them are stale.
fn deliver_pages(
    options: &Options,
    pages: &Files,
    workspace: &Path,
) -> anyhow::Result<Vec<String>> {
    if options.check {
        let stale = output::differing(workspace, pages);
        for line in &stale {
            print(format!("{line}\n"))?;
        }
        return Ok(stale);
    }
    let written = output::write_all(workspace, pages)?;
    if written > 0 {
        note(format!("{written} pages with new figures"));
    }
    Ok(Vec::new())
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
        let comparisons = compare::compare(old, new, max_regression_percent);
        Self {
            text: compare::text(&comparisons, max_regression_percent),
            is_gate: max_regression_percent.is_some(),
            has_compared: comparisons.iter().any(|c| c.verdict.is_comparison()),
            has_regression: comparisons.iter().any(|c| c.is_regression),
        }
    }
}
