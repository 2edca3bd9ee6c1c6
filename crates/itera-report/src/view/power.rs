//! Energy per token: the rows of the power results, as tables and words.

use itera_record::{EnergyFigure, Interval, PowerRecord, PowerRow, SpeedBasis};

use super::model_name;

use crate::{
    input::{Inputs, Of},
    md::{Table, code},
    num::{change_percent, fixed, plain, short, short_interval, thousands},
};

/// Prefix of the sources that stand for a platform.
const PLATFORM: &str = "tdp:";

const MICRO: f64 = 1e6;

/// A source of energies as people name it: `laptop` for `tdp:laptop`.
pub(crate) fn source_name(source: &str) -> &str {
    source.strip_prefix(PLATFORM).unwrap_or(source)
}

/// Whether a source is a model of a machine and no counter.
pub(crate) fn is_platform(source: &str) -> bool {
    source.starts_with(PLATFORM)
}

/// The sources of a record, in the order of its rows.
pub(crate) fn sources(record: &PowerRecord) -> Vec<&str> {
    let mut sources: Vec<&str> = Vec::new();
    for figure in record.rows.iter().flat_map(|row| &row.energy) {
        if !sources.contains(&figure.source.as_str()) {
            sources.push(&figure.source);
        }
    }
    sources
}

/// The energy of a row by one source.
pub(crate) fn energy_of<'r>(row: &'r PowerRow, source: &str) -> Option<&'r EnergyFigure> {
    row.energy.iter().find(|figure| figure.source == source)
}

/// An interval in one unit: figure and bounds.
pub(crate) fn with_bounds(interval: Interval, scale: f64) -> String {
    let Interval { low, nominal, high } = interval.map(|value| value * scale);
    format!("{} {}", short(nominal), short_interval([low, high]))
}

/// Which speed an energy stands for, in words.
pub(crate) const fn speed(basis: SpeedBasis) -> &'static str {
    match basis {
        SpeedBasis::Measured => "measured here",
        SpeedBasis::ThisMachine => "projection at this machine's speed",
        SpeedBasis::RelativeSpeed => "this machine's speed times the platform's relative speed",
    }
}

/// Latency, speed, memory and size of every row.
pub(crate) fn latency_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "model",
        "mode",
        "kernel",
        ">median ms/pass",
        ">mean ± sd",
        ">p95",
        ">tokens/s",
        ">CPU use",
        ">peak MB",
        ">change MB",
        ">multiply-adds/token",
        ">bytes",
        "source",
    ]);
    for (record, row) in rows(inputs) {
        let milli = |seconds: f64| short(1e3 * seconds);
        let latency = &row.latency_seconds;
        table.row([
            code(&model_name(&row.model)),
            row.mode.name().to_owned(),
            row.kernel.clone(),
            milli(latency.median),
            format!("{} ± {}", milli(latency.mean), milli(latency.sd)),
            milli(latency.p95),
            thousands(row.tokens_per_s.median.round() as u64),
            format!("{} %", fixed(100.0 * row.utilisation.median, 1)),
            row.peak_resident_bytes
                .map_or(none(), |bytes| fixed(bytes as f64 / MICRO, 1)),
            row.resident_change_bytes
                .map_or(none(), |bytes| fixed(bytes as f64 / MICRO, 1)),
            thousands(row.multiply_adds_per_token),
            thousands(row.model.bytes),
            inputs.cite(record),
        ]);
    }
    table
}

