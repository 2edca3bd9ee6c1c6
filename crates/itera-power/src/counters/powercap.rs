//! RAPL through the powercap tree of Linux.
//!
//! ```text
//! intel-rapl:0/{name, energy_uj, max_energy_range_uj}      name is package-0
//! intel-rapl:0:0/...                                       a part of it: core, uncore, dram
//! intel-rapl-mmio:0/...                                    the same package by another way
//! ```
//!
//! Processors of AMD use the same names. Packages are added up, because a process may move from one to
//! the other. Memory (`dram`) and the whole board (`psys`) are counters of their own; `core` and
//! `uncore` are parts of their package and left out. `energy_uj` starts again from 0 after
//! `max_energy_range_uj`: after minutes on a busy server.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Candidate, CounterError, EnergyCounter, MAX_PACKAGE_WATTS, plausible};

/// What a domain's energies are multiples of.
const JOULES_PER_UJ: f64 = 1e-6;

/// How often a counter is read while nobody asks: the smallest known range, 65 kJ, then lasts for 65 kW.
const POLL: Duration = Duration::from_secs(1);

/// Pairs of reads by which two zones are found to be one counter.
const MIRROR_READS: usize = 3;

/// One zone: a folder of the tree.
struct Zone {
    energy: PathBuf,
    /// Null if the file cannot be read; then a wrap cannot be followed.
    range_uj: Option<u64>,
    last_uj: u64,
    last_read: Instant,
}

/// Zones of one kind, added up.
struct Zones {
    zones: Vec<Zone>,
    joules: f64,
    failure: Option<CounterError>,
}

/// Zones with a thread that reads them too, so that no turn of a counter is missed between two questions.
struct Rapl {
    zones: Arc<Mutex<Zones>>,
    /// Ends the thread when it is dropped.
    _stop: Sender<()>,
}

impl Rapl {
    fn new(zones: Vec<Zone>, poll: Duration) -> Self {
        let zones = Arc::new(Mutex::new(Zones {
            zones,
            joules: 0.0,
            failure: None,
        }));
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(&zones);
        thread::spawn(move || {
            while stopped.recv_timeout(poll) == Err(RecvTimeoutError::Timeout) {
                lock(&shared).advance();
            }
        });
        Self { zones, _stop: stop }
    }
}

impl EnergyCounter for Rapl {
    fn joules(&mut self) -> Result<f64, CounterError> {
        let mut zones = lock(&self.zones);
        zones.advance();
        match zones.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(zones.joules),
        }
    }
}

/// A thread that panicked leaves nothing half done here.
fn lock(zones: &Mutex<Zones>) -> std::sync::MutexGuard<'_, Zones> {
    zones.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Zones {
    /// Counts up to now; after a failure no more.
    fn advance(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let joules: Result<f64, CounterError> = self.zones.iter_mut().map(Zone::advance).sum();
        match joules {
            Ok(joules) => self.joules += joules,
            Err(failure) => self.failure = Some(failure),
        }
    }
}

impl Zone {
    fn open(folder: &Path) -> Result<Self, CounterError> {
        let energy = folder.join("energy_uj");
        let last_uj = read_number(&energy)?;
        let range_uj = read_number(&folder.join("max_energy_range_uj")).ok();
        Ok(Self {
            energy,
            range_uj,
            last_uj,
            last_read: Instant::now(),
        })
    }

    /// Joules since the last call.
    fn advance(&mut self) -> Result<f64, CounterError> {
        let now_uj = read_number(&self.energy)?;
        let delta = delta_uj(self.last_uj, now_uj, self.range_uj);
        let delta = delta.ok_or_else(|| CounterError::UnknownRange {
            path: self.energy.clone(),
            before: self.last_uj,
            after: now_uj,
        })?;
        let seconds = self.last_read.elapsed().as_secs_f64();
        (self.last_uj, self.last_read) = (now_uj, Instant::now());
        plausible(delta as f64 * JOULES_PER_UJ, seconds)
    }

