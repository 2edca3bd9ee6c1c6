//! The result as tables of text.

use itera_cli::{Align, Table};
use itera_record::{
    EnergyFigure, GateComparison, GateResult, Interval, PowerRecord, PowerRow, UNAVAILABLE,
};

/// Stands for what was not found.
const NONE: &str = "n/a";

/// Everything that a person wants to see.
pub(crate) fn report(record: &PowerRecord) -> String {
    let mut text = format!(
        "{}\n{}\n{}",
        speed(record),
        energy(record),
        counters(record)
    );
    text += &platforms(record);
    text += &protocol(record);
    if let Some(gate) = &record.gate {
        text.push('\n');
        text += &gate_report(gate);
    }
    let notes = record.notes.iter().map(|note| {
        format!(
            "note: {note}
"
        )
    });
    text.extend(notes);
    text
}

/// Time, memory and size.
fn speed(record: &PowerRecord) -> Table {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("precision", Align::Left),
        ("mode", Align::Left),
        ("tokens/s", Align::Right),
        ("ms a pass: median", Align::Right),
        ("mean", Align::Right),
        ("sd", Align::Right),
        ("min", Align::Right),
        ("p95", Align::Right),
        ("max", Align::Right),
        ("CPU ms", Align::Right),
        ("util %", Align::Right),
        ("model kB", Align::Right),
        ("peak MB", Align::Right),
        ("change MB", Align::Right),
        ("kernel", Align::Left),
    ]);
    for row in &record.rows {
        let latency = row.latency_seconds;
        let ms = |seconds: f64| significant(seconds * 1e3, 4);
        let mut cells = key(row);
        cells.extend([
            format!("{:.0}", row.tokens_per_s.median),
            ms(latency.median),
            ms(latency.mean),
            ms(latency.sd),
            ms(latency.min),
            ms(latency.p95),
            ms(latency.max),
            ms(row.cpu_seconds.median),
            format!("{:.1}", 100.0 * row.utilisation.median),
            format!("{:.1}", row.model.bytes as f64 / 1e3),
            row.peak_resident_bytes.map_or(NONE.to_owned(), |bytes| {
                format!("{:.1}", bytes as f64 / 1e6)
            }),
            row.resident_change_bytes.map_or(NONE.to_owned(), |bytes| {
                format!("{:+.1}", bytes as f64 / 1e6)
            }),
            row.kernel.clone(),
        ]);
        table.row(cells);
    }
    table
}

/// Energy by every method that gave any.
fn energy(record: &PowerRecord) -> Table {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("precision", Align::Left),
        ("mode", Align::Left),
        ("method", Align::Left),
        ("uJ/token", Align::Right),
        ("low .. high", Align::Left),
        ("net", Align::Right),
        ("tokens/J", Align::Right),
        ("W", Align::Right),
        ("g CO2e/1M tokens", Align::Right),
        ("widest term", Align::Left),
    ]);
    for row in &record.rows {
        let available = row
            .energy
            .iter()
            .filter(|figure| figure.method != UNAVAILABLE);
        for figure in available {
            table.row(key(row).into_iter().chain(energy_cells(figure)));
        }
    }
    table
}

fn energy_cells(figure: &EnergyFigure) -> Vec<String> {
    let nominal = |interval: Option<Interval>, factor: f64| {
        interval.map_or(NONE.to_owned(), |i| significant(i.nominal * factor, 3))
    };
    let bounds = figure
        .gross_joules_per_token
        .map_or(NONE.to_owned(), |gross| {
            format!(
                "{} .. {}",
                significant(gross.low * 1e6, 3),
                significant(gross.high * 1e6, 3)
            )
        });
    vec![
        figure.method.clone(),
        nominal(figure.gross_joules_per_token, 1e6),
        bounds,
        nominal(figure.net_joules_per_token, 1e6),
        nominal(figure.tokens_per_joule, 1.0),
        nominal(figure.power_watts, 1.0),
        nominal(figure.co2e_g_per_million_tokens, 1.0),
        figure
            .dominating_term
            .map_or(String::new(), |term| term.to_string()),
    ]
}

