//! The loop that measures: calibration, sample, calibration, sample, calibration.
//!
//! Time, CPU time and energy of a sample are read at the same two moments, so that they belong to the
//! same window. The calibration workload runs between the samples; a sample is compared with the mean of
//! those before and after it, so that what changes slowly cancels.

use itera_record::{CounterSamples, PowerSamples};
use serde::{Deserialize, Serialize};

use crate::{
    counters::{Candidate, EnergyCounter},
    sensors::Sensors,
};

/// Time of the calibration workload between two samples, as a share of that of a sample.
const CALIBRATION_SHARE: f64 = 0.25;

/// Time after which a trial tells how long a pass takes, in seconds.
const TRIAL_SECONDS: f64 = 0.02;

/// Something that can be done many times.
pub(crate) trait Workload {
    /// Does it so many times.
    fn run(&mut self, passes: u64);
}

/// A counter that is read.
pub(crate) struct Running {
    source: String,
    counter: Box<dyn EnergyCounter>,
    /// Why it failed during the measurement, if it did.
    failure: Option<String>,
}

impl Running {
    /// The counter of a candidate, if it is one.
    pub(crate) fn new(candidate: Candidate) -> Option<Self> {
        Some(Self {
            source: candidate.source,
            counter: candidate.counter.ok()?,
            failure: None,
        })
    }

    /// The counter and why it failed, if it did.
    pub(crate) fn failure(self) -> Option<(String, String)> {
        Some((self.source, self.failure?))
    }

    /// Joules so far; none from the first failure on.
    fn read(&mut self) -> Option<f64> {
        if self.failure.is_some() {
            return None;
        }
        match self.counter.joules() {
            Ok(joules) => Some(joules),
            Err(error) => {
                self.failure = Some(error.to_string());
                None
            }
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) samples: u64,
    /// Time that the samples together shall take, in seconds.
    pub(crate) seconds: f64,
    /// Passes of each sample; none for as many as take this time.
    pub(crate) passes: Option<Passes>,
}

/// Passes of a sample and of the calibration between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passes {
    pub(crate) workload: u64,
    pub(crate) calibration: u64,
}

/// Everything that is read, and what of it was read.
pub(crate) struct Meter<'a> {
    pub(crate) sensors: &'a dyn Sensors,
    pub(crate) counters: &'a mut [Running],
}

/// What was read of one window.
struct Window {
    wall: f64,
    cpu: f64,
    /// Of each counter; none if it failed.
    joules: Vec<Option<f64>>,
}

/// The windows of the calibration workload, one more than samples.
struct Between<'w> {
    windows: &'w [Window],
    /// Passes in each window.
    passes: u64,
}

impl Between<'_> {
    /// A value of one pass, mean of those before and after each sample.
    fn around(&self, value: impl Fn(&Window) -> f64) -> Vec<f64> {
        let mean = |pair: &[Window]| f64::midpoint(value(&pair[0]), value(&pair[1]));
        self.windows
            .windows(2)
            .map(|pair| mean(pair) / self.passes as f64)
            .collect()
    }
}