    /// Whether another zone shows the counter of this one: read in between two reads of this one, it lies
    /// between them, each time.
    fn is_mirrored_by(&self, other: &Self) -> bool {
        let read = |zone: &Self| read_number(&zone.energy).ok();
        (0..MIRROR_READS).all(|_| {
            let (before, between, after) = (read(self), read(other), read(self));
            before.is_some() && before <= between && between <= after
        })
    }
}

/// Microjoules from one value to a later one of a counter that starts again from 0 after `range_uj`;
/// none if it went down and the range is unknown or too small. More than one turn cannot be seen: [`POLL`].
fn delta_uj(before: u64, after: u64, range_uj: Option<u64>) -> Option<u64> {
    if after >= before {
        return Some(after - before);
    }
    let range = range_uj.filter(|range| *range >= before)?;
    Some(range - before + after)
}

/// The counters of the tree at `root`.
pub(super) fn discover(root: &Path) -> Vec<Candidate> {
    let zones = match zones(root) {
        Ok(zones) => zones,
        Err(error) => return vec![Candidate::new("rapl:package", Err(error))],
    };
    let mut groups: BTreeMap<&str, Vec<(String, PathBuf)>> = BTreeMap::new();
    for (domain, folder) in zones {
        let kind = ["package", "dram", "psys"]
            .into_iter()
            .find(|kind| domain.starts_with(kind));
        if let Some(kind) = kind {
            groups.entry(kind).or_default().push((domain, folder));
        }
    }
    if !groups.contains_key("package") {
        groups.insert("package", Vec::new());
    }
    // Packages first: they are the figure that most people look for.
    let mut candidates: Vec<_> = groups
        .into_iter()
        .map(|(kind, zones)| candidate(root, kind, &zones))
        .collect();
    candidates.sort_by_key(|candidate| !candidate.source.starts_with("rapl:package"));
    candidates
}

/// The sum of these zones as one counter.
fn candidate(root: &Path, kind: &str, zones: &[(String, PathBuf)]) -> Candidate {
    if zones.is_empty() {
        let absent = CounterError::Absent {
            path: root.join("intel-rapl:0"),
        };
        return Candidate::new(format!("rapl:{kind}"), Err(absent));
    }
    let opened: Result<Vec<Zone>, _> = zones.iter().map(|(_, folder)| Zone::open(folder)).collect();
    let mut names: Vec<&str> = zones.iter().map(|(domain, _)| domain.as_str()).collect();
    let counter = opened.map(|mut opened| {
        let mirrored = mirrored(&names, &opened);
        opened = keep(opened, &mirrored);
        names = keep(names.clone(), &mirrored);
        Box::new(Rapl::new(opened, POLL)) as Box<dyn EnergyCounter>
    });
    Candidate::new(format!("rapl:{}", names.join("+")), counter)
}

/// For each zone whether it repeats an earlier one. The dies of some processors all show the counter
/// of their package, and adding them would count it several times.
fn mirrored(names: &[&str], zones: &[Zone]) -> Vec<bool> {
    let repeats = |i: usize| {
        let earlier = &zones[..i];
        names[i].contains("-die-") && earlier.iter().any(|other| other.is_mirrored_by(&zones[i]))
    };
    (0..zones.len()).map(repeats).collect()
}

fn keep<T>(items: Vec<T>, dropped: &[bool]) -> Vec<T> {
    let pairs = items.into_iter().zip(dropped);
    pairs
        .filter(|(_, dropped)| !**dropped)
        .map(|(item, _)| item)
        .collect()
}

