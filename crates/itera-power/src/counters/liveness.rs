//! Rest first, then a spin: what a counter says of both decides whether it is believed.

use itera_record::{CounterStatus, UNAVAILABLE};

use super::{Candidate, CounterError, EnergyCounter};
use crate::sensors::Sensors;

/// Time at rest, in seconds, if there is a counter to read; it shows the power that everything else
/// on the machine draws.
const REST_SECONDS: f64 = 2.0;

/// Time at rest without a counter, in seconds: only to see how busy the machine is.
const SHORT_REST_SECONDS: f64 = 0.5;

/// Time of the calibration spin, in seconds. Counters are brought up to date every millisecond or so.
const SPIN_SECONDS: f64 = 0.3;

/// What the machine did while this program slept.
pub(crate) struct Rest {
    /// Watts of each candidate, null where it could not be read twice.
    watts: Vec<Option<f64>>,
    /// CPU time of all processes over cores and wall time, 0 to 1.
    pub(crate) busy_share: Option<f64>,
}

/// The same register by two ways: the powercap tree and the performance counters.
const SAME_REGISTER: [(&str, &str); 3] = [
    ("rapl:package", "perf:energy-pkg"),
    ("rapl:dram", "perf:energy-ram"),
    ("rapl:psys", "perf:energy-psys"),
];

/// Sleeps, and reads the candidates before and after.
pub(crate) fn rest(candidates: &mut [Candidate], sensors: &dyn Sensors) -> Rest {
    let any = candidates.iter().any(|candidate| candidate.counter.is_ok());
    let (before, started) = (read_all(candidates), sensors.wall_seconds());
    let ticks = sensors.busy_ticks();
    sensors.sleep(if any {
        REST_SECONDS
    } else {
        SHORT_REST_SECONDS
    });
    let seconds = sensors.wall_seconds() - started;
    let after = read_all(candidates);
    let busy_share = ticks.zip(sensors.busy_ticks()).and_then(|(before, after)| {
        let total = after
            .total
            .checked_sub(before.total)
            .filter(|total| *total > 0)?;
        let busy = after.busy.saturating_sub(before.busy);
        Some((busy as f64 / total as f64).min(1.0))
    });
    let pairs = before.into_iter().zip(after);
    Rest {
        watts: pairs
            .map(|(before, after)| Some((after? - before?).max(0.0) / seconds))
            .collect(),
        busy_share,
    }
}

/// Power of a counter at rest, in watts; none if there is no such counter or it was not read twice.
pub(crate) fn idle_watts(candidates: &[Candidate], rest: &Rest, source: &str) -> Option<f64> {
    let position = candidates
        .iter()
        .position(|candidate| candidate.source == source)?;
    rest.watts[position]
}

/// Spins, and believes the candidates that advance meanwhile; of two that count the same, the first.
pub(crate) fn believe(
    candidates: Vec<Candidate>,
    rest: &Rest,
    sensors: &dyn Sensors,
    spin: &mut dyn FnMut(),
) -> Vec<CounterStatus> {
    let mut watched: Vec<Watched> = candidates.into_iter().map(Watched::new).collect();
    let started = sensors.wall_seconds();
    let mut seconds = 0.0;
    while seconds < SPIN_SECONDS {
        spin();
        seconds = sensors.wall_seconds() - started;
        watched.iter_mut().for_each(Watched::look);
    }
    let pairs = watched.into_iter().zip(&rest.watts);
    let mut all: Vec<CounterStatus> = pairs
        .map(|(watched, idle)| watched.status(*idle, seconds))
        .collect();
    for (tree, event) in SAME_REGISTER {
        let is_read =
            |status: &&CounterStatus| status.source.starts_with(tree) && status.reason.is_none();
        let Some(used) = all.iter().find(is_read).map(|status| status.source.clone()) else {
            continue;
        };
        let twice = all
            .iter_mut()
            .find(|status| status.source == event && status.reason.is_none());
        if let Some(status) = twice {
            *status = unavailable(event.to_owned(), &CounterError::SameRegister { used });
        }
    }
    all
}