/// One line for each counter that was looked for.
fn counters(record: &PowerRecord) -> String {
    let watts = |watts: Option<f64>| watts.map_or(NONE.to_owned(), |watts| significant(watts, 3));
    let line = |counter: &itera_record::CounterStatus| {
        let source = &counter.source;
        if let Some(reason) = &counter.reason {
            return format!("{source}: {UNAVAILABLE}; {reason}\n");
        }
        let (idle, spin) = (watts(counter.idle_watts), watts(counter.spin_watts));
        format!(
            "{source}: {}, {idle} W at rest, {spin} W with one thread busy\n",
            counter.method
        )
    };
    record.counters.iter().map(line).collect()
}

/// What the estimates stand on.
fn platforms(record: &PowerRecord) -> String {
    let line = |platform: &itera_record::PowerPlatform| {
        let speed = platform.relative_speed.map_or_else(
            || "a projection at this machine's speed".to_owned(),
            |speed| format!("at {speed} times this machine's speed"),
        );
        format!(
            "tdp:{}: {} W, {} W at rest, {speed}; {} ({})\n",
            platform.name,
            platform.tdp_watts,
            significant(platform.idle_watts, 3),
            platform.source,
            platform.date
        )
    };
    record.platforms.iter().map(line).collect()
}

fn protocol(record: &PowerRecord) -> String {
    let protocol = &record.protocol;
    format!(
        "protocol: {} samples of {} tokens a pass, {} thread(s) of {} core(s), {} s a row, {} g CO2e/kWh\n",
        protocol.samples,
        protocol.seq_len_tokens,
        protocol.threads,
        protocol.cores,
        significant(protocol.min_seconds, 3),
        protocol.carbon_intensity_g_per_kwh
    )
}

/// The comparison with the baseline and its verdict.
fn gate_report(gate: &GateResult) -> String {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("precision", Align::Left),
        ("mode", Align::Left),
        ("metric", Align::Left),
        ("old", Align::Right),
        ("new", Align::Right),
        ("change %", Align::Right),
        ("p", Align::Right),
        ("verdict", Align::Left),
    ]);
    for comparison in &gate.comparisons {
        table.row(gate_cells(comparison));
    }
    let verdict = if gate.passed {
        "no regression".to_owned()
    } else {
        let is_bad = |c: &&GateComparison| c.verdict == itera_record::GateVerdict::Regression;
        format!(
            "REGRESSION in {} of {}",
            gate.comparisons.iter().filter(is_bad).count(),
            gate.comparisons.len()
        )
    };
    format!(
        "{table}gate: {verdict}; permitted {} % in time and energy, counts exactly, bits per byte within \
         0.0005; baseline of {}\n",
        gate.max_regression_percent, gate.baseline_created_at
    )
}

fn gate_cells(comparison: &GateComparison) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| significant(value, 6));
    vec![
        comparison.model.clone(),
        comparison.precision.clone(),
        comparison
            .mode
            .map_or("-", itera_record::PowerMode::name)
            .to_owned(),
        comparison.metric.clone(),
        number(comparison.old),
        number(comparison.new),
        comparison
            .change_percent
            .map_or(NONE.to_owned(), |change| format!("{change:+.1}")),
        comparison
            .p_value
            .map_or(NONE.to_owned(), |p| format!("{p:.2}")),
        comparison.verdict.to_string(),
    ]
}

fn key(row: &PowerRow) -> Vec<String> {
    vec![
        row.model.name.clone(),
        row.model.precision.clone(),
        row.mode.name().to_owned(),
    ]
}

/// So many significant digits, without a power of ten where that would be longer.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = (digits as i32 - 1 - magnitude).max(0) as usize;
    if decimals > digits + 4 {
        return format!("{value:.*e}", digits - 1);
    }
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_significant() {
        for (value, digits, text) in [
            (123.456, 3, "123"),
            (0.012_345, 3, "0.0123"),
            (1.0, 3, "1.00"),
            (98_765.4, 3, "98765"),
            (1.5e-9, 3, "1.50e-9"),
            (0.0, 3, "0"),
        ] {
            assert_eq!(significant(value, digits), text);
        }
    }
}