/// Domain and folder of every zone, each domain once, in the order of the domains. Memory is called
/// after its package: `dram-0`.
fn zones(root: &Path) -> Result<BTreeMap<String, PathBuf>, CounterError> {
    let entries = fs::read_dir(root).map_err(|error| CounterError::reading(root, error))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("intel-rapl") && name.contains(':'))
        .collect();
    // `-mmio` sorts before `:`. The first way to a package is kept, as other tools do.
    names.sort();
    let mut zones = BTreeMap::new();
    for name in names {
        let folder = root.join(&name);
        let domain = read_text(&folder.join("name"))?;
        let domain = match name.rsplit_once(':') {
            Some((parent, _)) if parent.contains(':') => {
                let package = read_text(&root.join(parent).join("name"))?;
                let number = package.strip_prefix("package").unwrap_or_default();
                format!("{domain}{number}")
            }
            _ => domain,
        };
        zones.entry(domain).or_insert(folder);
    }
    Ok(zones)
}

/// The long-term power limit of a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PowerLimit {
    /// Of all packages together.
    Watts(f64),
    /// One package has a limit of so many watts, which no package draws: there is none.
    Unlimited(f64),
    Unknown,
}

/// The long-term power limit of all packages: what the maker of the machine has set, and readable
/// without permission. Unknown if any package does not tell.
pub(crate) fn power_limit(root: &Path) -> PowerLimit {
    let Ok(zones) = zones(root) else {
        return PowerLimit::Unknown;
    };
    let packages = zones
        .iter()
        .filter(|(domain, _)| domain.starts_with("package"));
    let mut sum = 0.0;
    for (_, folder) in packages {
        let name = read_text(&folder.join("constraint_0_name"));
        let limit = read_number(&folder.join("constraint_0_power_limit_uw"));
        let (Ok("long_term"), Ok(limit @ 1..)) = (name.as_deref(), limit) else {
            return PowerLimit::Unknown;
        };
        let watts = limit as f64 * JOULES_PER_UJ;
        if watts > MAX_PACKAGE_WATTS {
            return PowerLimit::Unlimited(watts);
        }
        sum += watts;
    }
    if sum > 0.0 {
        PowerLimit::Watts(sum)
    } else {
        PowerLimit::Unknown
    }
}

fn read_text(path: &Path) -> Result<String, CounterError> {
    let text = fs::read_to_string(path).map_err(|error| CounterError::reading(path, error))?;
    Ok(text.trim().to_owned())
}

