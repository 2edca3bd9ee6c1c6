//! Measures time, memory and energy per token of checkpoints, and compares with a baseline.
//!
//! One run goes through these files in order:
//!
//! | file | step |
//! |---|---|
//! | `args`, `options`, `platforms` | the command line and small files, typed, then checked |
//! | `jobs` | checkpoints at the precisions asked for, and the tokens that they read and write |
//! | `counters` | energy counters of the machine, seen at rest and in a spin before one is believed |
//! | `run`, `worker` | processes that measure one row each, and what they are asked |
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
mod worker;
mod workload;

use std::{env, path::PathBuf};

use anyhow::Context as _;
use itera_cli::{ExitStatus, Progress, note};
use itera_core::kernels::Kernel;
use itera_record::{GateResult, PowerRecord, PowerRow, Record as _};

pub use crate::args::Args;
use crate::{
    counters::{PowerLimit, Roots},
    gate::{Baseline, Before, Planned},
    jobs::Job,
    options::Options,
    run::Finding,
    sensors::Machine,
};

/// Name of the program in records.
const TOOL: &str = "itera-power";

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, missing or broken files, a baseline that does not compare.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    if args.worker {
        return worker::run();
    }
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
    if !options.platforms_chosen {
        options.platforms.extend(finding.this_machine());
    }
    check_finding(&finding, &jobs, &options)?;
    let mut record = measure_all(&jobs, &options, finding, &sensors)?;
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
#[cfg(feature = "slow-demo")]
fn qualifications() -> Vec<String> {
    let percent = 100.0 * workload::slowed_by();
    let slowed = format!("this build is slowed by {percent} % on purpose (feature slow-demo)");
    itera_cli::warn(&slowed);
    vec![slowed]
}

/// What every record of this build says about itself.
#[cfg(not(feature = "slow-demo"))]
const fn qualifications() -> Vec<String> {
    Vec::new()
}

/// What the state of the machine means for the figures.
fn finding_notes(finding: &Finding) -> Vec<String> {
    let mut notes = Vec::new();
    if finding.believed().is_empty() {
        notes.push(
            "no energy counter works here; every energy is an estimate from a TDP".to_owned(),
        );
    }
    if let PowerLimit::Unlimited(watts) = finding.limit {
        notes.push(format!(
            "the power limit of this machine is {watts:.0} W, which is none; it is no platform"
        ));
    }
    if let Some(share) = finding
        .busy_share
        .filter(|share| *share > PowerRecord::BUSY_SHARE)
    {
        notes.push(format!(
            "other programs used {:.0} % of the cores before the measurement; stop them for figures to keep",
            100.0 * share
        ));
    }
    notes
}

/// Refuses before the work what the gate could not compare.
fn check_baseline(jobs: &[Job], options: &Options) -> anyhow::Result<Vec<String>> {
    let Some(Baseline::Record { record, .. }) = &options.baseline else {
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
    let host = itera_cli::host();
    Ok(gate::check(record, &options.protocol, &host, &planned)?)
}

/// Refuses before the work what lacks a counter, or processes enough for those that there are.
fn check_finding(finding: &Finding, jobs: &[Job], options: &Options) -> anyhow::Result<()> {
    if options.emissions_csv.is_some() {
        let (counters, platforms) = (&finding.counters, &options.platforms);
        emissions::check_source(counters, platforms, options.platforms_chosen)?;
    }
    if let Some(Baseline::Program { .. }) = options.baseline {
        let tests = gate::tests(jobs.len() * options.modes.len(), finding.believed().len());
        let processes = options.protocol.processes;
        gate::check_design(tests, processes, processes)?;
    }
    Ok(())
}

/// Measures every job in every mode, and compares with the baseline.
fn measure_all(
    jobs: &[Job],
    options: &Options,
    finding: Finding,
    sensors: &Machine,
) -> anyhow::Result<PowerRecord> {
    let believed = finding.believed();
    let Finding {
        mut counters,
        busy_share,
        ..
    } = finding;
    let programs = programs(options)?;
    let protocol = &options.protocol;
    let rows = jobs.len() * options.modes.len() * programs.len();
    let progress = Progress::new(rows as u64 * protocol.processes, "processes");
    // What is measured now, and in turns with it of a baseline that is a program.
    let (mut now, mut before) = (Vec::new(), Vec::new());
    for job in jobs {
        progress.set_message(&job.loaded.name);
        for &mode in &options.modes {
            let done = &mut || progress.advance(1);
            let mut answers =
                run::measure(&programs, job, mode, (options, &believed), done)?.into_iter();
            let row = |answers: &[worker::Answer]| {
                let row = row::of(job, mode, protocol, answers);
                row.context("a clock gave no finite time; this is a fault of the program")
            };
            let of_now = answers.next().unwrap_or_default();
            now.push((row(&of_now)?, of_now));
            if let Some(of_baseline) = answers.next() {
                before.push(row(&of_baseline)?);
            }
        }
    }
    drop(progress);
    let busy_after = run::look_again(&Roots::default(), sensors, &mut counters);
    let busiest = |before: f64| busy_after.map_or(before, |after| after.max(before));
    let busy_share = busy_share.map(busiest);
    let carbon = options.carbon_intensity_g_per_kwh;
    let complete = |(mut row, answers): (PowerRow, Vec<worker::Answer>)| {
        row.energy = row::energy(&row, &answers, &counters, &options.platforms, carbon);
        row
    };
    let rows: Vec<PowerRow> = now.into_iter().map(complete).collect();
    let platforms = options.platforms.clone();
    let mut record = row::record(protocol.clone(), platforms, counters, busy_share, rows);
    record.gate = gate(options, &record, &before);
    Ok(record)
}

/// This program, and the baseline if that is one.
fn programs(options: &Options) -> anyhow::Result<Vec<PathBuf>> {
    let this = env::current_exe().context("cannot find this program to start it again")?;
    Ok(match &options.baseline {
        Some(Baseline::Program { path, .. }) => vec![this, path.clone()],
        _ => vec![this],
    })
}

/// The comparison with the baseline, if there is one; `in_turns` are its rows where it is a program.
fn gate(options: &Options, record: &PowerRecord, in_turns: &[PowerRow]) -> Option<GateResult> {
    let before = match options.baseline.as_ref()? {
        Baseline::Record { record, sha256 } => Before {
            rows: &record.rows,
            protocol: &record.protocol,
            created_at: &record.envelope.created_at,
            sha256,
            is_in_turns: false,
        },
        Baseline::Program { sha256, .. } => Before {
            rows: in_turns,
            protocol: &record.protocol,
            created_at: &record.envelope.created_at,
            sha256,
            is_in_turns: true,
        },
    };
    let percent = options.max_regression_percent;
    Some(gate::compare(
        &before,
        &record.rows,
        &record.protocol,
        percent,
    ))
}
