//! A machine with its counters and platforms, on which jobs are measured one after the other.

use anyhow::Context as _;
use itera_record::{CounterStatus, PowerMode, PowerPlatform, PowerRow};

use crate::{
    calibration::Calibration,
    counters::{self, Candidate, Roots},
    jobs::Job,
    measure::{Effort, LiveCounter, Meter, Workload as _},
    model,
    options::Options,
    row::{self, Memory, Sources},
    sensors::Sensors,
    workload::ModelWorkload,
};

/// Share of its power limit that a machine is taken to draw at rest, as for the built-in platforms.
const IDLE_SHARE: f64 = 0.2;

/// What was found out about the machine before the measurement.
pub(crate) struct Finding {
    /// What records say about the counters.
    pub(crate) status: Vec<CounterStatus>,
    pub(crate) live: Vec<LiveCounter>,
    pub(crate) busy_share: Option<f64>,
    /// The machine's own power limit, if it tells.
    pub(crate) this_machine: Option<PowerPlatform>,
}

impl Finding {
    pub(crate) fn has_counter(&self) -> bool {
        !self.live.is_empty()
    }
}

/// Looks for counters at `roots`, first at rest, then in a spin of the calibration workload.
pub(crate) fn look(roots: &Roots, sensors: &dyn Sensors) -> Finding {
    let mut candidates: Vec<Candidate> = counters::discover(roots);
    let rest = counters::rest(&mut candidates, sensors);
    let mut calibration = Calibration::new();
    let beliefs = counters::believe(candidates, &rest, sensors, &mut || calibration.run(1));
    Finding {
        status: beliefs.iter().map(|belief| belief.status.clone()).collect(),
        live: beliefs.into_iter().filter_map(LiveCounter::new).collect(),
        busy_share: rest.busy_share,
        this_machine: counters::power_limit_watts(&roots.powercap).map(this_machine),
    }
}

/// The machine itself as a platform.
fn this_machine(limit_watts: f64) -> PowerPlatform {
    PowerPlatform {
        name: "this-machine".to_owned(),
        description: "the processor that measures".to_owned(),
        tdp_watts: limit_watts,
        idle_watts: IDLE_SHARE * limit_watts,
        relative_speed: Some(1.0),
        source: "long-term power limit of its powercap tree; rest a fifth of it by assumption"
            .to_owned(),
        date: itera_cli::created_at()[..10].to_owned(),
    }
}

/// Where jobs are measured.
pub(crate) struct Bench<'a> {
    options: &'a Options,
    sensors: &'a dyn Sensors,
    pub(crate) platforms: Vec<PowerPlatform>,
    live: Vec<LiveCounter>,
    /// Name and reason of the counters that are not believed.
    dead: Vec<(String, String)>,
    calibration: Calibration,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(finding: Finding, options: &'a Options, sensors: &'a dyn Sensors) -> Self {
        let mut platforms = options.platforms.clone();
        if !options.platforms_chosen {
            platforms.extend(finding.this_machine);
        }
        let dead = finding.status.into_iter();
        Self {
            options,
            sensors,
            platforms,
            live: finding.live,
            dead: dead
                .filter_map(|status| Some((status.source, status.reason?)))
                .collect(),
            calibration: Calibration::new(),
        }
    }

    /// One row for each mode. `done` is called after each sample.
    pub(crate) fn measure(
        &mut self,
        job: &Job,
        modes: &[PowerMode],
        done: &mut dyn FnMut(),
    ) -> anyhow::Result<Vec<PowerRow>> {
        let protocol = &self.options.protocol;
        let effort = Effort {
            samples: protocol.samples,
            min_seconds: protocol.min_seconds,
        };
        self.sensors.restart_peak();
        let before = self.sensors.resident_bytes();
        let model = model(job)?;
        let mut rows = Vec::new();
        for &mode in modes {
            let mut workload = ModelWorkload::new(&model, &job.tokens, mode, self.options.threads);
            let mut meter = Meter {
                sensors: self.sensors,
                counters: &mut self.live,
            };
            let sampled = meter.sample(&mut workload, &mut self.calibration, effort, done);
            let memory = Memory {
                before,
                after: self.sensors.resident_bytes(),
                peak: self.sensors.peak_resident_bytes(),
            };
            let sources = Sources {
                platforms: &self.platforms,
                live: &self.live,
                dead: &self.dead,
            };
            let row = row::of(job, &model, mode, sampled, &memory, &sources, self.options);
            rows.push(row.context("a clock gave no finite time; this is a fault of the program")?);
        }
        Ok(rows)
    }
}