fn read_number(path: &Path) -> Result<u64, CounterError> {
    let text = read_text(path)?;
    text.parse().map_err(|_| CounterError::Malformed {
        path: path.to_owned(),
        expected: match path.file_name().and_then(OsStr::to_str) {
            Some("energy_uj") => "a count of microjoules",
            _ => "a number",
        },
        text,
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A powercap tree in a temporary folder.
    struct Tree(TempDir);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn zone(self, folder: &str, name: &str, energy_uj: &str) -> Self {
            let path = self.0.path().join(folder);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("name"), format!("{name}\n")).unwrap();
            fs::write(path.join("max_energy_range_uj"), "262143328850\n").unwrap();
            self.set(folder, energy_uj);
            self
        }

        fn set(&self, folder: &str, energy_uj: &str) {
            let path = self.0.path().join(folder).join("energy_uj");
            fs::write(path, format!("{energy_uj}\n")).unwrap();
        }

        fn discover(&self) -> Vec<Candidate> {
            discover(self.0.path())
        }

        fn sources(&self) -> Vec<String> {
            self.discover()
                .into_iter()
                .map(|candidate| candidate.source)
                .collect()
        }
    }

    fn counter(candidate: Candidate) -> Box<dyn EnergyCounter> {
        candidate.counter.unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(candidate: Candidate) -> String {
        candidate.counter.err().unwrap().to_string()
    }

    #[test]
    fn a_wrap_is_followed_and_a_fall_without_a_range_is_refused() {
        assert_eq!(delta_uj(5, 9, None), Some(4));
        assert_eq!(delta_uj(5, 5, Some(10)), Some(0));
        assert_eq!(
            delta_uj(262_143_328_000, 150, Some(262_143_328_850)),
            Some(1000)
        );
        assert_eq!(delta_uj(5, 4, None), None);
        assert_eq!(
            delta_uj(11, 4, Some(10)),
            None,
            "a range below the value is no range"
        );
    }

    #[test]
    fn energy_is_counted_from_the_opening_on_and_across_the_wrap() {
        let tree = Tree::new().zone("intel-rapl:0", "package-0", "262143328000");
        let mut counter = counter(tree.discover().remove(0));
        assert!(counter.joules().unwrap().abs() < 1e-12);
        tree.set("intel-rapl:0", "262143328500");
        assert!((counter.joules().unwrap() - 0.0005).abs() < 1e-12);
        tree.set("intel-rapl:0", "150");
        assert!((counter.joules().unwrap() - 0.001).abs() < 1e-12);
        tree.set("intel-rapl:0", "1150");
        assert!((counter.joules().unwrap() - 0.002).abs() < 1e-12);
    }

    #[test]
    fn a_reset_is_not_taken_for_a_wrap() {
        let tree = Tree::new().zone("intel-rapl:0", "package-0", "1000000000");
        let mut counter = counter(tree.discover().remove(0));
        tree.set("intel-rapl:0", "0");
        let error = counter.joules().unwrap_err().to_string();
        assert!(error.contains("more than any processor draws"), "{error}");
    }

    #[test]
    fn packages_are_added_and_memory_is_apart() {
        let tree = Tree::new()
            .zone("intel-rapl:0", "package-0", "100")
            .zone("intel-rapl:0:0", "core", "50")
            .zone("intel-rapl:0:1", "dram", "10")
            .zone("intel-rapl:1", "package-1", "200")
            .zone("intel-rapl:1:0", "dram", "20")
            .zone("intel-rapl:2", "psys", "7");
        assert_eq!(
            tree.sources(),
            [
                "rapl:package-0+package-1",
                "rapl:dram-0+dram-1",
                "rapl:psys"
            ]
        );
        let mut package = counter(tree.discover().remove(0));
        tree.set("intel-rapl:0", "1100");
        tree.set("intel-rapl:1", "2200");
        tree.set("intel-rapl:0:0", "999999");
        assert!((package.joules().unwrap() - 0.003).abs() < 1e-12);
    }

    #[test]
    fn a_package_that_is_there_twice_counts_once() {
        let tree = Tree::new().zone("intel-rapl:0", "package-0", "100").zone(
            "intel-rapl-mmio:0",
            "package-0",
            "100",
        );
        assert_eq!(tree.sources(), ["rapl:package-0"]);
        let mut package = counter(tree.discover().remove(0));
        tree.set("intel-rapl-mmio:0", "1100");
        assert!((package.joules().unwrap() - 0.001).abs() < 1e-12);
    }

    #[test]
    fn dies_that_mirror_one_counter_count_once() {
        let mirrored = Tree::new()
            .zone("intel-rapl:0", "package-0-die-0", "12345")
            .zone("intel-rapl:1", "package-0-die-1", "12345");
        assert_eq!(mirrored.sources(), ["rapl:package-0-die-0"]);
        let separate = Tree::new()
            .zone("intel-rapl:0", "package-0-die-0", "12345")
            .zone("intel-rapl:1", "package-0-die-1", "777");
        assert_eq!(separate.sources(), ["rapl:package-0-die-0+package-0-die-1"]);
    }

    #[test]
    fn what_is_missing_or_malformed_is_said() {
        let nowhere = discover(Path::new("/nonexistent/powercap")).remove(0);
        assert_eq!(nowhere.source, "rapl:package");
        assert!(refusal(nowhere).starts_with("there is no `/nonexistent/powercap`"));
        let empty = Tree::new().discover().remove(0);
        assert!(refusal(empty).contains("intel-rapl:0"));
        let tree = Tree::new().zone("intel-rapl:0", "package-0", "many");
        let error = refusal(tree.discover().remove(0));
        assert!(
            error.contains("holds `many`, expected a count of microjoules"),
            "{error}"
        );
        let tree = Tree::new().zone("intel-rapl:0", "package-0", "1");
        fs::remove_file(tree.0.path().join("intel-rapl:0/energy_uj")).unwrap();
        assert!(refusal(tree.discover().remove(0)).contains("energy_uj"));
    }

    #[test]
    fn a_permission_problem_names_the_remedy() {
        use std::io::{Error, ErrorKind};
        let denied = Error::from(ErrorKind::PermissionDenied);
        let error = CounterError::reading("/sys/class/powercap/intel-rapl:0/energy_uj", denied);
        assert_eq!(
            error.to_string(),
            "no permission to read `/sys/class/powercap/intel-rapl:0/energy_uj`; run as root, or \
             `sudo chmod o+r` the file until the next start, or keep it readable by a udev rule"
        );
    }

    #[test]
    fn the_power_limit_is_that_of_all_packages_or_of_none() {
        let tree = Tree::new().zone("intel-rapl:0", "package-0", "1").zone(
            "intel-rapl:1",
            "package-1",
            "1",
        );
        let set = |folder: &str, limit: &str| {
            let path = tree.0.path().join(folder);
            fs::write(path.join("constraint_0_name"), "long_term\n").unwrap();
            fs::write(path.join("constraint_0_power_limit_uw"), limit).unwrap();
        };
        set("intel-rapl:0", "65000000\n");
        assert_eq!(power_limit(tree.0.path()), PowerLimit::Unknown);
        set("intel-rapl:1", "35000000\n");
        assert_eq!(power_limit(tree.0.path()), PowerLimit::Watts(100.0));
        // What firmware without a limit says: all bits of the field.
        set("intel-rapl:1", "4095000000\n");
        assert_eq!(power_limit(tree.0.path()), PowerLimit::Unlimited(4095.0));
        assert_eq!(power_limit(Path::new("/nonexistent")), PowerLimit::Unknown);
    }

    #[test]
    fn turns_between_two_questions_are_counted() {
        // A range of 1 J, so that it turns every other step.
        let tree = Tree::new().zone("intel-rapl:0", "package-0", "0");
        let folder = tree.0.path().join("intel-rapl:0");
        fs::write(folder.join("max_energy_range_uj"), "1000000\n").unwrap();
        let zone = Zone::open(&folder).unwrap();
        let mut counter = Rapl::new(vec![zone], Duration::from_millis(1));
        for step in 1..=10_u64 {
            let value = step * 600_000 % 1_000_000;
            // At once, unlike a file that is written; the thread may read at any moment.
            let next = tree.0.path().join("next");
            fs::write(&next, format!("{value}\n")).unwrap();
            fs::rename(next, folder.join("energy_uj")).unwrap();
            // Nobody asks; the thread sees it.
            let deadline = Instant::now() + Duration::from_mins(1);
            while lock(&counter.zones).zones[0].last_uj != value {
                assert!(Instant::now() < deadline, "the thread does not read");
                thread::sleep(Duration::from_millis(1));
            }
        }
        // Six joules: five whole turns and a rest that alone would be 0.
        assert!((counter.joules().unwrap() - 6.0).abs() < 1e-9);
    }

    #[test]
    fn an_update_between_two_reads_does_not_part_a_mirror() {
        let tree =
            Tree::new()
                .zone("one", "package-0-die-0", "5")
                .zone("two", "package-0-die-1", "5");
        let zone = |name: &str| Zone::open(&tree.0.path().join(name)).unwrap();
        let (one, mut two) = (zone("one"), zone("two"));
        // The first was read before an update, the second after it.
        two.last_uj = 6;
        assert!(one.is_mirrored_by(&two));
        tree.set("two", "777");
        assert!(!one.is_mirrored_by(&two));
    }
}
