//! One process that measures one row: asked on standard input, it answers on standard output.
//!
//! Samples of one process share its memory layout, and the memory of a process that has measured another
//! model is not that of this one. So every row is measured by processes that are started anew, of this
//! build or of another one in turns with it.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, print};
use itera_core::{
    checkpoint::Precision,
    model::Model,
    models::{LoadedCheckpoint, load_at_precision},
};
use itera_record::{PowerMode, PowerSamples};
use serde::{Deserialize, Serialize};

use crate::{
    calibration::{self, Calibration},
    counters::{self, Roots},
    measure::{Effort, Meter, Passes, Running},
    sensors::{Machine, peak_resident_bytes},
    workload::ModelWorkload,
};

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Name or path.
    pub(crate) checkpoint: String,
    pub(crate) precision: String,
    pub(crate) mode: PowerMode,
    pub(crate) tokens: Vec<u32>,
    pub(crate) threads: usize,
    pub(crate) samples: u64,
    /// Time that the samples shall take together.
    pub(crate) seconds: f64,
    /// Passes of each sample; none for as many as take this time.
    pub(crate) passes: Option<Passes>,
    /// Energy counters that are read.
    pub(crate) counters: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) calibration: String,
    pub(crate) kernel: String,
    pub(crate) passes: Passes,
    pub(crate) samples: PowerSamples,
    pub(crate) peak_resident_bytes: Option<u64>,
    /// Counters that failed meanwhile, with the reason.
    pub(crate) failures: Vec<(String, String)>,
}

/// Has a new process of `program` measure.
pub(crate) fn ask(program: &Path, request: &Request) -> anyhow::Result<Answer> {
    let shown = program.display();
    let cannot_start = || format!("cannot start `{shown}` to measure a row");
    let mut child = Command::new(program)
        .arg("--worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(cannot_start)?;
    let request = serde_json::to_vec(request).context("cannot write the request of a row")?;
    // A program that does not know the option has ended by now; what it says tells more than a broken pipe.
    let _ = child
        .stdin
        .take()
        .with_context(cannot_start)?
        .write_all(&request);
    let output = child.wait_with_output().with_context(cannot_start)?;
    ensure!(
        output.status.success(),
        "`{shown} --worker` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "`{shown} --worker` answered in another form; build it from a version that has this one"
        )
    })
}

/// Answers the request on standard input.
pub(crate) fn run() -> anyhow::Result<ExitStatus> {
    let request: Request = serde_json::from_reader(io::stdin().lock()).context(
        "`--worker` is for this program's own use; it reads a request on standard input",
    )?;
    let answer = answer(&request)?;
    print(serde_json::to_string(&answer).context("cannot write the answer of a row")?)?;
    Ok(ExitStatus::Done)
}

fn answer(request: &Request) -> anyhow::Result<Answer> {
    let model = model(&load(request)?)?;
    let mut workload = ModelWorkload::new(&model, &request.tokens, request.mode, request.threads);
    let mut counters: Vec<Running> = counters::discover(&Roots::default())
        .into_iter()
        .filter(|candidate| request.counters.contains(&candidate.source))
        .filter_map(Running::new)
        .collect();
    let sensors = Machine::new();
    let mut meter = Meter {
        sensors: &sensors,
        counters: &mut counters,
    };
    let effort = Effort {
        samples: request.samples,
        seconds: request.seconds,
        passes: request.passes,
    };
    let (passes, samples) = meter.sample(&mut workload, &mut Calibration::new(), effort);
    Ok(Answer {
        calibration: calibration::DESCRIPTION.to_owned(),
        kernel: model.kernel().name().to_owned(),
        passes,
        samples,
        peak_resident_bytes: peak_resident_bytes(),
        failures: counters.into_iter().filter_map(Running::failure).collect(),
    })
}

fn load(request: &Request) -> anyhow::Result<LoadedCheckpoint> {
    let precision = Precision::ALL
        .into_iter()
        .find(|precision| precision.name() == request.precision)
        .with_context(|| format!("there is no precision `{}`", request.precision))?;
    Ok(load_at_precision(&request.checkpoint, precision)?)
}

/// The model of a checkpoint, with the kernel that suits this machine.
fn model(loaded: &LoadedCheckpoint) -> anyhow::Result<Model> {
    Model::from_checkpoint(&loaded.checkpoint)
        .with_context(|| format!("cannot run the checkpoint `{}`", loaded.name))
}