/// The status of a counter that is not read.
fn unavailable(source: String, error: &CounterError) -> CounterStatus {
    CounterStatus {
        source,
        method: UNAVAILABLE.to_owned(),
        reason: Some(error.to_string()),
        idle_watts: None,
        idle_after_watts: None,
        spin_watts: None,
        step_joules: None,
    }
}

fn read_all(candidates: &mut [Candidate]) -> Vec<Option<f64>> {
    let read = |candidate: &mut Candidate| candidate.counter.as_mut().ok()?.joules().ok();
    candidates.iter_mut().map(read).collect()
}

/// A candidate during the spin.
struct Watched {
    source: String,
    counter: Result<Box<dyn EnergyCounter>, CounterError>,
    first: f64,
    last: f64,
    /// The smallest step seen, in joules.
    step: Option<f64>,
}

impl Watched {
    fn new(candidate: Candidate) -> Self {
        let Candidate { source, counter } = candidate;
        let mut watched = Self {
            source,
            counter,
            first: 0.0,
            last: 0.0,
            step: None,
        };
        watched.first = watched.read().unwrap_or(0.0);
        watched.last = watched.first;
        watched
    }

    /// The counter's value; a counter that fails is none from then on.
    fn read(&mut self) -> Option<f64> {
        match self.counter.as_mut().ok()?.joules() {
            Ok(joules) => Some(joules),
            Err(error) => {
                self.counter = Err(error);
                None
            }
        }
    }

    fn look(&mut self) {
        let Some(joules) = self.read() else { return };
        let step = joules - self.last;
        if step > 0.0 {
            self.step = Some(self.step.map_or(step, |least| least.min(step)));
        }
        self.last = joules;
    }