/// Energy of every row by every source, each with its method.
pub(crate) fn energy_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "model",
        "mode",
        "method",
        "speed",
        ">power W",
        ">µJ/token gross [low, high]",
        ">µJ/token net",
        ">tokens/J",
        "widest uncertainty",
        ">g CO2e per million tokens",
    ]);
    // What no row has is said once.
    let all: Vec<&PowerRow> = rows(inputs).map(|(_, row)| row).collect();
    let of_none = |words: &str| {
        all.iter().all(|row| {
            let mut figures = row.energy.iter();
            figures.any(|figure| figure.reason.is_some() && method(figure) == words)
        })
    };
    let mut missing: Vec<String> = Vec::new();
    for row in &all {
        for figure in &row.energy {
            let words = method(figure);
            if figure.reason.is_some() && of_none(&words) {
                if !missing.contains(&words) {
                    missing.push(words);
                }
                continue;
            }
            let bounds = |value: Option<Interval>, scale: f64| {
                value.map_or("unavailable".to_owned(), |value| with_bounds(value, scale))
            };
            table.row([
                code(&model_name(&row.model)),
                row.mode.name().to_owned(),
                words,
                speed(figure.speed).to_owned(),
                bounds(figure.power_watts, 1.0),
                bounds(figure.gross_joules_per_token, MICRO),
                bounds(figure.net_joules_per_token, MICRO),
                bounds(figure.tokens_per_joule, 1.0),
                figure
                    .dominating_term
                    .map_or(none(), |term| term.to_string()),
                bounds(figure.co2e_g_per_million_tokens, 1.0),
            ]);
        }
    }
    for method in missing {
        let words = ["any", "any", &method];
        table.row::<10>(std::array::from_fn(|column| {
            words
                .get(column)
                .copied()
                .unwrap_or("unavailable")
                .to_owned()
        }));
    }
    table
}

/// The method, and what stands in the way of a figure.
fn method(figure: &EnergyFigure) -> String {
    match &figure.reason {
        None => code(&figure.method),
        Some(reason) => format!("{} ({}: {reason})", code(&figure.method), figure.source),
    }
}

/// The energy counters of the machines, believed or not.
pub(crate) fn counter_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "counter", "method", ">idle W", ">spin W", "why not", "source",
    ]);
    for record in &inputs.power {
        for counter in &record.item.counters {
            table.row([
                code(&counter.source),
                code(&counter.method),
                counter.idle_watts.map_or(none(), short),
                counter.spin_watts.map_or(none(), short),
                counter.reason.clone().unwrap_or_default(),
                inputs.cite(record),
            ]);
        }
    }
    table
}

/// The platforms that energy is estimated for.
pub(crate) fn platform_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "platform",
        ">TDP W",
        ">idle W",
        ">relative speed",
        "what",
        "powers from",
        "date",
    ]);
    let mut seen = Vec::new();
    for platform in inputs
        .power
        .iter()
        .flat_map(|record| &record.item.platforms)
    {
        if seen.contains(&platform) {
            continue;
        }
        seen.push(platform);
        table.row([
            platform.name.clone(),
            plain(platform.tdp_watts),
            plain(platform.idle_watts),
            platform
                .relative_speed
                .map_or("not known".to_owned(), short),
            platform.description.clone(),
            platform.source.clone(),
            platform.date.clone(),
        ]);
    }
    table
}

/// What the gate of `itera-power` found, where a record was compared with a baseline.
pub(crate) fn gate_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "model", "mode", "metric", ">old", ">new", ">change", ">p", "verdict", "source",
    ]);
    for record in &inputs.power {
        for row in record.item.gate.iter().flat_map(|gate| &gate.comparisons) {
            let change = row
                .old
                .zip(row.new)
                .map(|(old, new)| change_percent(old, new));
            table.row([
                code(&format!("{} {}", row.model, row.precision)),
                row.mode.map_or(none(), |mode| mode.name().to_owned()),
                row.metric.clone(),
                row.old.map_or(none(), short),
                row.new.map_or(none(), short),
                change.unwrap_or_else(none),
                row.p_value.map_or(none(), short),
                row.verdict.to_string(),
                inputs.cite(record),
            ]);
        }
    }
    table
}

/// All rows with the records that they come from.
pub(crate) fn rows(inputs: &Inputs) -> impl Iterator<Item = (&Of<PowerRecord>, &PowerRow)> {
    inputs
        .power
        .iter()
        .flat_map(|record| record.item.rows.iter().map(move |row| (record, row)))
}

fn none() -> String {
    "–".to_owned()
}
