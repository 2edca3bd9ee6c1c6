//! The gate: whether this build is slower, hungrier or larger than a baseline.
//!
//! What has no noise is compared as it is. Time, CPU time and energy are compared as multiples of the calibration
//! workload's, which was timed between the samples of the same run: a machine that is slower today slows
//! both. A row fails if its median is beyond what is permitted, and if the samples as a whole are too,
//! by a Mann-Whitney test against the baseline moved up by what is permitted.

mod comparable;
mod judge;

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context as _;
use itera_core::digest::sha256_hex;
use itera_record::{
    CounterSamples, GateComparison, GateResult, GateVerdict, PowerMode, PowerRecord, PowerRow,
    Record,
};

pub(crate) use comparable::{Planned, check};

/// Chance of one false alarm in a whole table. Divided by the number of tests (Bonferroni).
const ALPHA: f64 = 0.01;

/// Bits per byte by which two machines may differ, since they add in different orders.
const BITS_EPSILON: f64 = 0.0005;

/// Shares of power at rest and under load in the energy that is compared: those of the built-in
/// platforms. The TDP cancels.
const REST: f64 = 0.2;

/// The result to compare with.
#[derive(Debug)]
pub(crate) struct Baseline {
    pub(crate) record: PowerRecord,
    pub(crate) sha256: String,
}

impl Baseline {
    /// Reads and checks a baseline.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let json = fs::read(path).with_context(|| {
            format!("cannot compare: cannot read the baseline `{shown}`; make one with `--output`")
        })?;
        let record = PowerRecord::from_json(&json).with_context(|| {
            format!("cannot compare: `{shown}` is not what `itera-power --output` writes")
        })?;
        Ok(Self {
            record,
            sha256: sha256_hex(&json),
        })
    }
}

/// Compares the rows of a run with those of the baseline.
pub(crate) fn compare(
    baseline: &Baseline,
    cores: u64,
    rows: &[PowerRow],
    max_regression_percent: f64,
) -> GateResult {
    let old_rows = &baseline.record.rows;
    // With another number of cores, one busy thread is another utilisation.
    let cores = Some(cores).filter(|cores| baseline.record.protocol.cores == *cores);
    let limit = max_regression_percent / 100.0;
    let pairs: Vec<(&PowerRow, Option<&PowerRow>)> = rows
        .iter()
        .map(|row| (row, old_rows.iter().find(|old| old.key() == row.key())))
        .collect();
    let mut noisy: Vec<Noisy> = Vec::new();
    let mut comparisons = Vec::new();
    let mut seen = BTreeSet::new();
    for (row, old) in &pairs {
        let Some(old) = old else {
            comparisons.push(one_sided(row, GateVerdict::NotInBaseline));
            continue;
        };
        if seen.insert((&row.model.name, &row.model.precision)) {
            comparisons.extend(exact(old, row));
        }
        noisy.extend(self::noisy(old, row, cores));
    }
    let alpha = ALPHA / noisy.len().max(1) as f64;
    comparisons.extend(noisy.iter().map(|noisy| noisy.judge(limit, alpha)));
    let missing = old_rows
        .iter()
        .filter(|old| !rows.iter().any(|row| row.key() == old.key()));
    comparisons.extend(missing.map(|old| one_sided(old, GateVerdict::NotMeasured)));
    GateResult {
        baseline_sha256: baseline.sha256.clone(),
        baseline_created_at: baseline.record.envelope.created_at.clone(),
        max_regression_percent,
        alpha: ALPHA,
        passed: !comparisons
            .iter()
            .any(|c| c.verdict == GateVerdict::Regression),
        comparisons,
    }
}

/// Whether a row was found slower or hungrier, which noise may have done.
pub(crate) fn regressed_in_time(gate: &GateResult, row: &PowerRow) -> bool {
    gate.comparisons.iter().any(|comparison| {
        comparison.verdict == GateVerdict::Regression
            && comparison.mode == Some(row.mode)
            && comparison.model == row.model.name
            && comparison.precision == row.model.precision
    })
}

/// Takes over, for each metric with noise, what `again` says where that is better or shows no regression: a
/// regression is one only if every measurement of its row shows it.
pub(crate) fn merge(result: &mut GateResult, again: &GateResult) {
    for first in &mut result.comparisons {
        let is_same = |other: &&GateComparison| {
            (&other.model, &other.precision, other.mode, &other.metric)
                == (&first.model, &first.precision, first.mode, &first.metric)
        };
        // A metric may be in one of the two only: a counter can fail meanwhile.
        let Some(again) = again.comparisons.iter().find(is_same) else {
            continue;
        };
        let better = first
            .change_percent
            .zip(again.change_percent)
            .is_some_and(|(first, again)| again < first);
        let is_cleared =
            first.verdict == GateVerdict::Regression && again.verdict != GateVerdict::Regression;
        if first.p_value.is_some() && again.p_value.is_some() && (better || is_cleared) {
            *first = again.clone();
        }
    }
    result.passed = !result
        .comparisons
        .iter()
        .any(|c| c.verdict == GateVerdict::Regression);
}

/// Time of a pass over that of the calibration workload around it, of each sample.
fn latency_ratios(row: &PowerRow) -> Vec<f64> {
    let pairs = row
        .samples
        .wall_seconds
        .iter()
        .zip(&row.samples.calibration_seconds);
    pairs
        .map(|(wall, calibration)| wall / row.passes_per_sample as f64 / calibration)
        .collect()
}