    fn status(self, idle_watts: Option<f64>, seconds: f64) -> CounterStatus {
        let joules = self.last - self.first;
        match (self.counter, self.step) {
            (Ok(_), Some(step)) if joules > 0.0 => CounterStatus {
                method: format!("measured({})", self.source),
                source: self.source,
                reason: None,
                idle_watts,
                idle_after_watts: None,
                spin_watts: Some(joules / seconds),
                step_joules: Some(step),
            },
            (Ok(_), _) => unavailable(self.source, &CounterError::Frozen { seconds }),
            (Err(error), _) => unavailable(self.source, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensors::fake::{Fake, FakeCounter};

    /// Rests and spins in steps of 10 ms of a clock that only moves when told.
    fn beliefs(candidates: Vec<Candidate>, clock: &Fake) -> (Vec<CounterStatus>, Option<f64>) {
        let mut candidates = candidates;
        let rest = rest(&mut candidates, clock);
        let busy = rest.busy_share;
        let beliefs = believe(candidates, &rest, clock, &mut || clock.spend(0.01, 0.01));
        (beliefs, busy)
    }

    fn candidate(source: &str, counter: FakeCounter) -> Candidate {
        Candidate {
            source: source.to_owned(),
            counter: Ok(Box::new(counter)),
        }
    }

    #[test]
    fn a_counter_that_advances_is_believed_with_its_powers_and_its_step() {
        let clock = Fake::new();
        // 2 W at rest and 6 W for each busy core: 8 W while one spins.
        let (beliefs, busy) = beliefs(
            vec![candidate(
                "rapl:package-0",
                FakeCounter::new(&clock, 2.0, 6.0),
            )],
            &clock,
        );
        let status = &beliefs[0];
        assert_eq!(status.method, "measured(rapl:package-0)");
        assert!(status.reason.is_none());
        assert!((status.idle_watts.unwrap() - 2.0).abs() < 1e-9);
        assert!((status.spin_watts.unwrap() - 8.0).abs() < 1e-9);
        assert!((status.step_joules.unwrap() - 0.08).abs() < 1e-9);
        assert_eq!(busy, Some(0.0));
    }

    #[test]
    fn a_frozen_counter_is_unavailable_and_not_zero() {
        let clock = Fake::new();
        let (beliefs, _) = beliefs(
            vec![candidate(
                "perf:energy-psys",
                FakeCounter::new(&clock, 0.0, 0.0),
            )],
            &clock,
        );
        let status = &beliefs[0];
        assert_eq!(status.method, UNAVAILABLE);
        assert!(
            status
                .reason
                .as_ref()
                .unwrap()
                .contains("it stood still during a spin of 0.3 s")
        );
        assert_eq!(
            (status.idle_watts, status.spin_watts, status.step_joules),
            (None, None, None)
        );
    }

    #[test]
    fn a_counter_that_fails_during_the_spin_says_why() {
        let clock = Fake::new();
        let failing = FakeCounter::new(&clock, 2.0, 6.0).failing_after(10);
        let (beliefs, _) = beliefs(vec![candidate("rapl:package-0", failing)], &clock);
        assert_eq!(beliefs[0].method, UNAVAILABLE);
        assert!(beliefs[0].reason.as_ref().unwrap().contains("it was reset"));
    }

    /// Rests and spins over a powercap tree whose counter goes up by `step_uj` each 10 ms of the spin.
    fn tree_belief(start_uj: u64, step_uj: u64) -> CounterStatus {
        const RANGE_UJ: u64 = 262_143_328_850;
        let dir = tempfile::tempdir().unwrap();
        let zone = dir.path().join("intel-rapl:0");
        std::fs::create_dir_all(&zone).unwrap();
        let write = |name: &str, text: String| std::fs::write(zone.join(name), text).unwrap();
        write("name", "package-0\n".into());
        write("max_energy_range_uj", format!("{RANGE_UJ}\n"));
        write("energy_uj", format!("{start_uj}\n"));
        let roots = crate::counters::Roots {
            powercap: dir.path().to_owned(),
            perf: dir.path().join("none"),
        };
        let mut candidates = crate::counters::discover(&roots);
        let clock = Fake::new();
        let rest = rest(&mut candidates, &clock);
        let mut energy = start_uj;
        let beliefs = believe(candidates, &rest, &clock, &mut || {
            clock.spend(0.01, 0.01);
            energy = (energy + step_uj) % RANGE_UJ;
            write("energy_uj", format!("{energy}\n"));
        });
        let names: Vec<_> = beliefs
            .iter()
            .map(|status| status.source.as_str())
            .collect();
        assert_eq!(names, ["rapl:package-0", "perf:energy-pkg"]);
        assert_eq!(beliefs[1].method, UNAVAILABLE);
        beliefs[0].clone()
    }

    #[test]
    fn a_tree_that_counts_is_believed_across_its_wrap_and_a_frozen_one_is_not() {
        // 80 mJ each 10 ms, and a wrap on the way.
        let status = tree_belief(262_143_000_000, 80_000);
        assert_eq!(status.method, "measured(rapl:package-0)");
        assert!(
            (status.spin_watts.unwrap() - 8.0).abs() < 1e-9,
            "{status:?}"
        );
        assert!(
            (status.step_joules.unwrap() - 0.08).abs() < 1e-9,
            "{status:?}"
        );
        let status = tree_belief(1000, 0);
        assert_eq!(status.method, UNAVAILABLE);
        assert!(status.reason.unwrap().contains("it stood still"));
    }

    #[test]
    fn one_register_is_read_once() {
        let clock = Fake::new();
        let counter = || FakeCounter::new(&clock, 2.0, 6.0);
        let (found, _) = beliefs(
            vec![
                candidate("rapl:package-0", counter()),
                candidate("perf:energy-pkg", counter()),
                candidate("perf:energy-psys", counter()),
            ],
            &clock,
        );
        let reasons: Vec<_> = found
            .iter()
            .map(|status| status.reason.as_deref())
            .collect();
        let twice = "it counts the same register as rapl:package-0, which is read";
        assert_eq!(reasons, [None, Some(twice), None]);
        // Where the tree cannot be read, the event is all there is.
        let (found, _) = beliefs(
            vec![
                candidate("rapl:package-0", counter().failing_after(1)),
                candidate("perf:energy-pkg", counter()),
            ],
            &clock,
        );
        assert_eq!(found[1].method, "measured(perf:energy-pkg)");
    }
}
