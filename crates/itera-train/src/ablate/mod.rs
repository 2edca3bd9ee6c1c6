//! The subcommand `ablate`: trains a base and its variants on the same text, some seeds of each, and
//! says what each decision is worth.
//!
//! | file | what |
//! |---|---|
//! | `plan` | the file that names studies, bases and variants |
//! | `run` | one run |
//! | `results` | the record: what is done, kept after each run |
//! | `table` | the results for people |
//!
//! Runs have one thread each and stand side by side. The record is written after each of them, and a
//! run that stands in it already is not done again.

mod plan;
mod results;
mod run;
mod table;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, check_output, note, print, results_folder};

use self::{
    plan::{Plan, StudyPlan, Variant},
    results::Results,
    run::Texts,
};
use crate::{args::AblateArgs, fit::stop_on_signals};

/// A run that is to be done.
struct Job<'p> {
    study: &'p StudyPlan,
    variant: Variant,
    seed: u64,
}

/// Trains what is missing of the plan, writes the record, prints the table.
pub(crate) fn run(args: &AblateArgs) -> anyhow::Result<ExitStatus> {
    ensure!(args.jobs > 0, "`--jobs` is 0, expected at least 1");
    let output = match &args.output {
        Some(path) => path.clone(),
        None => results_folder()?.join("ablations.json"),
    };
    check_output(&output)?;
    let plan = Plan::read(&args.plan)?;
    let results = Results::open(&plan, &args.plan, output)?;
    let jobs = jobs(&plan, &results);
    note(format_args!(
        "{} runs to do, {} at a time",
        jobs.len(),
        args.jobs
    ));
    let stop = stop_on_signals()?;
    let limit = args.minutes.map(|minutes| {
        Duration::try_from_secs_f64(60.0 * minutes)
            .with_context(|| format!("`--minutes` is {minutes}, expected minutes"))
    });
    let results = work(&jobs, args.jobs, limit.transpose()?, results, &stop)?;
    print(table::text(results.record()))?;
    if stop.load(Ordering::Relaxed) {
        note("stopped; the same command does what is left");
    }
    Ok(ExitStatus::Done)
}

/// All that the record lacks: the first seed of everything, then the second, so that a plan that is
/// not done to its end says something of each variant.
fn jobs<'p>(plan: &'p Plan, results: &Results) -> Vec<Job<'p>> {
    let rounds = plan.studies.iter().map(|study| study.seeds.len()).max();
    let mut jobs = Vec::new();
    for round in 0..rounds.unwrap_or(0) {
        for study in &plan.studies {
            let Some(seed) = study.seeds.get(round).copied() else {
                continue;
            };
            let variants = study.variants().into_iter();
            let missing = variants.filter(|variant| !results.has(study, variant, seed));
            jobs.extend(missing.map(|variant| Job {
                study,
                variant,
                seed,
            }));
        }
    }
    jobs
}

/// Does the jobs on some threads; begins none after `limit`.
fn work(
    jobs: &[Job<'_>],
    threads: usize,
    limit: Option<Duration>,
    results: Results,
    stop: &AtomicBool,
) -> anyhow::Result<Results> {
    let (began, texts) = (Instant::now(), Texts::default());
    let (next, results) = (AtomicUsize::new(0), Mutex::new(results));
    let work = || -> anyhow::Result<()> {
        loop {
            let is_late = limit.is_some_and(|limit| began.elapsed() >= limit);
            let job = jobs.get(next.fetch_add(1, Ordering::Relaxed));
            let Some(Job {
                study,
                variant,
                seed,
            }) = job.filter(|_| !is_late)
            else {
                return Ok(());
            };
            let outcome = run::run(study, variant, *seed, &texts, stop);
            let outcome = outcome.with_context(|| {
                format!(
                    "variant `{}: {}` of study `{}`",
                    variant.axis, variant.name, study.name
                )
            })?;
            let Some(outcome) = outcome else {
                return Ok(());
            };
            note(table::line(study, variant, &outcome.run));
            let mut results = results.lock().expect("no thread panics while it writes");
            results.add(study, variant, outcome)?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, anyhow::Result<()>>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().try_for_each(join)
    })?;
    Ok(results.into_inner().expect("all threads have ended"))
}
