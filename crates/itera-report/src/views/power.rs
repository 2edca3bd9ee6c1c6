//! Time and energy per token.

use itera_record::{
    Align, CounterStatus, EnergyFigure,
    Form::{Short, Si},
    Head, PowerMode, PowerPlatform, PowerRecord, PowerRow, Table, Value, columns,
    columns::{EnergyRow, GATE, LATENCIES, energies},
};

use super::{View, rows_of};
use crate::input::{Inputs, Of, items};

/// Comparisons of a gate that a page shows.
const GATE_ROWS: usize = 20;

/// Whether a source is a model of a machine and not a counter.
pub(crate) fn is_platform(source: &str) -> bool {
    source.starts_with("tdp:")
}

/// A source as people name it: `laptop` for `tdp:laptop`.
pub(crate) fn source_name(source: &str) -> &str {
    source.strip_prefix("tdp:").unwrap_or(source)
}

/// The energy of a row by one source.
pub(crate) fn energy_of<'r>(row: &'r PowerRow, source: &str) -> Option<&'r EnergyFigure> {
    let mut figures = row.energy.iter();
    figures.find(|figure| figure.source == source && figure.gross_joules_per_token.is_some())
}

/// All rows with the records that they come from.
pub(crate) fn rows(inputs: &Inputs) -> impl Iterator<Item = (&Of<PowerRecord>, &PowerRow)> {
    rows_of(&inputs.power, |record| &record.rows)
}

/// The sources that gave an energy, in the order of the rows.
pub(crate) fn sources(inputs: &Inputs) -> Vec<&str> {
    let mut sources: Vec<&str> = Vec::new();
    for figure in rows(inputs).flat_map(|(_, row)| &row.energy) {
        if figure.gross_joules_per_token.is_some() && !sources.contains(&figure.source.as_str()) {
            sources.push(&figure.source);
        }
    }
    sources
}

/// Reading and writing of a model at a precision; one of them may be missing.
struct Pair<'i> {
    any: &'i PowerRow,
    prefill: Option<&'i PowerRow>,
    decode: Option<&'i PowerRow>,
}

fn pairs(inputs: &Inputs) -> Vec<Pair<'_>> {
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for (_, row) in rows(inputs) {
        let label = row.model.label();
        let is_free =
            |pair: &Pair<'_>| pair.of(row.mode).is_none() && pair.any.model.label() == label;
        let pair = match pairs.iter().position(is_free) {
            Some(position) => &mut pairs[position],
            None => pairs.push_mut(Pair {
                any: row,
                prefill: None,
                decode: None,
            }),
        };
        match row.mode {
            PowerMode::Prefill => pair.prefill = Some(row),
            PowerMode::Decode => pair.decode = Some(row),
        }
    }
    pairs
}

impl<'i> Pair<'i> {
    const fn of(&self, mode: PowerMode) -> Option<&'i PowerRow> {
        match mode {
            PowerMode::Prefill => self.prefill,
            PowerMode::Decode => self.decode,
        }
    }
}

/// Energy per token of every model by every source that gave any.
fn by_source(inputs: &Inputs, mode: PowerMode) -> Table {
    let sources = sources(inputs);
    let head = |source: &&str| {
        let kind = if is_platform(source) {
            "estimated"
        } else {
            "measured"
        };
        let title = format!("{}, {kind}, µJ/token [low, high]", source_name(source));
        Head::new(source, &title, Align::Right)
    };
    let names = ["model", "precision"].map(|name| Head::new(name, name, Align::Left));
    let heads = names.into_iter().chain(sources.iter().map(head));
    let mut table = Table::with_heads(heads.collect());
    for (_, row) in rows(inputs).filter(|(_, row)| row.mode == mode) {
        let energy = |source: &&str| {
            let joules = energy_of(row, source).and_then(|figure| figure.gross_joules_per_token);
            let micro = joules.map(|joules| joules.map(|joules| 1e6 * joules));
            Value::from(micro.map(|of| Short.within(of.nominal, [of.low, of.high])))
        };
        let names = [
            Value::code(row.model.base_name()),
            (&row.model.precision).into(),
        ];
        table.push(
            names
                .into_iter()
                .chain(sources.iter().map(energy))
                .collect(),
        );
    }
    table
}

