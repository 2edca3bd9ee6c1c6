//! The machine with its counters, and processes that measure on it one after the other.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use itera_record::{CounterStatus, PowerMode, PowerPlatform};

use crate::{
    calibration::{self, Calibration},
    counters::{self, PowerLimit, Roots},
    jobs::Job,
    measure::Workload as _,
    options::Options,
    platforms::THIS_MACHINE,
    sensors::{self, Sensors},
    worker::{self, Answer, Request},
};

/// Share of its power limit that a machine is taken to draw at rest, as for the built-in platforms.
const IDLE_SHARE: f64 = 0.2;

/// What was found out about the machine before the measurement.
pub(crate) struct Finding {
    /// What records say about the counters.
    pub(crate) counters: Vec<CounterStatus>,
    pub(crate) busy_share: Option<f64>,
    pub(crate) limit: PowerLimit,
}

impl Finding {
    /// The counters that are believed.
    pub(crate) fn believed(&self) -> Vec<String> {
        let read = self
            .counters
            .iter()
            .filter(|status| status.reason.is_none());
        read.map(|status| status.source.clone()).collect()
    }

    /// The machine itself as a platform, if its power limit is one.
    pub(crate) fn this_machine(&self) -> Option<PowerPlatform> {
        let PowerLimit::Watts(limit_watts) = self.limit else {
            return None;
        };
        Some(PowerPlatform {
            name: THIS_MACHINE.to_owned(),
            description: "the processor that measures".to_owned(),
            cores: sensors::cores(),
            tdp_watts: limit_watts,
            idle_watts: IDLE_SHARE * limit_watts,
            relative_speed: Some(1.0),
            source: "long-term power limit of its powercap tree; rest a fifth of it by assumption"
                .to_owned(),
            date: itera_cli::created_at()[..10].to_owned(),
        })
    }
}

/// Looks for counters at `roots`, first at rest, then in a spin of the calibration workload.
pub(crate) fn look(roots: &Roots, sensors: &dyn Sensors) -> Finding {
    let mut candidates = counters::discover(roots);
    let rest = counters::rest(&mut candidates, sensors);
    let mut calibration = Calibration::new();
    Finding {
        busy_share: rest.busy_share,
        counters: counters::believe(candidates, &rest, sensors, &mut || calibration.run(1)),
        limit: counters::power_limit(&roots.powercap),
    }
}

/// Looks after the measurement how much power the machine draws at rest, and how busy it is.
pub(crate) fn look_again(
    roots: &Roots,
    sensors: &dyn Sensors,
    counters: &mut [CounterStatus],
) -> Option<f64> {
    let mut candidates = counters::discover(roots);
    let rest = counters::rest(&mut candidates, sensors);
    for status in counters.iter_mut().filter(|status| status.reason.is_none()) {
        status.idle_after_watts = counters::idle_watts(&candidates, &rest, &status.source);
    }
    rest.busy_share
}

/// Measures a row by new processes of each program in turns; returns the answers of each program. `done` is
/// called after each process.
pub(crate) fn measure(
    programs: &[PathBuf],
    job: &Job,
    mode: PowerMode,
    (options, counters): (&Options, &[String]),
    done: &mut dyn FnMut(),
) -> anyhow::Result<Vec<Vec<Answer>>> {
    let protocol = &options.protocol;
    let mut request = Request {
        checkpoint: job.name.clone(),
        precision: job.loaded.checkpoint.precision().to_string(),
        mode,
        tokens: job.tokens.clone(),
        threads: options.threads,
        samples: protocol.samples,
        seconds: protocol.min_seconds / protocol.processes as f64,
        passes: None,
        counters: counters.to_vec(),
    };
    let mut answers: Vec<Vec<Answer>> = programs.iter().map(|_| Vec::new()).collect();
    for turn in 0..protocol.processes {
        let mut order: Vec<usize> = (0..programs.len()).collect();
        // Who goes first has a machine that another left; so each goes first as often.
        if turn % 2 == 1 {
            order.reverse();
        }
        for i in order {
            let answer = worker::ask(&programs[i], &request)
                .with_context(|| format!("cannot measure `{}`", job.name))?;
            ensure!(
                answer.calibration == calibration::DESCRIPTION,
                "cannot compare: the calibration workload of `{}` is `{}`, and `{}` here; build both alike",
                programs[i].display(),
                answer.calibration,
                calibration::DESCRIPTION
            );
            // All processes do the same work, by the time that the first takes.
            request.passes = Some(answer.passes);
            answers[i].push(answer);
            done();
        }
    }
    Ok(answers)
}