impl Meter<'_> {
    fn window(&mut self, work: impl FnOnce()) -> Window {
        let before: Vec<_> = self.counters.iter_mut().map(Running::read).collect();
        let (cpu, wall) = (self.sensors.cpu_seconds(), self.sensors.wall_seconds());
        work();
        let (wall, cpu) = (
            self.sensors.wall_seconds() - wall,
            self.sensors.cpu_seconds() - cpu,
        );
        let after = self.counters.iter_mut().map(Running::read);
        let pairs = before.into_iter().zip(after);
        let joules = pairs
            .map(|(before, after)| Some((after? - before?).max(0.0)))
            .collect();
        Window {
            wall,
            cpu: cpu.max(0.0),
            joules,
        }
    }

    /// Passes that take about `seconds`, at least one. Runs the workload, so that it is warm.
    fn passes_in(&mut self, workload: &mut dyn Workload, seconds: f64) -> u64 {
        workload.run(1);
        let mut passes = 1;
        loop {
            let wall = self.window(|| workload.run(passes)).wall;
            if wall >= TRIAL_SECONDS.min(seconds / 2.0) || passes >= 1 << 24 {
                let pass = wall.max(1e-9) / passes as f64;
                return ((seconds / pass).ceil() as u64).max(1);
            }
            passes *= 2;
        }
    }

    /// Measures a workload; returns the passes of each sample and what was read.
    pub(crate) fn sample(
        &mut self,
        workload: &mut dyn Workload,
        calibration: &mut dyn Workload,
        effort: Effort,
    ) -> (Passes, PowerSamples) {
        let seconds = effort.seconds / effort.samples as f64;
        let passes = match effort.passes {
            // Once, so that both are warm.
            Some(passes) => {
                workload.run(passes.workload);
                passes
            }
            None => Passes {
                calibration: self.passes_in(calibration, seconds * CALIBRATION_SHARE),
                workload: self.passes_in(workload, seconds),
            },
        };
        calibration.run(passes.calibration);
        let (mut windows, mut between) = (Vec::new(), Vec::new());
        between.push(self.window(|| calibration.run(passes.calibration)));
        for _ in 0..effort.samples {
            windows.push(self.window(|| workload.run(passes.workload)));
            between.push(self.window(|| calibration.run(passes.calibration)));
        }
        let between = Between {
            windows: &between,
            passes: passes.calibration,
        };
        let samples = PowerSamples {
            wall_seconds: windows.iter().map(|window| window.wall).collect(),
            cpu_seconds: windows.iter().map(|window| window.cpu).collect(),
            calibration_seconds: between.around(|window| window.wall),
            calibration_cpu_seconds: between.around(|window| window.cpu),
            counters: self.counter_samples(&windows, &between),
        };
        (passes, samples)
    }

    /// The energies of the counters that have not failed.
    fn counter_samples(&self, windows: &[Window], between: &Between<'_>) -> Vec<CounterSamples> {
        let alive = |(_, counter): &(usize, &Running)| counter.failure.is_none();
        let counters = self.counters.iter().enumerate().filter(alive);
        counters
            .map(|(i, counter)| CounterSamples {
                source: counter.source.clone(),
                joules: windows
                    .iter()
                    .map(|window| window.joules[i].unwrap_or(0.0))
                    .collect(),
                calibration_joules: between.around(|window| window.joules[i].unwrap_or(0.0)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensors::fake::{Fake, FakeCounter};

    /// Spends a fixed time a pass, longer with every call.
    struct Mock<'a> {
        clock: &'a Fake,
        wall: f64,
        cpu: f64,
        drift: f64,
    }

    impl<'a> Mock<'a> {
        fn new(clock: &'a Fake, wall: f64, cpu: f64) -> Self {
            Self {
                clock,
                wall,
                cpu,
                drift: 0.0,
            }
        }
    }

    impl Workload for Mock<'_> {
        fn run(&mut self, passes: u64) {
            self.clock
                .spend(self.wall * passes as f64, self.cpu * passes as f64);
            self.wall += self.drift;
        }
    }

    fn running(counter: FakeCounter) -> Running {
        Running::new(Candidate {
            source: "rapl:package-0".into(),
            counter: Ok(Box::new(counter)),
        })
        .unwrap()
    }

    fn effort(samples: u64, seconds: f64) -> Effort {
        Effort {
            samples,
            seconds,
            passes: None,
        }
    }

    #[test]
    fn passes_fill_the_time_and_windows_are_exact() {
        let clock = Fake::new();
        let mut counters = [running(FakeCounter::new(&clock, 2.0, 6.0))];
        let mut meter = Meter {
            sensors: &clock,
            counters: &mut counters,
        };
        // 4 ms and half of it on the processor; 1 ms of calibration.
        let mut work = Mock::new(&clock, 0.004, 0.002);
        let mut calibration = Mock::new(&clock, 0.001, 0.001);
        let (passes, samples) = meter.sample(&mut work, &mut calibration, effort(5, 0.1));
        let expected = Passes {
            workload: 5,
            calibration: 5,
        };
        assert_eq!(passes, expected);
        let all =
            |values: &[f64], expected: f64| values.iter().all(|v| (v - expected).abs() < 1e-9);
        assert!(all(&samples.wall_seconds, 0.02) && all(&samples.cpu_seconds, 0.01));
        assert!(all(&samples.calibration_seconds, 0.001));
        // 2 W for 20 ms and 6 W for 10 ms; 8 W for 1 ms.
        assert!(all(&samples.counters[0].joules, 0.1));
        assert!(all(&samples.counters[0].calibration_joules, 0.008));
    }

    #[test]
    fn another_process_takes_the_passes_of_the_first() {
        let clock = Fake::new();
        let mut meter = Meter {
            sensors: &clock,
            counters: &mut [],
        };
        let given = Passes {
            workload: 3,
            calibration: 2,
        };
        let effort = Effort {
            passes: Some(given),
            ..effort(2, 9.0)
        };
        let mut work = Mock::new(&clock, 0.004, 0.004);
        let mut calibration = Mock::new(&clock, 0.001, 0.001);
        let (passes, samples) = meter.sample(&mut work, &mut calibration, effort);
        assert_eq!(passes, given);
        assert!(
            samples
                .wall_seconds
                .iter()
                .all(|s| (s - 0.012).abs() < 1e-9)
        );
    }

    #[test]
    fn a_sample_is_compared_with_the_calibration_on_both_sides() {
        let clock = Fake::new();
        let mut meter = Meter {
            sensors: &clock,
            counters: &mut [],
        };
        let mut work = Mock::new(&clock, 0.004, 0.004);
        let mut calibration = Mock {
            drift: 0.001,
            ..Mock::new(&clock, 0.001, 0.001)
        };
        let (passes, samples) = meter.sample(&mut work, &mut calibration, effort(2, 0.0));
        assert_eq!(passes.workload, 1);
        // Three to get warm, of 1 to 3 ms, then 4, 5 and 6 ms around the samples.
        let expected = [0.0045, 0.0055];
        for (found, expected) in samples.calibration_seconds.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
    }

    #[test]
    fn a_counter_that_fails_on_the_way_gives_no_samples_and_a_reason() {
        let clock = Fake::new();
        let counter = FakeCounter::new(&clock, 2.0, 6.0).failing_after(9);
        let mut counters = [running(counter)];
        let mut meter = Meter {
            sensors: &clock,
            counters: &mut counters,
        };
        let mut work = Mock::new(&clock, 0.004, 0.002);
        let mut calibration = Mock::new(&clock, 0.001, 0.001);
        let (_, samples) = meter.sample(&mut work, &mut calibration, effort(5, 0.0));
        assert!(samples.counters.is_empty());
        let [counter] = counters;
        let (source, reason) = counter.failure().unwrap();
        assert_eq!(source, "rapl:package-0");
        assert!(reason.contains("it was reset"), "{reason}");
    }
}
