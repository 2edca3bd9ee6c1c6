//! All samples as CSV: one line for each, with the energy of each by every method.

use anyhow::Context as _;
use itera_record::{PowerRecord, PowerRow};

use crate::tdp::{LoadModel, energy_per_token};

/// The samples of all rows.
pub(crate) fn samples(record: &PowerRecord) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header(record))?;
    for row in &record.rows {
        for i in 0..row.samples.wall_seconds.len() {
            writer.write_record(line(record, row, i as u64))?;
        }
    }
    writer
        .into_inner()
        .context("cannot write the samples as CSV")
}

/// Counters that some row has, in the order of the record.
fn counters(record: &PowerRecord) -> impl Iterator<Item = &str> {
    let sources = record
        .counters
        .iter()
        .map(|counter| counter.source.as_str());
    sources.filter(|source| {
        record
            .rows
            .iter()
            .any(|row| row.samples.counters.iter().any(|c| c.source == *source))
    })
}

fn header(record: &PowerRecord) -> Vec<String> {
    let mut names: Vec<String> = [
        "model",
        "file_sha256",
        "precision",
        "mode",
        "kernel",
        "process",
        "sample",
        "tokens",
        "wall_s",
        "cpu_s",
        "latency_s",
        "tokens_per_s",
        "busy_threads",
        "calibration_s",
        "calibration_cpu_s",
        "model_bytes",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend(counters(record).map(|source| format!("joules_per_token measured({source})")));
    let platforms = record.platforms.iter();
    names.extend(platforms.map(|p| format!("joules_per_token estimated(tdp:{})", p.name)));
    names
}

fn line(record: &PowerRecord, row: &PowerRow, number: u64) -> Vec<String> {
    let (samples, i) = (&row.samples, number as usize);
    let of_process = record.protocol.samples;
    let (wall, tokens) = (samples.wall_seconds[i], row.tokens_per_sample as f64);
    let busy = samples.cpu_seconds[i] / wall;
    let mut cells = vec![
        row.model.name.clone(),
        row.model.file_sha256.clone(),
        row.model.precision.clone(),
        row.mode.name().to_owned(),
        row.kernel.clone(),
        (number / of_process).to_string(),
        (number % of_process).to_string(),
        row.tokens_per_sample.to_string(),
        wall.to_string(),
        samples.cpu_seconds[i].to_string(),
        (wall / row.passes_per_sample as f64).to_string(),
        (tokens / wall).to_string(),
        busy.to_string(),
        samples.calibration_seconds[i].to_string(),
        samples.calibration_cpu_seconds[i].to_string(),
        row.model.bytes.to_string(),
    ];
    cells.extend(counters(record).map(|source| {
        let series = samples
            .counters
            .iter()
            .find(|series| series.source == source);
        series.map_or(String::new(), |series| {
            (series.joules[i] / tokens).to_string()
        })
    }));
    cells.extend(record.platforms.iter().map(|platform| {
        let power = LoadModel::Linear.power_watts(platform, platform.utilisation(busy));
        let seconds = wall / platform.relative_speed.unwrap_or(1.0);
        energy_per_token(power, seconds, tokens).to_string()
    }));
    cells
}
