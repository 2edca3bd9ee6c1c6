//! Measures time, memory and energy per token of checkpoints, and compares with a baseline.
//!
//! One run goes through these files in order:
//!
//! | file | step |
//! |---|---|
//! | `args`, `options`, `platforms` | the command line and small files, typed, then checked |
//! | `jobs` | checkpoints at the precisions asked for, and the tokens that they read and write |
//! | `counters` | energy counters of the machine, seen at rest and in a spin before one is believed |
//! | `sensors`, `calibration`, `workload`, `measure` | clocks, the two workloads, the loop of samples |
//! | `tdp`, `figures`, `row` | energies with their bounds |
//! | `gate` | the comparison with a baseline |
//! | `output`, `emissions` | tables, JSON, CSV |

mod args;
mod calibration;
mod counters;
mod emissions;
mod figures;
mod gate;
mod jobs;
mod measure;
mod options;
mod output;
mod platforms;
mod row;
mod run;
mod sensors;
mod tdp;
mod workload;

use anyhow::Context as _;
use itera_cli::{ExitStatus, Progress, note, warn};
use itera_core::{kernels::Kernel, model::Model};
use itera_record::{GateResult, PowerRecord, PowerRow, Record as _};

pub use crate::args::Args;
use crate::{
    counters::Roots,
    gate::{Baseline, Planned},
    jobs::Job,
    options::Options,
    run::{Bench, Finding},
    sensors::Machine,
};

/// Name of the program in records.
const TOOL: &str = "itera-power";

/// Share of the cores that others may use before the figures are doubtful.
const BUSY_SHARE: f64 = 0.1;

/// How often a row that seems slower is measured again, before it is called so: noise passes.
const CONFIRMATIONS: u32 = 2;

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, missing or broken files, a baseline that does not compare.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    let mut options = Options::new(args)?;
    let jobs = jobs::load(&options)?;
    let checkpoints = jobs.iter().filter_map(|job| job.loaded.path.as_ref());
    let files = checkpoints.fold(options.files.clone(), |files, path| {
        files.read("the checkpoint", path)
    });
    files.check()?;
    options.plan(jobs.len() * options.modes.len());
    let mut notes = qualifications();
    notes.extend(check_baseline(&jobs, &options)?);
    let sensors = Machine::new();
    note("looking for energy counters: at rest, then in a spin");
    let finding = run::look(&Roots::default(), &sensors);
    notes.extend(finding_notes(&finding));
    let mut record = measure_all(&jobs, &options, finding, &sensors, &mut notes)?;
    record.notes = notes;
    record
        .validate()
        .context("the measurement contradicts itself; this is a fault of the program")?;
    output::deliver(&record, &options)?;
    let passed = record.gate.as_ref().is_none_or(|gate| gate.passed);
    Ok(if passed {
        ExitStatus::Done
    } else {
        ExitStatus::CheckFailed
    })
}

/// What every record of this build says about itself.
fn qualifications() -> Vec<String> {
    let mut notes = Vec::new();
    if cfg!(feature = "slow-demo") {
        notes.push("this build is slowed by 20 % on purpose (feature slow-demo)".to_owned());
    }
    if !sensors::HAS_CPU_CLOCK {
        notes
            .push("this system tells no CPU time of a process; wall time stands for it".to_owned());
    }
    notes.iter().for_each(warn);
    notes
}

/// What the state of the machine means for the figures.
fn finding_notes(finding: &Finding) -> Vec<String> {
    let mut notes = Vec::new();
    if !finding.has_counter() {
        notes.push(
            "no energy counter works here; every energy is an estimate from a TDP".to_owned(),
        );
    }
    if let Some(share) = finding.busy_share.filter(|share| *share > BUSY_SHARE) {
        notes.push(format!(
            "other programs used {:.0} % of the cores before the measurement; stop them for figures to keep",
            100.0 * share
        ));
    }
    notes
}

/// Refuses before the work what the gate could not compare.
fn check_baseline(jobs: &[Job], options: &Options) -> anyhow::Result<Vec<String>> {
    let Some(baseline) = &options.baseline else {
        return Ok(Vec::new());
    };
    let kernel = Kernel::best().name();
    let planned = jobs.iter().flat_map(|job| {
        let model = job.model_info();
        options.modes.iter().map(move |&mode| Planned {
            name: model.name.clone(),
            precision: model.precision.clone(),
            mode,
            kernel: kernel.to_owned(),
        })
    });
    let planned: Vec<_> = planned.collect();
    Ok(gate::check(
        baseline,
        &options.protocol,
        &itera_cli::host(),
        &planned,
    )?)
}

/// Measures every job in every mode, and again what the gate finds slower.
fn measure_all(
    jobs: &[Job],
    options: &Options,
    finding: Finding,
    sensors: &Machine,
    notes: &mut Vec<String>,
) -> anyhow::Result<PowerRecord> {
    let rows = jobs.len() * options.modes.len();
    let progress = Progress::new(rows as u64 * options.protocol.samples, "samples");
    let (status, busy_share) = (finding.status.clone(), finding.busy_share);
    let mut bench = Bench::new(finding, options, sensors);
    let mut rows = Vec::new();
    for job in jobs {
        progress.set_message(&job.loaded.name);
        rows.extend(bench.measure(job, &options.modes, &mut || progress.advance(1))?);
    }
    let gate = match &options.baseline {
        Some(baseline) => Some(confirm(baseline, jobs, options, &mut bench, &rows, notes)?),
        None => None,
    };
    drop(progress);
    let mut record = row::record(options, bench.platforms, status, busy_share, rows);
    record.gate = gate;
    Ok(record)
}

/// Compares with the baseline. A row that seems slower is measured again, and is slower only if each
/// measurement says so: a busy machine is slow at times, a slow build always. The record keeps the first.
fn confirm(
    baseline: &Baseline,
    jobs: &[Job],
    options: &Options,
    bench: &mut Bench<'_>,
    rows: &[PowerRow],
    notes: &mut Vec<String>,
) -> anyhow::Result<GateResult> {
    let compare = |rows: &[PowerRow]| {
        gate::compare(
            baseline,
            options.cores,
            rows,
            options.max_regression_percent,
        )
    };
    let mut result = compare(rows);
    for _ in 0..CONFIRMATIONS {
        let mut again = rows.to_vec();
        let mut any = false;
        for row in again
            .iter_mut()
            .filter(|row| gate::regressed_in_time(&result, row))
        {
            let (name, precision, mode) = row.key();
            let said = format!(
                "{name} {precision} {} seemed slower and was measured again",
                mode.name()
            );
            note(&said);
            notes.push(said);
            let is_its = |job: &&Job| {
                let model = job.model_info();
                model.name == name && model.precision == precision
            };
            let job = jobs
                .iter()
                .find(is_its)
                .context("a row has no job; this is a fault of the program")?;
            if let Some(measured) = bench.measure(job, &[mode], &mut || {})?.pop() {
                *row = measured;
                any = true;
            }
        }
        if !any {
            break;
        }
        gate::merge(&mut result, &compare(&again));
    }
    Ok(result)
}

/// The model of a job, with the kernel that suits this machine.
fn model(job: &Job) -> anyhow::Result<Model> {
    Model::from_checkpoint(&job.loaded.checkpoint)
        .with_context(|| format!("cannot run the checkpoint `{}`", job.loaded.name))
}
