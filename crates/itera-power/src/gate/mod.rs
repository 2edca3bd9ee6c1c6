//! The gate: whether this build is slower, hungrier or larger than a baseline.
//!
//! What has no noise is compared as it is. Time, CPU time and energy are compared as multiples of the calibration
//! workload's, which was timed between the samples of the same run: a machine that is slower today slows
//! both. A process is one number, the median of its samples, since samples of one process share its memory
//! layout. A metric fails if the median of the processes is beyond what is permitted, and if the processes
//! as a whole are too, by a Mann-Whitney test against the baseline moved up by what is permitted.
//! Energy by a TDP model is time and CPU time once more, so it is not tested.

mod baseline;
mod comparable;
mod judge;

use std::collections::BTreeSet;

use itera_record::{
    CounterSamples, GateComparison, GateResult, GateVerdict, PowerMode, PowerProtocol, PowerRow,
};

pub(crate) use baseline::Baseline;
pub(crate) use comparable::{Planned, check, check_design};

use crate::figures::median;

/// Chance of one false alarm in a whole table.
const ALPHA: f64 = 0.01;

/// Processes of a row beyond which a value is a typing error.
pub(crate) const MAX_PROCESSES: u64 = 200;

/// Bits per byte by which two machines may differ, since they add in different orders.
const BITS_EPSILON: f64 = 0.0005;

/// What was measured of the baseline.
pub(crate) struct Before<'a> {
    pub(crate) rows: &'a [PowerRow],
    pub(crate) protocol: &'a PowerProtocol,
    pub(crate) created_at: &'a str,
    pub(crate) sha256: &'a str,
    pub(crate) is_in_turns: bool,
}

/// Compares the rows of a run with those of the baseline.
pub(crate) fn compare(
    before: &Before<'_>,
    rows: &[PowerRow],
    protocol: &PowerProtocol,
    max_regression_percent: f64,
) -> GateResult {
    let limit = max_regression_percent / 100.0;
    let mut noisy: Vec<Noisy<'_>> = Vec::new();
    let mut comparisons = Vec::new();
    let mut seen = BTreeSet::new();
    for row in rows {
        let Some(old) = before.rows.iter().find(|old| old.key() == row.key()) else {
            comparisons.push(one_sided(row, GateVerdict::NotInBaseline));
            continue;
        };
        if seen.insert((&row.model.name, &row.model.precision)) {
            comparisons.extend(exact(old, row));
        }
        noisy.extend(self::noisy((before.protocol, old), (protocol, row)));
    }
    comparisons.extend(judge_all(noisy, limit));
    let missing = before
        .rows
        .iter()
        .filter(|old| !rows.iter().any(|row| row.key() == old.key()));
    comparisons.extend(missing.map(|old| one_sided(old, GateVerdict::NotMeasured)));
    GateResult {
        baseline_sha256: before.sha256.to_owned(),
        is_in_turns: before.is_in_turns,
        baseline_created_at: before.created_at.to_owned(),
        max_regression_percent,
        alpha: ALPHA,
        passed: !comparisons
            .iter()
            .any(|c| c.verdict == GateVerdict::Regression),
        comparisons,
    }
}

/// Tests that a comparison of these rows makes, so many counters being read.
pub(crate) const fn tests(rows: usize, counters: usize) -> usize {
    rows * (TIMES + counters)
}

/// Metrics of time of a row: latency and CPU time.
const TIMES: usize = 2;

/// One metric of a row that has noise: a number for each process.
struct Noisy<'a> {
    row: &'a PowerRow,
    metric: String,
    old: Vec<f64>,
    new: Vec<f64>,
}

/// The verdicts on all metrics with noise, at [`ALPHA`] for all together.
fn judge_all(noisy: Vec<Noisy<'_>>, limit: f64) -> Vec<GateComparison> {
    let moved = |values: &[f64], factor: f64| -> Vec<f64> {
        values.iter().map(|value| value * factor).collect()
    };
    let worse: Vec<f64> = noisy
        .iter()
        .map(|of| judge::chance_greater(&of.new, &moved(&of.old, 1.0 + limit)))
        .collect();
    let better: Vec<f64> = noisy
        .iter()
        .map(|of| judge::chance_greater(&moved(&of.old, (1.0 - limit).max(0.0)), &of.new))
        .collect();
    let is_worse = judge::holm(&worse, ALPHA);
    let is_better = judge::holm(&better, ALPHA);
    let judged = |(i, of): (usize, Noisy<'_>)| {
        let (old, new) = (median(&of.old), median(&of.new));
        let change = new / old - 1.0;
        let verdict = if change > limit && is_worse[i] {
            GateVerdict::Regression
        } else if change < -limit && is_better[i] {
            GateVerdict::Improved
        } else {
            GateVerdict::Ok
        };
        GateComparison {
            metric: of.metric,
            old: Some(old),
            new: Some(new),
            change_percent: Some(100.0 * change),
            old_processes: of.old,
            new_processes: of.new,
            p_value: Some(worse[i]),
            verdict,
            ..blank(of.row, Some(of.row.mode))
        }
    };
    noisy.into_iter().enumerate().map(judged).collect()
}

/// Energy of a pass by a counter over that of the calibration workload. Its steps are large against a window
/// of the calibration, so that the mean of all windows stands for each.
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

/// The metrics with noise of two rows, each with its protocol.
fn noisy<'a>(
    (old_protocol, old): (&PowerProtocol, &PowerRow),
    (protocol, row): (&PowerProtocol, &'a PowerRow),
) -> Vec<Noisy<'a>> {
    let of = |metric: &str, old: &[f64], new: &[f64]| Noisy {
        row,
        metric: metric.to_owned(),
        old: old_protocol.process_medians(old),
        new: protocol.process_medians(new),
    };
    let mut metrics = vec![
        of(
            GateComparison::LATENCY,
            &old.latency_ratios(),
            &row.latency_ratios(),
        ),
        of(
            GateComparison::CPU_TIME,
            &old.cpu_ratios(),
            &row.cpu_ratios(),
        ),
    ];
    for series in &row.samples.counters {
        let mut of_old = old.samples.counters.iter();
        if let Some(before) = of_old.find(|before| before.source == series.source) {
            let metric = format!("energy / calibration, measured({})", series.source);
            metrics.push(of(
                &metric,
                &measured_ratios(old, before),
                &measured_ratios(row, series),
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
    let ratio = Some(median(&row.latency_ratios()));
    let (old, new) = match verdict {
        GateVerdict::NotMeasured => (ratio, None),
        _ => (None, ratio),
    };
    GateComparison {
        metric: GateComparison::LATENCY.to_owned(),
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
        old_processes: Vec::new(),
        new_processes: Vec::new(),
        p_value: None,
        verdict: GateVerdict::Ok,
    }
}

#[cfg(test)]
mod tests;
