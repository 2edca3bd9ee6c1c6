//! The result as tables of text.

use itera_cli::Table;
use itera_record::{
    GateComparison, GateResult, PowerRecord, UNAVAILABLE,
    columns::{EnergyRow, GATE, LATENCIES, energies},
    num::short,
};

/// Everything that a person wants to see.
pub(crate) fn report(record: &PowerRecord) -> String {
    let energy = EnergyRow::all(&record.rows);
    let mut text = format!(
        "{}\n{}\n{}",
        Table::of(LATENCIES, &record.rows),
        Table::of(&energies(), &energy),
        counters(record)
    );
    text += &platforms(record);
    text += &protocol(record);
    if let Some(gate) = &record.gate {
        text.push('\n');
        text += &gate_report(gate);
    }
    let notes = record.notes.iter().map(|note| format!("note: {note}\n"));
    text.extend(notes);
    text
}

/// One line for each counter that was looked for.
fn counters(record: &PowerRecord) -> String {
    let watts = |watts: Option<f64>| watts.map_or("n/a".to_owned(), short);
    let line = |counter: &itera_record::CounterStatus| {
        let source = &counter.source;
        if let Some(reason) = &counter.reason {
            return format!("{source}: {UNAVAILABLE}; {reason}\n");
        }
        let [idle, after, spin] = [
            counter.idle_watts,
            counter.idle_after_watts,
            counter.spin_watts,
        ]
        .map(watts);
        format!(
            "{source}: {}, {idle} W at rest before and {after} W after, {spin} W with one thread busy\n",
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
            "tdp:{}: {} W, {} W at rest, {} core(s), {speed}; {} ({})\n",
            platform.name,
            platform.tdp_watts,
            short(platform.idle_watts),
            platform.cores,
            platform.source,
            platform.date
        )
    };
    record.platforms.iter().map(line).collect()
}

fn protocol(record: &PowerRecord) -> String {
    let protocol = &record.protocol;
    format!(
        "protocol: {} processes of {} samples, {} tokens a pass, {} thread(s), {} s a row, {} g CO2e/kWh\n",
        protocol.processes,
        protocol.samples,
        protocol.seq_len_tokens,
        protocol.threads,
        short(protocol.min_seconds),
        protocol.carbon_intensity_g_per_kwh
    )
}

/// The comparison with the baseline and its verdict.
fn gate_report(gate: &GateResult) -> String {
    let table = Table::of(GATE, &gate.comparisons);
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
    let how = if gate.is_in_turns {
        "measured in turns with it".to_owned()
    } else {
        format!("of {}", gate.baseline_created_at)
    };
    format!(
        "{table}gate: {verdict}; permitted {} % in time and energy, counts exactly, bits per byte within \
         0.0005; baseline {how}\n",
        gate.max_regression_percent
    )
}
