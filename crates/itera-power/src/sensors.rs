//! Clocks of this process, behind a trait so that statistics and tables can be tested on a clock that
//! moves when told; its memory, and the cores of the machine.

use std::{num::NonZero, thread, time::Duration, time::Instant};

use cpu_time::ProcessTime;

pub(crate) use proc::peak_resident_bytes;

/// What can be read while a workload runs.
pub(crate) trait Sensors {
    /// Seconds since some fixed moment.
    fn wall_seconds(&self) -> f64;
    /// CPU time of all threads of this process, in seconds.
    fn cpu_seconds(&self) -> f64;
    /// Waits without work.
    fn sleep(&self, seconds: f64);
    /// CPU time of all processes; none if the system does not tell.
    fn busy_ticks(&self) -> Option<Ticks>;
}

/// CPU time of the whole machine since it started, in the system's units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    /// Time that some process ran.
    pub(crate) busy: u64,
    /// All time, of all cores.
    pub(crate) total: u64,
}

/// The real ones.
#[derive(Debug)]
pub(crate) struct Machine {
    started: Instant,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Sensors for Machine {
    fn wall_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn cpu_seconds(&self) -> f64 {
        ProcessTime::now().as_duration().as_secs_f64()
    }

    fn sleep(&self, seconds: f64) {
        thread::sleep(Duration::from_secs_f64(seconds));
    }

    fn busy_ticks(&self) -> Option<Ticks> {
        proc::busy_ticks()
    }
}

/// Cores of the machine, whether or not this process may use them: a power limit is one of all. Processors
/// that share a core count once where the system tells.
pub(crate) fn cores() -> u64 {
    let usable = || thread::available_parallelism().map_or(1, NonZero::get) as u64;
    proc::cores().unwrap_or_else(usable)
}

/// The files of `/proc`.
#[cfg(target_os = "linux")]
mod proc {
    use std::collections::BTreeSet;

    use procfs::{CpuInfo, Current as _, CurrentSI as _, KernelStats, process::Process};

    use super::Ticks;

    pub(super) fn busy_ticks() -> Option<Ticks> {
        let time = KernelStats::current().ok()?.total;
        let idle = time.idle + time.iowait.unwrap_or(0);
        let busy = time.user
            + time.nice
            + time.system
            + time.irq.unwrap_or(0)
            + time.softirq.unwrap_or(0)
            + time.steal.unwrap_or(0);
        Some(Ticks {
            busy,
            total: busy + idle,
        })
    }

    /// The most memory of this process that was in RAM, in bytes.
    pub(crate) fn peak_resident_bytes() -> Option<u64> {
        let kib = Process::myself().ok()?.status().ok()?.vmhwm?;
        Some(kib * 1024)
    }

    pub(super) fn cores() -> Option<u64> {
        let info = CpuInfo::current().ok()?;
        let processors = info.num_cores();
        let core = |cpu| {
            let fields = info.get_info(cpu)?;
            Some((*fields.get("physical id")?, *fields.get("core id")?))
        };
        let cores: Option<BTreeSet<_>> = (0..processors).map(core).collect();
        let count = cores.map_or(processors, |cores| cores.len());
        (count > 0).then_some(count as u64)
    }
}

/// Systems without `/proc`.
#[cfg(not(target_os = "linux"))]
mod proc {
    use super::Ticks;

    pub(super) const fn busy_ticks() -> Option<Ticks> {
        None
    }

    pub(crate) const fn peak_resident_bytes() -> Option<u64> {
        None
    }

    pub(super) const fn cores() -> Option<u64> {
        None
    }
}

/// A clock and a counter for tests; they move when told.
#[cfg(test)]
pub(crate) mod fake {
    use std::{cell::Cell, rc::Rc};

    use super::{Sensors, Ticks};
    use crate::counters::{CounterError, EnergyCounter};

    /// A machine of one process. Clones share the clock.
    #[derive(Clone, Default)]
    pub(crate) struct Fake {
        wall: Rc<Cell<f64>>,
        cpu: Rc<Cell<f64>>,
    }

    impl Fake {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        /// Lets time pass, some of it on the processor.
        pub(crate) fn spend(&self, wall: f64, cpu: f64) {
            self.wall.set(self.wall.get() + wall);
            self.cpu.set(self.cpu.get() + cpu);
        }
    }

    impl Sensors for Fake {
        fn wall_seconds(&self) -> f64 {
            self.wall.get()
        }

        fn cpu_seconds(&self) -> f64 {
            self.cpu.get()
        }

        fn sleep(&self, seconds: f64) {
            self.spend(seconds, 0.0);
        }

        fn busy_ticks(&self) -> Option<Ticks> {
            let ticks = |seconds: f64| (seconds * 1000.0) as u64;
            Some(Ticks {
                busy: ticks(self.cpu.get()),
                total: ticks(self.wall.get()),
            })
        }
    }

    /// Counts `idle_watts` all the time and `core_watts` for CPU time.
    pub(crate) struct FakeCounter {
        clock: Fake,
        idle_watts: f64,
        core_watts: f64,
        reads_left: u64,
    }

    impl FakeCounter {
        pub(crate) fn new(clock: &Fake, idle_watts: f64, core_watts: f64) -> Self {
            Self {
                clock: clock.clone(),
                idle_watts,
                core_watts,
                reads_left: u64::MAX,
            }
        }

        /// The same, but reset after so many reads.
        pub(crate) fn failing_after(mut self, reads: u64) -> Self {
            self.reads_left = reads;
            self
        }
    }

    impl EnergyCounter for FakeCounter {
        fn joules(&mut self) -> Result<f64, CounterError> {
            if self.reads_left == 0 {
                return Err(CounterError::Implausible {
                    joules: 1e9,
                    seconds: 0.1,
                });
            }
            self.reads_left -= 1;
            Ok(self.idle_watts * self.clock.wall_seconds()
                + self.core_watts * self.clock.cpu_seconds())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_tells_its_clocks_and_memory() {
        let machine = Machine::new();
        let peak = peak_resident_bytes().unwrap();
        assert!(peak > 100_000, "{peak}");
        assert!(cores() >= 1);
        let ticks = machine.busy_ticks().unwrap();
        assert!(ticks.total >= ticks.busy && ticks.total > 0, "{ticks:?}");
        let before = machine.cpu_seconds();
        let mut x = 1_u64;
        for i in 0..1_000_000 {
            x = std::hint::black_box(x.wrapping_mul(3).wrapping_add(i));
        }
        assert!(
            machine.cpu_seconds() > before && machine.wall_seconds() > 0.0,
            "{x}"
        );
    }
}