/// Speeds, energies, counters, platforms and the gate.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let speeds = columns! { Pair<'_>:
        text   "model"                "model"          ""         |pair| Value::code(pair.any.model.base_name());
        text   "precision"            "precision"      ""         |pair| &pair.any.model.precision;
        text   "kernel"               "kernel"         ""         |pair| &pair.any.kernel;
        number "prefill_tokens_per_s" "prefill"        "tokens/s" |pair| Si.of(pair.prefill.map(|row| row.tokens_per_s.median));
        number "decode_tokens_per_s"  "decode"         "tokens/s" |pair| Si.of(pair.decode.map(|row| row.tokens_per_s.median));
        number "decode_ms"            "decode, median" "ms/pass"  |pair| Short.of(pair.decode.map(|row| 1e3 * row.latency_seconds.median));
        number "decode_p95_ms"        "p95"            "ms/pass"  |pair| Short.of(pair.decode.map(|row| 1e3 * row.latency_seconds.p95));
        number "weights"              "weights"        "bytes"    |pair| pair.any.model.bytes;
    };
    let counters = columns! { CounterStatus:
        text   "counter" "counter"    ""  |counter| Value::code(&counter.source);
        text   "method"  "method"     ""  |counter| &counter.method;
        number "idle_w"  "idle"       "W" |counter| Short.of(counter.idle_watts);
        number "after_w" "idle after" "W" |counter| Short.of(counter.idle_after_watts);
        number "spin_w"  "under load" "W" |counter| Short.of(counter.spin_watts);
        text   "reason"  "why not"    ""  |counter| counter.reason.as_ref();
    };
    let columns = columns! { PowerPlatform:
        text   "platform"       "platform"       ""  |platform| &platform.name;
        number "cores"          "cores"          ""  |platform| platform.cores;
        number "tdp_w"          "TDP"            "W" |platform| Short.of(platform.tdp_watts);
        number "idle_w"         "idle"           "W" |platform| Short.of(platform.idle_watts);
        number "relative_speed" "relative speed" ""  |platform| platform.relative_speed.map_or("not known".into(), |speed| Short.of(speed));
        text   "what"           "what"           ""  |platform| &platform.description;
        text   "source"         "powers from"    ""  |platform| &platform.source;
        text   "date"           "date"           ""  |platform| &platform.date;
    };
    let sources = Inputs::files(&inputs.power);
    let measured = || rows(inputs).map(|(_, row)| row);
    let records = || items(&inputs.power);
    let mut platforms: Vec<&PowerPlatform> = Vec::new();
    for platform in records().flat_map(|record| &record.platforms) {
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    let gates = records().flat_map(|record| &record.gate);
    let gate = Table::of(GATE, gates.flat_map(|gate| &gate.comparisons));
    let figures = EnergyRow::all(measured());
    let found = records().flat_map(|record| &record.counters);
    views! { &sources;
        "latencies" "Latency, all measurements" Table::of(LATENCIES, measured());
        "energies" "Energy, all figures" Table::of(&energies(), &figures);
        "speeds" "Speed" Table::of(&speeds, &pairs(inputs));
        "energy-decode" "Energy of writing a token" by_source(inputs, PowerMode::Decode);
        "energy-prefill" "Energy of reading a token" by_source(inputs, PowerMode::Prefill);
        "counters" "Energy counters" Table::of(&counters, found);
        "platforms" "Platforms" Table::of(&columns, platforms);
        "gate" "Gate, all comparisons" gate.clone();
        "gate-first" "Gate" gate.first(GATE_ROWS);
    }
}
