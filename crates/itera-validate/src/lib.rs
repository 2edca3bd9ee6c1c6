//! Scores checkpoints on texts and joins and compares such scores.
//!
//! One run goes through these files in order:
//!
//! | file | step |
//! |---|---|
//! | `args`, `options` | the command line, typed, then checked |
//! | `jobs` | which checkpoint is scored on which text |
//! | `selection` | the tokens of the documents that the options select |
//! | `engine`, `protocol` | likelihood of every document; where the state starts afresh |
//! | `adapt` | likelihood by weights that learn from what they have read |
//! | `divergence` | how far the predictions are from those of a reference |
//! | `metrics`, `baselines`, `row` | the figures that follow from it |
//! | `output` | table, JSON, CSV |
//! | `merge`, `compare`, `significance` | what can be done with results |
//! | `bench` | how fast the engine runs |
//!
//! `stream` scores documents one by one, from any source and of any size, into rows; it has an order of its own.

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
use itera_cli::{ExitStatus, Progress, note};
use itera_core::model::Model;
use itera_record::{Baselines, Record as _, ValidationRecord, ValidationRow};
use rayon::ThreadPoolBuilder;

pub use crate::args::Args;
use crate::{
    args::{Command, ScoreArgs},
    baselines::Compressors,
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

/// Scores every checkpoint on its texts. Everything is loaded and every document tokenised before
/// the first is scored, so that bad input is found at once.
fn score(args: ScoreArgs) -> anyhow::Result<ExitStatus> {
    let options = Options::new(args)?;
    let threads = ThreadPoolBuilder::new().num_threads(options.threads);
    let pool = threads
        .build()
        .context("cannot start the threads; give fewer with `--threads`")?;
    let work = jobs::load(&options)?;
    let jobs = work.jobs(&options)?;
    let mut compressors = Compressors::new(&options);
    let mut rows = Vec::new();
    for job in &jobs {
        rows.extend(pool.install(|| score_job(job, &options, &mut compressors))?);
    }
    let record = row::record(options.protocol.clone(), rows);
    output::deliver(&record, &options, &work.notes)?;
    Ok(ExitStatus::Done)
}

/// Scores one checkpoint, at each of its precisions, on one text.
fn score_job(
    job: &Job,
    options: &Options,
    compressors: &mut Compressors,
) -> anyhow::Result<Vec<ValidationRow>> {
    let tokenizer = &job.variants[0].loaded.checkpoint.tokenizer;
    let baselines = compressors.baselines(job, tokenizer)?;
    let score = |variant| score_variant(job, variant, options, &baselines);
    job.variants.iter().map(score).collect()
}

/// Scores one checkpoint at one precision on one text.
fn score_variant(
    job: &Job,
    variant: &Variant,
    options: &Options,
    baselines: &Baselines,
) -> anyhow::Result<ValidationRow> {
    let documents = &job.selection.documents;
    let tokens = documents.tokens.tokens();
    let (name, text) = (&variant.loaded.name, job.text.label());
    let checkpoint = &variant.loaded.checkpoint;
    let (engine, precision) = (variant.engine.as_ref(), checkpoint.precision());
    let kernel = engine
        .kernel()
        .map_or(String::new(), |kernel| format!(", {kernel}"));
    note(format!(
        "scoring {name} ({precision}{kernel}) on {text}: {} documents, {tokens} tokens",
        documents.list.len()
    ));
    let progress = Progress::new(tokens as u64, "tokens");
    progress.set_message(name);
    let end_of_text = checkpoint.tokenizer.end_of_text();
    let started = Instant::now();
    let on_tokens = |tokens| progress.advance(tokens as u64);
    let (nll_nats, static_score) = match &options.protocol.adaptation {
        None => {
            let protocol = &options.protocol;
            let nats = protocol::score(engine, protocol, end_of_text, documents, &on_tokens)?;
            (nats, None)
        }
        Some(adaptation) => {
            let how = (options.protocol.name, adaptation);
            let adapted = adapt::score(checkpoint, how, documents, &on_tokens)
                .with_context(|| format!("cannot adapt {name} to {text}"))?;
            let static_score = adapted.static_score();
            (adapted.nll_nats, Some(static_score))
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    drop(progress);
    note(format!(
        "scored in {seconds:.1} s, {:.0} tokens/s",
        tokens as f64 / seconds.max(1e-9)
    ));
    let divergence = variant.reference.as_ref().map(|reference| {
        let model = Model::with_kernel(checkpoint, options.kernel)?;
        anyhow::Ok(divergence::measure(
            &model,
            reference,
            end_of_text,
            &documents.tokens,
        ))
    });
    let scores = Scores {
        nll_nats,
        divergence: divergence.transpose()?,
        static_score,
        seconds,
    };
    row::of_job(job, variant, options, baselines.clone(), scores)
        .with_context(|| format!("cannot score {name} on {text}"))
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
