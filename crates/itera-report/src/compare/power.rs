//! The metrics of the power results.

use itera_record::{EnergyFigure, GateVerdict, PowerRecord, PowerRow, Summary};

use super::metrics::{Direction, Metric, machine};
use crate::{
    input::Source,
    view::{model_name, power::is_platform},
};

/// The name that itera-power has for it too.
const LATENCY: &str = "latency / calibration";

/// Latency as a multiple of the calibration workload's, so that a slower machine is no regression;
/// energy as it is, on equal machines.
pub(super) fn metrics(record: &PowerRecord, row: &PowerRow, source: &Source) -> Vec<Metric> {
    let exact = Metric {
        subject: format!("{} {}", model_name(&row.model), row.mode.name()),
        name: "multiply-adds per token".to_owned(),
        unit: "operations",
        direction: Direction::Lower,
        value: row.multiply_adds_per_token as f64,
        interval: None,
        protocol: Vec::new(),
        source: source.label.clone(),
        source_sha256: source.sha256.clone(),
        judged: None,
    };
    let measured = Metric {
        protocol: vec![
            (
                "tokens per pass",
                record.protocol.seq_len_tokens.to_string(),
            ),
            ("threads", record.protocol.threads.to_string()),
            ("calibration", record.protocol.calibration.clone()),
            ("kernel", row.kernel.clone()),
        ],
        ..exact.clone()
    };
    let mut all = vec![exact];
    all.extend(latency(record, row, &measured));
    let machine = machine(&record.envelope.host);
    let energies = row
        .energy
        .iter()
        .filter_map(|figure| energy(figure, &measured, &machine));
    all.extend(energies);
    all
}

fn latency(record: &PowerRecord, row: &PowerRow, measured: &Metric) -> Option<Metric> {
    let passes = row.passes_per_sample as f64;
    let samples = &row.samples;
    let pairs = samples
        .wall_seconds
        .iter()
        .zip(&samples.calibration_seconds);
    let ratios: Vec<f64> = pairs.map(|(wall, unit)| wall / passes / unit).collect();
    let at = |q| Summary::quantile(&ratios, q);
    Some(Metric {
        name: LATENCY.to_owned(),
        unit: "times",
        value: at(0.5)?,
        interval: Some([at(0.05)?, at(0.95)?]),
        judged: judged(record, row),
        ..measured.clone()
    })
}

/// What itera-power found about the latency of a row, and in comparison with which file.
fn judged(record: &PowerRecord, row: &PowerRow) -> Option<(String, GateVerdict)> {
    let gate = record.gate.as_ref()?;
    let found = gate.comparisons.iter().find(|comparison| {
        comparison.metric == LATENCY
            && comparison.model == row.model.name
            && comparison.precision == row.model.precision
            && comparison.mode == Some(row.mode)
    })?;
    Some((gate.baseline_sha256.clone(), found.verdict))
}

fn energy(figure: &EnergyFigure, measured: &Metric, machine: &str) -> Option<Metric> {
    let joules = figure.gross_joules_per_token?;
    let is_estimate = is_platform(&figure.source);
    let kind = if is_estimate { "estimated" } else { "measured" };
    let mut metric = Metric {
        name: format!("energy per token, {kind}({})", figure.source),
        unit: "µJ",
        value: 1e6 * joules.nominal,
        interval: Some([1e6 * joules.low, 1e6 * joules.high]),
        ..measured.clone()
    };
    metric.protocol.push(("machine", machine.to_owned()));
    Some(metric)
}
