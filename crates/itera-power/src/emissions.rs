//! A row in the form of `CodeCarbon`'s `emissions.csv`, so that tools that read that file see the run.
//!
//! What this program does not know (the country, graphics cards, water) stays empty: an empty cell is
//! not measured, a 0 would be. A row says one mode of `CodeCarbon`'s and is made by it: `machine` for what a
//! counter of the machine has measured, `process` for an estimate, which then is TDP times the share of the
//! cores that this process kept busy.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context as _, anyhow, ensure};
use csv::{ReaderBuilder, Writer};
use itera_cli::OutputLock;
use itera_core::{digest::sha256_hex, files::write_atomic};
use itera_record::{CounterStatus, PowerPlatform, PowerRecord};

use crate::{TOOL, platforms::THIS_MACHINE, tdp::LoadModel};

/// Columns of a new file, in `CodeCarbon`'s order. A file that exists keeps its own.
const COLUMNS: [&str; 38] = [
    "timestamp",
    "project_name",
    "run_id",
    "experiment_id",
    "duration",
    "emissions",
    "emissions_rate",
    "cpu_power",
    "gpu_power",
    "ram_power",
    "cpu_energy",
    "gpu_energy",
    "ram_energy",
    "energy_consumed",
    "water_consumed",
    "country_name",
    "country_iso_code",
    "region",
    "cloud_provider",
    "cloud_region",
    "os",
    "python_version",
    "codecarbon_version",
    "cpu_count",
    "cpu_model",
    "gpu_count",
    "gpu_model",
    "longitude",
    "latitude",
    "ram_total_size",
    "tracking_mode",
    "cpu_utilization_percent",
    "gpu_utilization_percent",
    "ram_utilization_percent",
    "ram_used_gb",
    "on_cloud",
    "pue",
    "wue",
];

/// Columns without which a row says nothing.
const REQUIRED: [&str; 4] = ["timestamp", "duration", "emissions", "energy_consumed"];

const JOULES_PER_KWH: f64 = 3.6e6;
const BYTES_PER_GB: f64 = 1e9;

/// By what the energy of a row is found.
enum Booking<'r> {
    /// A counter of the processor, by its name.
    Counter(&'r str),
    /// The model of a platform.
    Platform(&'r PowerPlatform),
}

/// By a counter where one works, else for this machine, else for the one platform that was named.
fn booking<'r>(
    counters: &'r [CounterStatus],
    platforms: &'r [PowerPlatform],
    is_chosen: bool,
) -> anyhow::Result<Booking<'r>> {
    let is_package =
        |source: &str| source.starts_with("rapl:package") || source == "perf:energy-pkg";
    let mut read = counters.iter().filter(|counter| counter.reason.is_none());
    if let Some(counter) = read.find(|counter| is_package(&counter.source)) {
        return Ok(Booking::Counter(&counter.source));
    }
    let this_machine = platforms
        .iter()
        .find(|platform| platform.name == THIS_MACHINE);
    let platform = match platforms {
        _ if this_machine.is_some() => this_machine,
        [only] if is_chosen => Some(only),
        _ => None,
    };
    let platform = platform.context(
        "`--emissions-csv` needs to know the machine: no energy counter works here and no power limit can be \
         read; name the one platform that stands for it with `--platform`",
    )?;
    Ok(Booking::Platform(platform))
}

/// Finds out before the work whether a row can be appended.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    existing(path).map(drop)
}

/// Finds out before the work whether there is an energy to append.
pub(crate) fn check_source(
    counters: &[CounterStatus],
    platforms: &[PowerPlatform],
    is_chosen: bool,
) -> anyhow::Result<()> {
    booking(counters, platforms, is_chosen).map(drop)
}

/// The file with the row of this record appended, written whole. `is_chosen` says whether the platforms
/// were named.
pub(crate) fn append(path: &Path, record: &PowerRecord, is_chosen: bool) -> anyhow::Result<()> {
    let cells = cells(record, is_chosen)?;
    // Another process may append to the same file.
    let _lock = OutputLock::wait(path)?;
    let (mut bytes, columns) = existing(path)?;
    let mut writer = Writer::from_writer(Vec::new());
    if bytes.is_empty() {
        writer.write_record(&columns)?;
    } else if !bytes.ends_with(b"\n") {
        bytes.push(b'\n');
    }
    let cell = |column: &String| {
        let found = cells.iter().find(|(name, _)| name == column);
        found.map_or("", |(_, value)| value.as_str())
    };
    writer.write_record(columns.iter().map(cell))?;
    bytes.extend(writer.into_inner().context("cannot write the row as CSV")?);
    write_atomic(path, &bytes)?;
    Ok(())
}

/// Content and columns of the file; no bytes and `CodeCarbon`'s columns if there is none.
fn existing(path: &Path) -> anyhow::Result<(Vec<u8>, Vec<String>)> {
    let shown = path.display();
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(anyhow!(
                "cannot read `{shown}`: {error}; give another `--emissions-csv`"
            ));
        }
    };
    if bytes.is_empty() {
        return Ok((bytes, COLUMNS.map(str::to_owned).to_vec()));
    }
    let mut reader = ReaderBuilder::new().from_reader(&bytes[..]);
    let header = reader
        .headers()
        .with_context(|| format!("cannot read the columns of `{shown}`"))?;
    let columns: Vec<String> = header.iter().map(str::to_owned).collect();
    for required in REQUIRED {
        ensure!(
            columns.iter().any(|column| column == required),
            "`{shown}` has no column `{required}`, so it is no emissions.csv of CodeCarbon; give another \
             `--emissions-csv`"
        );
    }
    Ok((bytes, columns))
}

