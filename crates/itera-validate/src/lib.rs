//! Scores checkpoints on texts and joins and compares such scores.
//!
//! One run goes through these files in order:
//!
//! | file | step |
//! |---|---|
//! | `args`, `options` | the command line, typed, then checked |
//! | `jobs` | which checkpoint is scored on which text |
//! | `selection` | the documents that the options select, read anew for each pass |
//! | `engine`, `protocol` | likelihood of every document; where the state starts afresh |
//! | `adapt` | an engine whose weights learn from what they have read |
//! | `mix` | an engine that mixes n-grams of what was read with a model |
//! | `divergence` | how far the predictions are from those of a reference |
//! | `metrics`, `baselines`, `row` | the figures that follow from it |
//! | `output` | table, JSON, CSV |
//! | `merge`, `compare`, `significance` | what can be done with results |
//! | `bench` | how fast the engine runs |
//!
//! `stream` scores documents one by one, from any source and of any size, into rows; it has an order of its own. Its
//! `batches` and `pipeline` are also how a pass over a text is read here: no text is held in memory.

mod adapt;
mod args;
mod baselines;
mod bench;
mod compare;
mod divergence;
mod engine;
mod jobs;
mod lm_eval;
mod merge;
mod metrics;
mod mix;
mod options;
mod output;
mod protocol;
mod row;
mod selection;
mod significance;
mod stream;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use itera_cli::{ExitStatus, note};
use itera_core::model::Model;
use itera_record::{Record as _, ValidationRecord, ValidationRow};
use rayon::ThreadPoolBuilder;

pub use crate::args::Args;
use crate::{
    args::{Command, ScoreArgs},
    baselines::Compressed,
    jobs::{Job, Variant},
    options::Options,
    row::Scores,
};

/// Name of the program in records.
const TOOL: &str = "itera-validate";

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, missing or broken files.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    match args.command {
        None => score(args.score),
        Some(Command::Score(args)) => stream::run(args),
        Some(Command::Merge { parts, output }) => merge_any(&parts, &output),
        Some(Command::Compare {
            a,
            b,
            fail_if_worse,
        }) => compare::run(&a, &b, fail_if_worse),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Decode {
            checkpoint,
            precision,
            kernel,
        }) => bench::memory::decode(&checkpoint, precision, &kernel),
    }
}

/// Joins the parts, rows of documents or results.
fn merge_any(parts: &[PathBuf], output: &Path) -> anyhow::Result<ExitStatus> {
    let summaries = stream::merge::summaries(parts)?;
    if summaries.is_empty() {
        merge::run(parts, output)
    } else {
        stream::merge::run(&summaries, output)
    }
}

/// Scores every checkpoint on its texts. Every text is looked through before the first is scored, so that
/// bad input is found at once.
fn score(args: ScoreArgs) -> anyhow::Result<ExitStatus> {
    let options = Options::new(args)?;
    let threads = ThreadPoolBuilder::new().num_threads(options.threads);
    threads
        .build_global()
        .context("cannot start the threads; give fewer with `--threads`")?;
    let work = jobs::load(&options)?;
    let jobs = work.jobs(&options)?;
    let compressed = if options.baselines {
        Compressed::of(&jobs)?
    } else {
        vec![Compressed::default(); jobs.len()]
    };
    let mut rows = Vec::new();
    for (job, compressed) in jobs.iter().zip(compressed) {
        for variant in job.variants {
            let row = score_variant(job, variant, &options, compressed.clone());
            rows.push(row.with_context(|| {
                let (name, text) = (&variant.loaded.name, job.text.label());
                format!("cannot score {name} on {text}")
            })?);
        }
    }
    let record = row::record(options.protocol.clone(), rows);
    output::deliver(&record, &options, &work.notes)?;
    Ok(ExitStatus::Done)
}

/// Scores one checkpoint at one precision on one text.
fn score_variant(
    job: &Job,
    variant: &Variant,
    options: &Options,
    compressed: Compressed,
) -> anyhow::Result<ValidationRow> {
    let (selection, protocol) = (&job.selection, &options.protocol);
    let (name, text) = (&variant.loaded.name, job.text.label());
    let checkpoint = &variant.loaded.checkpoint;
    let (engine, precision) = (variant.engine.as_ref(), checkpoint.precision());
    let kernel = engine
        .kernel()
        .map_or(String::new(), |kernel| format!(", {kernel}"));
    note(format!(
        "scoring {name} ({precision}{kernel}) on {text}: {} documents, {} bytes",
        selection.documents, selection.bytes
    ));
    let end_of_text = checkpoint.tokenizer.end_of_text();
    let started = Instant::now();
    let mut scores = Scores::default();
    let reader = || protocol::Reader::new(engine, protocol, end_of_text);
    selection.read(
        protocol::threads(protocol, options.threads),
        reader,
        |batch| {
            scores.add(batch, protocol);
        },
    )?;
    scores.check(protocol)?;
    scores.seconds = started.elapsed().as_secs_f64();
    note(format!(
        "scored in {:.1} s, {:.3} MB/s",
        scores.seconds,
        selection.bytes as f64 / 1e6 / scores.seconds.max(1e-9)
    ));
    if let Some(reference) = &variant.reference {
        let model = Model::with_kernel(checkpoint, options.kernel)?;
        let models = (&model, reference);
        let divergence = divergence::measure(models, end_of_text, selection, options.threads)?;
        scores.divergence = Some(divergence);
    }
    let baselines = compressed.baselines(&scores.frequencies, selection.bytes);
    row::of_job(job, variant, options, baselines, scores)
}

/// Reads a result of this tool.
fn read_record(path: &Path) -> anyhow::Result<ValidationRecord> {
    let json = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    ValidationRecord::from_json(&json).with_context(|| {
        format!(
            "`{}` is not what `itera-validate --output` writes",
            path.display()
        )
    })
}