/// CPU time of a pass over that of the calibration workload: what other programs on the machine hardly
/// change.
fn cpu_ratios(row: &PowerRow) -> Vec<f64> {
    let pairs = row
        .samples
        .cpu_seconds
        .iter()
        .zip(&row.samples.calibration_cpu_seconds);
    pairs
        .map(|(cpu, calibration)| cpu / row.passes_per_sample as f64 / calibration)
        .collect()
}

/// The same of the energy by the TDP model.
fn estimated_ratios(row: &PowerRow, cores: u64) -> Vec<f64> {
    let samples = &row.samples;
    let energy = |wall: f64, cpu: f64| REST * wall + (1.0 - REST) * cpu / cores as f64;
    let work = samples.wall_seconds.iter().zip(&samples.cpu_seconds);
    let calibration = samples
        .calibration_seconds
        .iter()
        .zip(&samples.calibration_cpu_seconds);
    work.zip(calibration)
        .map(|((wall, cpu), (calibration_wall, calibration_cpu))| {
            energy(*wall, *cpu)
                / row.passes_per_sample as f64
                / energy(*calibration_wall, *calibration_cpu)
        })
        .collect()
}

/// The same of the energy by a counter. Its steps are large against a window of the calibration, so
/// that the mean of all windows stands for each.
fn measured_ratios(row: &PowerRow, series: &CounterSamples) -> Vec<f64> {
    let windows = series.calibration_joules.len() as f64;
    let calibration = series.calibration_joules.iter().sum::<f64>() / windows;
    let passes = row.passes_per_sample as f64;
    series
        .joules
        .iter()
        .map(|joules| joules / passes / calibration)
        .collect()
}

/// Samples of one metric that has noise.
struct Noisy<'a> {
    row: &'a PowerRow,
    metric: String,
    old: Vec<f64>,
    new: Vec<f64>,
}

impl Noisy<'_> {
    fn judge(&self, limit: f64, alpha: f64) -> GateComparison {
        let judged = judge::samples(&self.old, &self.new, limit, alpha);
        GateComparison {
            metric: self.metric.clone(),
            old: Some(judged.old),
            new: Some(judged.new),
            change_percent: Some(judged.change_percent),
            p_value: Some(judged.p_value),
            verdict: judged.verdict,
            ..blank(self.row, Some(self.row.mode))
        }
    }
}

/// The metrics with noise of two rows; energy by the TDP model if both had so many `cores`.
fn noisy<'a>(old: &'a PowerRow, row: &'a PowerRow, cores: Option<u64>) -> Vec<Noisy<'a>> {
    let of = |metric: &str, old: Vec<f64>, new: Vec<f64>| Noisy {
        row,
        metric: metric.to_owned(),
        old,
        new,
    };
    let mut metrics = vec![
        of(
            "latency / calibration",
            latency_ratios(old),
            latency_ratios(row),
        ),
        of("CPU time / calibration", cpu_ratios(old), cpu_ratios(row)),
    ];
    if let Some(cores) = cores {
        let (old, new) = (estimated_ratios(old, cores), estimated_ratios(row, cores));
        metrics.push(of("energy / calibration, estimated(tdp)", old, new));
    }
    for series in &row.samples.counters {
        let mut of_old = old.samples.counters.iter();
        if let Some(before) = of_old.find(|before| before.source == series.source) {
            let metric = format!("energy / calibration, measured({})", series.source);
            metrics.push(of(
                &metric,
                measured_ratios(old, before),
                measured_ratios(row, series),
            ));
        }
    }
    // A clock or a counter too coarse for the calibration's windows makes ratios without meaning.
    let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
    metrics.retain(|metric| finite(&metric.old) && finite(&metric.new));
    metrics
}

/// The metrics without noise of two rows.
fn exact(old: &PowerRow, row: &PowerRow) -> Vec<GateComparison> {
    let count = |metric: &str, old: u64, new: u64| {
        judge::exact(
            blank(row, None),
            metric,
            Some(old as f64),
            Some(new as f64),
            0.0,
        )
    };
    let mut comparisons = vec![
        count("parameters", old.model.params, row.model.params),
        count(
            "active parameters",
            old.model.active_params,
            row.model.active_params,
        ),
        count("bytes", old.model.bytes, row.model.bytes),
        count(
            "multiply-adds per token",
            old.multiply_adds_per_token,
            row.multiply_adds_per_token,
        ),
    ];
    let bits = (old.bits_per_byte, row.bits_per_byte);
    if bits != (None, None) {
        let comparison = judge::exact(
            blank(row, None),
            "bits per byte",
            bits.0,
            bits.1,
            BITS_EPSILON,
        );
        comparisons.push(comparison);
    }
    comparisons
}

/// A row that only one of both has.
fn one_sided(row: &PowerRow, verdict: GateVerdict) -> GateComparison {
    let ratio = Some(judge::median(&latency_ratios(row)));
    let (old, new) = match verdict {
        GateVerdict::NotMeasured => (ratio, None),
        _ => (None, ratio),
    };
    GateComparison {
        metric: "latency / calibration".to_owned(),
        old,
        new,
        verdict,
        ..blank(row, Some(row.mode))
    }
}

fn blank(row: &PowerRow, mode: Option<PowerMode>) -> GateComparison {
    GateComparison {
        model: row.model.name.clone(),
        precision: row.model.precision.clone(),
        mode,
        metric: String::new(),
        old: None,
        new: None,
        change_percent: None,
        p_value: None,
        verdict: GateVerdict::Ok,
    }
}

#[cfg(test)]
mod tests;
