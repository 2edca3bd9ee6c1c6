//! The loop that measures: calibration, sample, calibration, sample, calibration.
//!
//! Time, CPU time and energy of a sample are read at the same two moments, so that they belong to the
//! same window. The calibration workload runs between the samples; a sample is compared with the mean of
//! those before and after it, so that what changes slowly cancels.

use itera_record::{CounterSamples, PowerSamples};

use crate::{
    counters::{Belief, EnergyCounter},
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

/// A counter that is believed.
pub(crate) struct LiveCounter {
    pub(crate) source: String,
    pub(crate) idle_watts: Option<f64>,
    pub(crate) step_joules: f64,
    counter: Box<dyn EnergyCounter>,
    /// Why it failed during the measurement, if it did.
    pub(crate) failure: Option<String>,
}

impl LiveCounter {
    /// The counter of a belief, if it is one.
    pub(crate) fn new(belief: Belief) -> Option<Self> {
        let counter = belief.counter?;
        let status = belief.status;
        Some(Self {
            source: status.source,
            idle_watts: status.idle_watts,
            step_joules: status.step_joules.unwrap_or(0.0),
            counter,
            failure: None,
        })
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
    pub(crate) min_seconds: f64,
}

/// Everything that is read, and what of it was read.
pub(crate) struct Meter<'a> {
    pub(crate) sensors: &'a dyn Sensors,
    pub(crate) counters: &'a mut [LiveCounter],
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
        let before: Vec<_> = self.counters.iter_mut().map(LiveCounter::read).collect();
        let (cpu, wall) = (self.sensors.cpu_seconds(), self.sensors.wall_seconds());
        work();
        let (wall, cpu) = (
            self.sensors.wall_seconds() - wall,
            self.sensors.cpu_seconds() - cpu,
        );
        let after = self.counters.iter_mut().map(LiveCounter::read);
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

    /// Measures a workload; returns the passes of each sample and what was read. `done` is called after
    /// each sample.
    pub(crate) fn sample(
        &mut self,
        workload: &mut dyn Workload,
        calibration: &mut dyn Workload,
        effort: Effort,
        done: &mut dyn FnMut(),
    ) -> (u64, PowerSamples) {
        let seconds = effort.min_seconds / effort.samples as f64;
        let calibration_passes = self.passes_in(calibration, seconds * CALIBRATION_SHARE);
        let passes = self.passes_in(workload, seconds);
        let (mut windows, mut between) = (Vec::new(), Vec::new());
        let mut resident_bytes = Vec::new();
        between.push(self.window(|| calibration.run(calibration_passes)));
        for _ in 0..effort.samples {
            windows.push(self.window(|| workload.run(passes)));
            resident_bytes.extend(self.sensors.resident_bytes());
            between.push(self.window(|| calibration.run(calibration_passes)));
            done();
        }
        if resident_bytes.len() != windows.len() {
            resident_bytes.clear();
        }
        let between = Between {
            windows: &between,
            passes: calibration_passes,
        };
        let samples = PowerSamples {
            wall_seconds: windows.iter().map(|window| window.wall).collect(),
            cpu_seconds: windows.iter().map(|window| window.cpu).collect(),
            calibration_seconds: between.around(|window| window.wall),
            calibration_cpu_seconds: between.around(|window| window.cpu),
            resident_bytes,
            counters: self.counter_samples(&windows, &between),
        };
        (passes, samples)
    }

    /// The energies of the counters that have not failed.
    fn counter_samples(&self, windows: &[Window], between: &Between<'_>) -> Vec<CounterSamples> {
        let alive = |(_, counter): &(usize, &LiveCounter)| counter.failure.is_none();
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
    use itera_record::CounterStatus;

    use super::*;
    use crate::sensors::fake::{Fake, FakeCounter};

    /// Spends a fixed time a pass, longer with every call.
    struct Mock<'a> {
        clock: &'a Fake,
        wall: f64,
        cpu: f64,
        drift: f64,
    }

    impl Workload for Mock<'_> {
        fn run(&mut self, passes: u64) {
            self.clock
                .spend(self.wall * passes as f64, self.cpu * passes as f64);
            self.wall += self.drift;
        }
    }

    fn live(clock: &Fake, counter: FakeCounter) -> LiveCounter {
        let _ = clock;
        let status = CounterStatus {
            source: "rapl:package-0".into(),
            method: "measured(rapl:package-0)".into(),
            reason: None,
            idle_watts: Some(2.0),
            spin_watts: None,
            step_joules: Some(0.001),
        };
        LiveCounter::new(Belief {
            status,
            counter: Some(Box::new(counter)),
        })
        .unwrap()
    }

    #[test]
    fn passes_fill_the_time_and_windows_are_exact() {
        let clock = Fake::new();
        let mut counters = [live(&clock, FakeCounter::new(&clock, 2.0, 6.0))];
        let mut meter = Meter {
            sensors: &clock,
            counters: &mut counters,
        };
        // 4 ms and half of it on the processor; 1 ms of calibration.
        let mut work = Mock {
            clock: &clock,
            wall: 0.004,
            cpu: 0.002,
            drift: 0.0,
        };
        let mut calibration = Mock {
            clock: &clock,
            wall: 0.001,
            cpu: 0.001,
            drift: 0.0,
        };
        let mut calls = 0;
        let effort = Effort {
            samples: 5,
            min_seconds: 0.1,
        };
        let (passes, samples) =
            meter.sample(&mut work, &mut calibration, effort, &mut || calls += 1);
        assert_eq!((passes, calls), (5, 5));
        let all =
            |values: &[f64], expected: f64| values.iter().all(|v| (v - expected).abs() < 1e-9);
        assert!(all(&samples.wall_seconds, 0.02) && all(&samples.cpu_seconds, 0.01));
        assert!(all(&samples.calibration_seconds, 0.001));
        // 2 W for 20 ms and 6 W for 10 ms; 8 W for 1 ms.
        assert!(all(&samples.counters[0].joules, 0.1));
        assert!(all(&samples.counters[0].calibration_joules, 0.008));
        assert_eq!(samples.resident_bytes, [1_000_000; 5]);
    }

    #[test]
    fn a_sample_is_compared_with_the_calibration_on_both_sides() {
        let clock = Fake::new();
        let mut meter = Meter {
            sensors: &clock,
            counters: &mut [],
        };
        let mut work = Mock {
            clock: &clock,
            wall: 0.004,
            cpu: 0.004,
            drift: 0.0,
        };
        let mut calibration = Mock {
            clock: &clock,
            wall: 0.001,
            cpu: 0.001,
            drift: 0.001,
        };
        let effort = Effort {
            samples: 2,
            min_seconds: 0.0,
        };
        let (passes, samples) = meter.sample(&mut work, &mut calibration, effort, &mut || {});
        assert_eq!(passes, 1);
        // Two trials of 1 and 2 ms, then 3, 4 and 5 ms around the samples.
        let expected = [0.0035, 0.0045];
        for (found, expected) in samples.calibration_seconds.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
    }

    #[test]
    fn a_counter_that_fails_on_the_way_gives_no_samples_and_a_reason() {
        let clock = Fake::new();
        let mut counters = [live(
            &clock,
            FakeCounter::new(&clock, 2.0, 6.0).failing_after(9),
        )];
        let mut meter = Meter {
            sensors: &clock,
            counters: &mut counters,
        };
        let mut work = Mock {
            clock: &clock,
            wall: 0.004,
            cpu: 0.002,
            drift: 0.0,
        };
        let mut calibration = Mock {
            clock: &clock,
            wall: 0.001,
            cpu: 0.001,
            drift: 0.0,
        };
        let effort = Effort {
            samples: 5,
            min_seconds: 0.0,
        };
        let (_, samples) = meter.sample(&mut work, &mut calibration, effort, &mut || {});
        assert!(samples.counters.is_empty());
        assert!(
            counters[0]
                .failure
                .as_ref()
                .unwrap()
                .contains("it was reset")
        );
    }
}
