//! A row in the form of `CodeCarbon`'s `emissions.csv`, so that tools that read that file see the run.
//!
//! What this program does not know (the country, graphics cards, water) stays empty: an empty cell is
//! not measured, a 0 would be.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context as _, anyhow, ensure};
use csv::{ReaderBuilder, Writer};
use itera_cli::OutputLock;
use itera_core::{digest::sha256_hex, files::write_atomic};
use itera_record::{PowerRecord, UNAVAILABLE};

use crate::TOOL;

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

/// Energy of the measured windows by one method.
struct Total {
    source: String,
    method: String,
    joules: f64,
}

/// Finds out before the work whether a row can be appended.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    existing(path).map(drop)
}

/// The file with the row of this record appended, written whole.
pub(crate) fn append(path: &Path, record: &PowerRecord) -> anyhow::Result<()> {
    let cells = cells(record)?;
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
fn cells(record: &PowerRecord) -> anyhow::Result<Vec<(&'static str, String)>> {
    let processor = total(record, |source| {
        source.starts_with("rapl:package") || source == "perf:energy-pkg"
    });
    let processor = processor.or_else(|| total(record, |source| source.starts_with("tdp:")));
    let processor = processor.context("no energy to append to `--emissions-csv`")?;
    let memory = total(record, |source| {
        source.starts_with("rapl:dram") || source == "perf:energy-ram"
    });
    let seconds: f64 = record
        .rows
        .iter()
        .flat_map(|row| &row.samples.wall_seconds)
        .sum();
    // Of a platform's model, energy and time are those of the platform.
    let platform = record
        .platforms
        .iter()
        .find(|platform| processor.source == format!("tdp:{}", platform.name));
    let speed = platform.and_then(|platform| platform.relative_speed);
    let seconds = seconds / speed.unwrap_or(1.0);
    let utilisation = record
        .rows
        .iter()
        .map(|row| row.utilisation.mean)
        .sum::<f64>()
        / record.rows.len() as f64;
    let resident = record
        .rows
        .iter()
        .filter_map(|row| row.peak_resident_bytes)
        .max();
    let kwh = |joules: f64| joules / JOULES_PER_KWH;
    let joules = processor.joules + memory.as_ref().map_or(0.0, |memory| memory.joules);
    let kg = kwh(joules) * record.protocol.carbon_intensity_g_per_kwh / 1000.0;
    let measured = processor.method.starts_with("measured");
    let host = &record.envelope.host;
    let of_memory = |f: &dyn Fn(f64) -> f64| {
        memory
            .as_ref()
            .map_or(String::new(), |m| f(m.joules).to_string())
    };
    Ok(vec![
        (
            "timestamp",
            record.envelope.created_at.trim_end_matches('Z').to_owned(),
        ),
        ("project_name", TOOL.to_owned()),
        ("run_id", run_id(record)?),
        ("experiment_id", processor.method.clone()),
        ("duration", seconds.to_string()),
        ("emissions", kg.to_string()),
        ("emissions_rate", (kg / seconds).to_string()),
        ("cpu_power", (processor.joules / seconds).to_string()),
        ("ram_power", of_memory(&|joules| joules / seconds)),
        ("cpu_energy", kwh(processor.joules).to_string()),
        ("ram_energy", of_memory(&kwh)),
        ("energy_consumed", kwh(joules).to_string()),
        ("os", host.os.clone()),
        (
            "codecarbon_version",
            format!("{TOOL} {}", record.envelope.tool.version),
        ),
        ("cpu_count", host.cores.to_string()),
        ("cpu_model", host.cpu.clone()),
        (
            "tracking_mode",
            if measured { "machine" } else { "process" }.to_owned(),
        ),
        ("cpu_utilization_percent", (100.0 * utilisation).to_string()),
        (
            "ram_used_gb",
            resident.map_or(String::new(), |bytes| {
                (bytes as f64 / BYTES_PER_GB).to_string()
            }),
        ),
        ("on_cloud", "N".to_owned()),
        ("pue", "1.0".to_owned()),
    ])
}

/// The energy of all rows by the first source that `wanted` admits and that every row has.
fn total(record: &PowerRecord, wanted: impl Fn(&str) -> bool) -> Option<Total> {
    let first = record.rows.first()?;
    let sources = first
        .energy
        .iter()
        .map(|figure| &figure.source)
        .filter(|source| wanted(source));
    let of_source = |source: &String| {
        let mut joules = 0.0;
        let mut method = UNAVAILABLE.to_owned();
        for row in &record.rows {
            let figure = row.energy.iter().find(|figure| figure.source == *source)?;
            let tokens = row.tokens_per_sample as f64 * row.samples.wall_seconds.len() as f64;
            joules += figure.gross_joules_per_token?.nominal * tokens;
            method.clone_from(&figure.method);
        }
        let source = source.clone();
        Some(Total {
            source,
            method,
            joules,
        })
    };
    sources.into_iter().find_map(of_source)
}

/// A name for the run in the form of a UUID, from its content.
fn run_id(record: &PowerRecord) -> anyhow::Result<String> {
    let json = itera_record::Record::to_json(record).context("cannot name the run")?;
    let digest = sha256_hex(json.as_bytes());
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digest[range]);
    Ok(parts.join("-"))
}