/// Names and values of the columns that are known.
fn cells(record: &PowerRecord, is_chosen: bool) -> anyhow::Result<Vec<(&'static str, String)>> {
    let booking = booking(&record.counters, &record.platforms, is_chosen)?;
    let measured: f64 = record
        .rows
        .iter()
        .flat_map(|row| &row.samples.wall_seconds)
        .sum();
    let host = &record.envelope.host;
    let (method, processor, seconds, mode, machine) = match booking {
        Booking::Counter(source) => {
            let joules = counted(record, source).with_context(|| {
                format!(
                    "the counter `{source}` failed, so there is no energy for `--emissions-csv`"
                )
            })?;
            let machine = (host.os.clone(), host.cores as u64, host.cpu.clone());
            let method = format!("measured({source})");
            (method, joules, measured, "machine", machine)
        }
        // Of a platform's model, energy, time and machine are those of the platform.
        Booking::Platform(platform) => {
            let seconds = measured / platform.relative_speed.unwrap_or(1.0);
            let machine = if platform.name == THIS_MACHINE {
                (host.os.clone(), platform.cores, host.cpu.clone())
            } else {
                (String::new(), platform.cores, platform.description.clone())
            };
            let method = format!("estimated(tdp:{})", platform.name);
            (
                method,
                of_process(record, platform),
                seconds,
                "process",
                machine,
            )
        }
    };
    let memory = match booking {
        Booking::Counter(_) => record
            .counters
            .iter()
            .filter(|counter| {
                counter.source.starts_with("rapl:dram") || counter.source == "perf:energy-ram"
            })
            .find_map(|counter| counted(record, &counter.source)),
        Booking::Platform(_) => None,
    };
    let (os, cores, cpu) = machine;
    let cpu_seconds: f64 = record
        .rows
        .iter()
        .flat_map(|row| &row.samples.cpu_seconds)
        .sum();
    let utilisation = (cpu_seconds / measured / cores as f64).min(1.0);
    let resident = record
        .rows
        .iter()
        .filter_map(|row| row.peak_resident_bytes)
        .max();
    let kwh = |joules: f64| joules / JOULES_PER_KWH;
    let joules = processor + memory.unwrap_or_default();
    let kg = kwh(joules) * record.protocol.carbon_intensity_g_per_kwh / 1000.0;
    let text = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    Ok(vec![
        (
            "timestamp",
            record.envelope.created_at.trim_end_matches('Z').to_owned(),
        ),
        ("project_name", TOOL.to_owned()),
        ("run_id", run_id(record)?),
        ("experiment_id", method),
        ("duration", seconds.to_string()),
        ("emissions", kg.to_string()),
        ("emissions_rate", (kg / seconds).to_string()),
        ("cpu_power", (processor / seconds).to_string()),
        ("ram_power", text(memory.map(|joules| joules / seconds))),
        ("cpu_energy", kwh(processor).to_string()),
        ("ram_energy", text(memory.map(kwh))),
        ("energy_consumed", kwh(joules).to_string()),
        ("os", os),
        (
            "codecarbon_version",
            format!("{TOOL} {}", record.envelope.tool.version),
        ),
        ("cpu_count", cores.to_string()),
        ("cpu_model", cpu),
        ("tracking_mode", mode.to_owned()),
        ("cpu_utilization_percent", (100.0 * utilisation).to_string()),
        (
            "ram_used_gb",
            text(resident.map(|bytes| bytes as f64 / BYTES_PER_GB)),
        ),
        // The factor of the data centre that the emissions were multiplied with: none.
        ("pue", "1.0".to_owned()),
    ])
}

/// Joules of all samples by a counter; none if a row lacks it.
fn counted(record: &PowerRecord, source: &str) -> Option<f64> {
    let of_row = |samples: &itera_record::PowerSamples| {
        let mut counters = samples.counters.iter();
        let series = counters.find(|series| series.source == source)?;
        Some(series.joules.iter().sum::<f64>())
    };
    record.rows.iter().map(|row| of_row(&row.samples)).sum()
}

/// Joules of all samples on a platform, as `CodeCarbon` books those of a process.
fn of_process(record: &PowerRecord, platform: &PowerPlatform) -> f64 {
    let speed = platform.relative_speed.unwrap_or(1.0);
    let of_row = |samples: &itera_record::PowerSamples| -> f64 {
        let windows = samples
            .busy_threads()
            .into_iter()
            .zip(&samples.wall_seconds);
        windows
            .map(|(busy, wall)| {
                let share = platform.utilisation(busy);
                LoadModel::Process.power_watts(platform, share) * wall / speed
            })
            .sum()
    };
    record.rows.iter().map(|row| of_row(&row.samples)).sum()
}

/// A name for the run in the form of a UUID, from its content.
fn run_id(record: &PowerRecord) -> anyhow::Result<String> {
    let json = itera_record::Record::to_json(record).context("cannot name the run")?;
    let digest = sha256_hex(json.as_bytes());
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digest[range]);
    Ok(parts.join("-"))
}
