//! The energy events of the performance counters: `/sys/bus/event_source/devices/power`.
//!
//! They count the same registers as RAPL's powercap tree, and some machines show only one of both. A
//! package is counted by one event on one of its processors, which `cpumask` names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Candidate, CounterError, EnergyCounter};

/// Events that are counted: packages, memory, the whole board. Others are parts of the first.
const EVENTS: [&str; 3] = ["energy-pkg", "energy-ram", "energy-psys"];

/// What sysfs says about one event.
#[derive(Debug, PartialEq)]
struct EventInfo {
    /// Joules of one count.
    scale: f64,
    /// Processors to open it on, one for each package.
    cpus: Vec<usize>,
}

/// The events of the counters described at `root`.
pub(super) fn discover(root: &Path) -> Vec<Candidate> {
    let existing: Vec<&str> = EVENTS
        .into_iter()
        .filter(|event| root.join("events").join(event).exists())
        .collect();
    if existing.is_empty() {
        let absent = CounterError::Absent {
            path: root.join("events").join(EVENTS[0]),
        };
        return vec![Candidate::new(format!("perf:{}", EVENTS[0]), Err(absent))];
    }
    existing
        .into_iter()
        .map(|event| {
            let counter = describe(root, event).and_then(|info| open(root, event, &info));
            Candidate::new(format!("perf:{event}"), counter)
        })
        .collect()
}

/// Reads what sysfs says about an event.
fn describe(root: &Path, event: &str) -> Result<EventInfo, CounterError> {
    let unit_path = root.join("events").join(format!("{event}.unit"));
    let unit = read(&unit_path)?;
    if unit != "Joules" {
        return Err(CounterError::Malformed {
            path: unit_path,
            text: unit,
            expected: "Joules",
        });
    }
    let scale_path = root.join("events").join(format!("{event}.scale"));
    let text = read(&scale_path)?;
    let scale = text
        .parse()
        .ok()
        .filter(|scale: &f64| scale.is_finite() && *scale > 0.0);
    let Some(scale) = scale else {
        return Err(CounterError::Malformed {
            path: scale_path,
            text,
            expected: "joules above 0",
        });
    };
    let mask_path = root.join("cpumask");
    let text = read(&mask_path)?;
    let Some(cpus) = parse_cpus(&text) else {
        let expected = "processors such as 0,18";
        return Err(CounterError::Malformed {
            path: mask_path,
            text,
            expected,
        });
    };
    Ok(EventInfo { scale, cpus })
}

fn read(path: &PathBuf) -> Result<String, CounterError> {
    let text = fs::read_to_string(path).map_err(|error| CounterError::reading(path, error))?;
    Ok(text.trim().to_owned())
}

/// The numbers of a list such as `0,18` or `0-1,4`.
fn parse_cpus(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // A range of more processors than any machine has is no mask.
        if last < first || last - first > 4096 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(target_os = "linux")]
fn open(
    root: &Path,
    event: &str,
    info: &EventInfo,
) -> Result<Box<dyn EnergyCounter>, CounterError> {
    linux::Perf::open(root, event, info).map(|counter| Box::new(counter) as Box<dyn EnergyCounter>)
}

#[cfg(not(target_os = "linux"))]
fn open(
    root: &Path,
    _event: &str,
    _info: &EventInfo,
) -> Result<Box<dyn EnergyCounter>, CounterError> {
    Err(CounterError::Absent {
        path: root.to_owned(),
    })
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, io, path::Path};

    use perf_event::{Builder, Counter, events::Dynamic};

    use super::{CounterError, EnergyCounter, EventInfo};

    /// One event on the processors of its mask.
    pub(super) struct Perf {
        counters: Vec<Counter>,
        joules_per_count: f64,
    }

    impl Perf {
        pub(super) fn open(
            root: &Path,
            event: &str,
            info: &EventInfo,
        ) -> Result<Self, CounterError> {
            let counters = info.cpus.iter().map(|&cpu| count(root, event, cpu));
            Ok(Self {
                counters: counters.collect::<io::Result<_>>().map_err(error)?,
                joules_per_count: info.scale,
            })
        }
    }

    /// Opens the event on one processor, for all processes, and starts it.
    fn count(root: &Path, event: &str, cpu: usize) -> io::Result<Counter> {
        let event = Dynamic::builder(root)?
            .event(event)?
            .build()
            .map_err(io::Error::other)?;
        let mut builder = Builder::new(event);
        // Energy cannot be divided between user and kernel; the event refuses to leave one out.
        let builder = builder.any_pid().one_cpu(cpu).include_kernel().include_hv();
        let mut counter = builder.build()?;
        counter.enable()?;
        Ok(counter)
    }

    impl EnergyCounter for Perf {
        fn joules(&mut self) -> Result<f64, CounterError> {
            let counts = self.counters.iter_mut().map(Counter::read);
            let counts: Vec<u64> = counts.collect::<io::Result<_>>().map_err(error)?;
            Ok(counts
                .iter()
                .map(|count| *count as f64 * self.joules_per_count)
                .sum())
        }
    }

    fn error(source: io::Error) -> CounterError {
        if source.kind() == io::ErrorKind::PermissionDenied {
            let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
            let paranoid = paranoid.map_or("unknown".to_owned(), |text| text.trim().to_owned());
            return CounterError::PerfPermission { paranoid };
        }
        CounterError::Perf { source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_lists_and_ranges() {
        assert_eq!(parse_cpus("0"), Some(vec![0]));
        assert_eq!(parse_cpus("0,18"), Some(vec![0, 18]));
        assert_eq!(parse_cpus("0-2,8"), Some(vec![0, 1, 2, 8]));
        assert_eq!(parse_cpus(""), None);
        assert_eq!(parse_cpus("3-1"), None);
        assert_eq!(parse_cpus("0-99999999"), None);
    }

    #[test]
    fn events_are_read_from_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let write = |name: &str, text: &str| {
            fs::create_dir_all(root.join("events")).unwrap();
            fs::write(root.join(name), text).unwrap();
        };
        let source = |candidate: &Candidate| candidate.source.clone();
        let none = discover(root);
        assert_eq!(source(&none[0]), "perf:energy-pkg");
        assert!(matches!(none[0].counter, Err(CounterError::Absent { .. })));
        write("events/energy-pkg", "event=0x02\n");
        write("events/energy-cores", "event=0x01\n");
        write("events/energy-ram", "event=0x03\n");
        let found: Vec<_> = discover(root).iter().map(source).collect();
        assert_eq!(found, ["perf:energy-pkg", "perf:energy-ram"]);
        write("events/energy-pkg.unit", "Joules\n");
        write("events/energy-pkg.scale", "2.3283064365386963e-10\n");
        write("cpumask", "0,18\n");
        let info = describe(root, "energy-pkg").unwrap();
        assert_eq!(
            info,
            EventInfo {
                scale: 2.328_306_436_538_696_3e-10,
                cpus: vec![0, 18]
            }
        );
        write("events/energy-pkg.scale", "-1\n");
        assert!(
            describe(root, "energy-pkg")
                .unwrap_err()
                .to_string()
                .contains("joules above 0")
        );
        write("events/energy-pkg.unit", "Watts\n");
        assert!(
            describe(root, "energy-pkg")
                .unwrap_err()
                .to_string()
                .contains("`Watts`")
        );
    }
}
