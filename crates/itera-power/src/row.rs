//! From samples to a row of the result.

use itera_record::{
    CounterSamples, CounterStatus, EnergyFigure, ModelInfo, PowerMode, PowerPlatform,
    PowerProtocol, PowerRecord, PowerRow, PowerSamples, Summary,
};

use crate::{
    TOOL,
    figures::{self, Measured},
    jobs::Job,
    worker::Answer,
};

/// The row of one model in one mode, from the answers of its processes; its energies are added when the
/// power at rest is known.
pub(crate) fn of(
    job: &Job,
    mode: PowerMode,
    protocol: &PowerProtocol,
    answers: &[Answer],
) -> Option<PowerRow> {
    let first = answers.first()?;
    let passes = first.passes.workload;
    let threads = protocol.threads;
    let tokens_per_sample = passes * threads * protocol.seq_len_tokens;
    let samples = joined(answers);
    let summary = |values: &[f64], f: &dyn Fn(f64) -> f64| {
        Summary::of(&values.iter().map(|value| f(*value)).collect::<Vec<_>>())
    };
    let (wall, cpu) = (&samples.wall_seconds, &samples.cpu_seconds);
    Some(PowerRow {
        model: job.model_info(),
        mode,
        kernel: first.kernel.clone(),
        passes_per_sample: passes,
        tokens_per_sample,
        multiply_adds_per_token: job.loaded.checkpoint.config.multiply_adds_per_token() as u64,
        bits_per_byte: job.bits_per_byte,
        latency_seconds: summary(wall, &|s| s / passes as f64)?,
        tokens_per_s: summary(wall, &|s| tokens_per_sample as f64 / s)?,
        cpu_seconds: summary(cpu, &|s| s / passes as f64 / threads as f64)?,
        busy_threads: Summary::of(&samples.busy_threads())?,
        peak_resident_bytes: answers
            .iter()
            .filter_map(|answer| answer.peak_resident_bytes)
            .max(),
        calibration_seconds: summary(&samples.calibration_seconds, &|s| s)?,
        energy: Vec::new(),
        samples,
    })
}

/// The samples of all processes, one after the other; of a counter only if it failed in none.
fn joined(answers: &[Answer]) -> PowerSamples {
    let all = |of: fn(&PowerSamples) -> &Vec<f64>| -> Vec<f64> {
        answers
            .iter()
            .flat_map(|answer| of(&answer.samples))
            .copied()
            .collect()
    };
    let series = |source: &str| {
        let mut joined = CounterSamples {
            source: source.to_owned(),
            joules: Vec::new(),
            calibration_joules: Vec::new(),
        };
        for answer in answers {
            let mut counters = answer.samples.counters.iter();
            let of_process = counters.find(|series| series.source == source)?;
            joined.joules.extend(&of_process.joules);
            joined
                .calibration_joules
                .extend(&of_process.calibration_joules);
        }
        Some(joined)
    };
    let first = answers.iter().take(1);
    let sources = first.flat_map(|answer| &answer.samples.counters);
    PowerSamples {
        wall_seconds: all(|samples| &samples.wall_seconds),
        cpu_seconds: all(|samples| &samples.cpu_seconds),
        calibration_seconds: all(|samples| &samples.calibration_seconds),
        calibration_cpu_seconds: all(|samples| &samples.calibration_cpu_seconds),
        counters: sources
            .filter_map(|counter| series(&counter.source))
            .collect(),
    }
}

/// Energies of a row: measured ones, then estimates, then what is unavailable.
pub(crate) fn energy(
    row: &PowerRow,
    answers: &[Answer],
    counters: &[CounterStatus],
    platforms: &[PowerPlatform],
    carbon_intensity_g_per_kwh: f64,
) -> Vec<EnergyFigure> {
    let measured = Measured {
        samples: &row.samples,
        tokens_per_sample: row.tokens_per_sample,
        carbon_intensity_g_per_kwh,
    };
    let failure = |source: &str| {
        let mut failures = answers.iter().flat_map(|answer| &answer.failures);
        let failure = failures.find(|(failed, _)| failed == source)?;
        Some(failure.1.as_str())
    };
    let (live, dead): (Vec<_>, Vec<_>) =
        counters.iter().partition(|status| status.reason.is_none());
    let live = live
        .into_iter()
        .map(|status| measured.measure(status, failure(&status.source)));
    let estimates = platforms.iter().map(|platform| measured.estimate(platform));
    let dead = dead.into_iter().filter_map(|status| {
        let reason = status.reason.clone()?;
        Some(figures::unavailable(status.source.clone(), reason))
    });
    live.chain(estimates).chain(dead).collect()
}

/// The record of these rows, made now on this machine.
pub(crate) fn record(
    protocol: PowerProtocol,
    platforms: Vec<PowerPlatform>,
    counters: Vec<CounterStatus>,
    idle_busy_share: Option<f64>,
    rows: Vec<PowerRow>,
) -> PowerRecord {
    PowerRecord {
        envelope: itera_cli::envelope::<PowerRecord>(TOOL, only_model(&rows)),
        protocol,
        platforms,
        counters,
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
