//! From samples to a row of the result.

use itera_core::model::Model;
use itera_record::{
    CounterStatus, EnergyFigure, ModelInfo, PowerMode, PowerPlatform, PowerRecord, PowerRow,
    PowerSamples, Summary,
};

use crate::{
    TOOL,
    figures::{self, Measured},
    jobs::Job,
    measure::LiveCounter,
    options::Options,
};

/// What is read beside the samples.
pub(crate) struct Memory {
    /// Resident bytes before the model was loaded.
    pub(crate) before: Option<u64>,
    pub(crate) after: Option<u64>,
    pub(crate) peak: Option<u64>,
}

/// The energy sources of a run.
pub(crate) struct Sources<'a> {
    pub(crate) platforms: &'a [PowerPlatform],
    pub(crate) live: &'a [LiveCounter],
    /// Name and reason of the counters that are not believed.
    pub(crate) dead: &'a [(String, String)],
}

/// The row of one model in one mode.
pub(crate) fn of(
    job: &Job,
    model: &Model,
    mode: PowerMode,
    (passes, samples): (u64, PowerSamples),
    memory: &Memory,
    sources: &Sources<'_>,
    options: &Options,
) -> Option<PowerRow> {
    let (seq_len, threads) = (options.seq_len as u64, options.threads as u64);
    let tokens_per_sample = passes * threads * seq_len;
    let measured = Measured {
        samples: &samples,
        tokens_per_sample,
        cores: options.cores,
        carbon_intensity_g_per_kwh: options.carbon_intensity_g_per_kwh,
    };
    let energy = energy(&measured, sources);
    let summary = |values: &[f64], f: &dyn Fn(f64) -> f64| {
        Summary::of(&values.iter().map(|value| f(*value)).collect::<Vec<_>>())
    };
    let (wall, cpu) = (&samples.wall_seconds, &samples.cpu_seconds);
    let resident: Vec<f64> = samples
        .resident_bytes
        .iter()
        .map(|bytes| *bytes as f64)
        .collect();
    Some(PowerRow {
        model: job.model_info(),
        mode,
        kernel: model.kernel().name().to_owned(),
        passes_per_sample: passes,
        tokens_per_sample,
        multiply_adds_per_token: model.config().multiply_adds_per_token() as u64,
        bits_per_byte: job.bits_per_byte,
        latency_seconds: summary(wall, &|s| s / passes as f64)?,
        tokens_per_s: summary(wall, &|s| tokens_per_sample as f64 / s)?,
        cpu_seconds: summary(cpu, &|s| s / passes as f64 / threads as f64)?,
        utilisation: Summary::of(&samples.utilisations(options.cores))?,
        resident_bytes: Summary::of(&resident),
        resident_change_bytes: memory
            .before
            .zip(memory.after)
            .and_then(|(before, after)| after.checked_signed_diff(before)),
        peak_resident_bytes: memory.peak,
        calibration_seconds: summary(&samples.calibration_seconds, &|s| s)?,
        energy,
        samples,
    })
}

/// Measured energies, then estimates, then what is unavailable.
fn energy(measured: &Measured<'_>, sources: &Sources<'_>) -> Vec<EnergyFigure> {
    let live = sources.live.iter().map(|counter| measured.measure(counter));
    let platforms = sources
        .platforms
        .iter()
        .map(|platform| measured.estimate(platform));
    let dead = sources.dead.iter();
    let dead = dead.map(|(source, reason)| figures::unavailable(source.clone(), reason.clone()));
    live.chain(platforms).chain(dead).collect()
}

/// The record of these rows, made now on this machine.
pub(crate) fn record(
    options: &Options,
    platforms: Vec<PowerPlatform>,
    beliefs: Vec<CounterStatus>,
    idle_busy_share: Option<f64>,
    rows: Vec<PowerRow>,
) -> PowerRecord {
    PowerRecord {
        envelope: itera_cli::envelope::<PowerRecord>(TOOL, only_model(&rows)),
        protocol: options.protocol.clone(),
        platforms,
        counters: beliefs,
        idle_busy_share,
        rows,
        gate: None,
        notes: Vec::new(),
    }
}

/// The model of all rows, if it is one.
fn only_model(rows: &[PowerRow]) -> Option<ModelInfo> {
    let first = rows.first().map(|row| &row.model)?;
    rows.iter()
        .all(|row| row.model == *first)
        .then(|| first.clone())
}
