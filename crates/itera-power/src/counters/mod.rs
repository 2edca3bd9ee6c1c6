//! Energy counters, and whether to believe them.
//!
//! A counter that cannot be read, or that stands still, is no counter: what it would have said is
//! `unavailable` with a reason, and never 0.

mod liveness;
mod perf;
mod powercap;

use std::{io, path::PathBuf};

use thiserror::Error;

pub(crate) use liveness::{believe, idle_watts, rest};
pub(crate) use powercap::{PowerLimit, power_limit};

/// Where the kernel keeps power capping zones.
const POWERCAP_ROOT: &str = "/sys/class/powercap";

/// Where the kernel describes the events of the performance counters called `power`.
const PERF_ROOT: &str = "/sys/bus/event_source/devices/power";

/// More power than any processor package draws. What is above is a counter that was reset, or a power limit
/// that limits nothing.
const MAX_PACKAGE_WATTS: f64 = 2000.0;

/// Counters are brought up to date at times of their own, every millisecond or so.
const UPDATE_SECONDS: f64 = 0.1;

/// A running count of energy.
pub(crate) trait EnergyCounter {
    /// Energy in joules since the counter was opened.
    fn joules(&mut self) -> Result<f64, CounterError>;
}

/// A counter that was looked for.
pub(crate) struct Candidate {
    /// Its name in records, for example `rapl:package-0`.
    pub(crate) source: String,
    /// The counter, or why there is none.
    pub(crate) counter: Result<Box<dyn EnergyCounter>, CounterError>,
}

impl Candidate {
    fn new(
        source: impl Into<String>,
        counter: Result<Box<dyn EnergyCounter>, CounterError>,
    ) -> Self {
        Self {
            source: source.into(),
            counter,
        }
    }
}

/// Where counters are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    pub(crate) powercap: PathBuf,
    pub(crate) perf: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            powercap: POWERCAP_ROOT.into(),
            perf: PERF_ROOT.into(),
        }
    }
}

/// Why a counter gives no energy.
#[derive(Debug, Error)]
pub(crate) enum CounterError {
    #[error("there is no `{}`; virtual machines and containers seldom have one", path.display())]
    Absent { path: PathBuf },
    #[error(
        "no permission to read `{}`; run as root, or `sudo chmod o+r` the file until the next start, or \
         keep it readable by a udev rule", path.display()
    )]
    Permission { path: PathBuf },
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` holds `{text}`, expected {expected}", path.display())]
    Malformed {
        path: PathBuf,
        text: String,
        expected: &'static str,
    },
    #[error(
        "`{}` went down from {before} to {after} uJ and its range is not known, so that a wrap cannot be \
         told from a reset", path.display()
    )]
    UnknownRange {
        path: PathBuf,
        before: u64,
        after: u64,
    },
    #[error(
        "it counted {joules:.0} J in {seconds:.1} s, more than any processor draws; it was reset"
    )]
    Implausible { joules: f64, seconds: f64 },
    #[error(
        "it stood still during a spin of {seconds:.1} s, as counters of virtual machines do; measure on \
         the machine itself"
    )]
    Frozen { seconds: f64 },
    #[error(
        "no permission to open the event (perf_event_paranoid is {paranoid}); run as root, give the \
         program CAP_PERFMON, or `sudo sysctl kernel.perf_event_paranoid=0`"
    )]
    PerfPermission { paranoid: String },
    #[error("cannot open or read the event: {source}")]
    Perf { source: io::Error },
    #[error("it counts the same register as {used}, which is read")]
    SameRegister { used: String },
}

impl CounterError {
    /// The error of reading a file.
    fn reading(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Absent { path },
            io::ErrorKind::PermissionDenied => Self::Permission { path },
            _ => Self::Unreadable { path, source },
        }
    }
}

/// Every counter that this machine could have.
pub(crate) fn discover(roots: &Roots) -> Vec<Candidate> {
    let mut candidates = powercap::discover(&roots.powercap);
    candidates.extend(perf::discover(&roots.perf));
    candidates
}

/// Refuses more energy of one package than the time allows.
fn plausible(joules: f64, seconds: f64) -> Result<f64, CounterError> {
    if joules <= MAX_PACKAGE_WATTS * (seconds + UPDATE_SECONDS) {
        Ok(joules)
    } else {
        Err(CounterError::Implausible { joules, seconds })
    }
}
