//! The subcommand `ablate`: trains a base and its variants on the same text, some seeds of each, and
//! says what each decision is worth.
//!
//! | file | what |
//! |---|---|
//! | `plan` | the file that names studies, bases and variants |
//! | `run` | one run |
//! | `results` | the record, written after each run |
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
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, Files, OutputLock, Stop, note, print, results_folder};

use self::{
    plan::{Plan, StudyPlan, Variant},
    results::Results,
    run::Texts,
};
use crate::args::AblateArgs;

/// More threads than this are a typing error.
const MAX_JOBS: usize = 256;

/// A run that is to be done.
struct Job<'p> {
    study: &'p StudyPlan,
    variant: Variant,
    seed: u64,
}

/// Trains the missing runs of the plan, writes the record, prints the table.
pub(crate) fn run(args: &AblateArgs) -> anyhow::Result<ExitStatus> {
    ensure!(
        (1..=MAX_JOBS).contains(&args.jobs),
        "`--jobs` is {}, expected 1 to {MAX_JOBS}",
        args.jobs
    );
    let output = match &args.output {
        Some(path) => path.clone(),
        None => results_folder()?.join("ablations.json"),
    };
    let plan = Plan::read(&args.plan)?;
    let mut files = Files::default().read("`--plan`", &args.plan);
    for dataset in plan.datasets()? {
        files = files.read_dataset("the text of the plan", &dataset);
    }
    files.write("`--output`", &output).check()?;
    let _lock = OutputLock::take(&output)?;
    let results = Results::open(&plan, &args.plan, output, args.replace)?;
    let jobs = jobs(&plan, &results);
    note(format_args!(
        "{} runs to do, {} at a time",
        jobs.len(),
        args.jobs
    ));
    let stop = Stop::on_signals()?;
    let results = work(&jobs, args, results, stop.flag())?;
    if stop.status() != ExitStatus::Done {
        note("stopped; the same command does what is left");
    }
    print(table::text(results.record()))?;
    Ok(stop.status())
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

/// Does the jobs on some threads. Begins no job after `--minutes`; a job that fails stops them all.
fn work(
    jobs: &[Job<'_>],
    args: &AblateArgs,
    results: Results,
    stop: &AtomicBool,
) -> anyhow::Result<Results> {
    let (began, texts) = (Instant::now(), Texts::default());
    let (next, results) = (AtomicUsize::new(0), Mutex::new(results));
    let work = || -> anyhow::Result<()> {
        let _stops_others = StopOnPanic(stop);
        loop {
            let is_late = args.minutes.is_some_and(|limit| began.elapsed() >= limit);
            let job = jobs.get(next.fetch_add(1, Ordering::Relaxed));
            let Some(job) = job.filter(|_| !is_late && !stop.load(Ordering::Relaxed)) else {
                return Ok(());
            };
            if let Err(error) = job.run(&texts, &results, stop) {
                stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    thread::scope(|scope| {
        let count = args.jobs.min(jobs.len());
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, anyhow::Result<()>>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().try_for_each(join)
    })?;
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Job<'_> {
    /// Trains, evaluates and records the run; records nothing if `stop` is set meanwhile.
    fn run(
        &self,
        texts: &Texts,
        results: &Mutex<Results>,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let Self {
            study,
            variant,
            seed,
        } = self;
        let outcome = run::run(study, variant, *seed, texts, stop).with_context(|| {
            format!(
                "variant `{}: {}` of study `{}`",
                variant.axis, variant.name, study.name
            )
        })?;
        if let Some(outcome) = outcome {
            note(table::line(study, variant, &outcome.run));
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.add(study, variant, outcome)?;
        }
        Ok(())
    }
}

/// Stops the other threads where its own panics.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
