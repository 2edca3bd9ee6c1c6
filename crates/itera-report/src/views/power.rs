//! Time and energy per token.

use itera_record::{
    Align, Column, CounterStatus, EnergyFigure, Form, Head, PowerMode, PowerPlatform, PowerRecord,
    PowerRow, Table, Value,
    columns::{EnergyRow, GATE, LATENCIES, energies},
};

use super::{View, rows_of};
use crate::input::{Inputs, Of};

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

/// A model at a precision, reading and writing: one line each.
fn by_model(inputs: &Inputs) -> Vec<[Option<&PowerRow>; 2]> {
    let mut models: Vec<[Option<&PowerRow>; 2]> = Vec::new();
    for (_, row) in rows(inputs) {
        let slot = usize::from(row.mode == PowerMode::Decode);
        let is_same = |pair: &&mut [Option<&PowerRow>; 2]| {
            let other = pair.iter().flatten().next();
            pair[slot].is_none()
                && other.is_some_and(|other| other.model.label() == row.model.label())
        };
        if let Some(pair) = models.iter_mut().find(is_same) {
            pair[slot] = Some(row);
        } else {
            let mut pair = [None, None];
            pair[slot] = Some(row);
            models.push(pair);
        }
    }
    models
}

type Pair<'i> = [Option<&'i PowerRow>; 2];

fn speed_columns<'i>() -> [Column<Pair<'i>>; 8] {
    fn number(row: Option<&PowerRow>, value: fn(&PowerRow) -> f64, form: Form) -> Value {
        match row {
            Some(row) => Value::Number(value(row), form),
            None => Value::None,
        }
    }
    [
        Column::words("model", "model", |pair| {
            Value::code(any(pair).model.base_name())
        }),
        Column::words("precision", "precision", |pair| {
            Value::text(&any(pair).model.precision)
        }),
        Column::words("kernel", "kernel", |pair| Value::text(&any(pair).kernel)),
        Column::number("prefill_tokens_per_s", "prefill", "tokens/s", |pair| {
            number(pair[0], |row| row.tokens_per_s.median, Form::Si)
        }),
        Column::number("decode_tokens_per_s", "decode", "tokens/s", |pair| {
            number(pair[1], |row| row.tokens_per_s.median, Form::Si)
        }),
        Column::number("decode_ms", "decode, median", "ms/pass", |pair| {
            number(pair[1], |row| 1e3 * row.latency_seconds.median, Form::Short)
        }),
        Column::number("decode_p95_ms", "p95", "ms/pass", |pair| {
            number(pair[1], |row| 1e3 * row.latency_seconds.p95, Form::Short)
        }),
        Column::number("weights", "weights", "bytes", |pair| {
            Value::count(any(pair).model.bytes)
        }),
    ]
}

/// One of the two; a pair has at least one.
fn any<'i>(pair: &Pair<'i>) -> &'i PowerRow {
    match pair {
        [Some(row), _] | [_, Some(row)] => row,
        [None, None] => unreachable!("a pair is made with a row"),
    }
}

/// Energy per token of every model by every source that gave any.
fn energy_by_model(inputs: &Inputs, mode: PowerMode) -> Table {
    let sources = sources(inputs);
    let head = |source: &&str| {
        let kind = if is_platform(source) {
            "estimated"
        } else {
            "measured"
        };
        Head::new(
            source,
            &format!("{}, {kind}, µJ/token [low, high]", source_name(source)),
            Align::Right,
        )
    };
    let mut heads = vec![
        Head::new("model", "model", Align::Left),
        Head::new("precision", "precision", Align::Left),
    ];
    heads.extend(sources.iter().map(head));
    let mut table = Table::with_heads(heads);
    for (_, row) in rows(inputs).filter(|(_, row)| row.mode == mode) {
        let mut cells = vec![
            Value::code(row.model.base_name()),
            Value::text(&row.model.precision),
        ];
        cells.extend(sources.iter().map(|source| {
            let joules = energy_of(row, source).and_then(|figure| figure.gross_joules_per_token);
            joules.map_or(Value::None, |joules| {
                let joules = joules.map(|joules| 1e6 * joules);
                Value::Within(joules.nominal, [joules.low, joules.high], Form::Short)
            })
        }));
        table.push(cells);
    }
    table
}

const COUNTERS: [Column<CounterStatus>; 5] = [
    Column::words("counter", "counter", |counter| Value::code(&counter.source)),
    Column::words("method", "method", |counter| Value::text(&counter.method)),
    Column::number("idle_w", "idle", "W", |counter| {
        Value::number(counter.idle_watts, Form::Short)
    }),
    Column::number("spin_w", "under load", "W", |counter| {
        Value::number(counter.spin_watts, Form::Short)
    }),
    Column::words("reason", "why not", |counter| {
        counter.reason.as_ref().map_or(Value::None, Value::text)
    }),
];

const PLATFORMS: [Column<PowerPlatform>; 7] = [
    Column::words("platform", "platform", |platform| {
        Value::text(&platform.name)
    }),
    Column::number("tdp_w", "TDP", "W", |platform| {
        Value::Number(platform.tdp_watts, Form::Short)
    }),
    Column::number("idle_w", "idle", "W", |platform| {
        Value::Number(platform.idle_watts, Form::Short)
    }),
    Column::number("relative_speed", "relative speed", "", |platform| {
        platform
            .relative_speed
            .map_or(Value::text("not known"), |speed| {
                Value::Number(speed, Form::Short)
            })
    }),
    Column::words("what", "what", |platform| {
        Value::text(&platform.description)
    }),
    Column::words("source", "powers from", |platform| {
        Value::text(&platform.source)
    }),
    Column::words("date", "date", |platform| Value::text(&platform.date)),
];

/// Speeds, energies, counters, platforms and the gate.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let files = Inputs::files(&inputs.power);
    let view = |name: &str, title: &str, table: Table| View::new(name, title, table, files.clone());
    let latencies = Table::of(&LATENCIES, rows(inputs).map(|(_, row)| row));
    let figures: Vec<EnergyRow<'_>> = rows(inputs)
        .flat_map(|(_, row)| {
            row.energy
                .iter()
                .map(move |figure| EnergyRow { row, figure })
        })
        .filter(|of| of.figure.gross_joules_per_token.is_some())
        .collect();
    let records = || inputs.power.iter().map(|of| &of.item);
    let mut platforms: Vec<&PowerPlatform> = Vec::new();
    for platform in records().flat_map(|record| &record.platforms) {
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    let comparisons = || {
        records()
            .flat_map(|record| &record.gate)
            .flat_map(|gate| &gate.comparisons)
    };
    vec![
        view("latencies", "Latency, all measurements", latencies),
        view(
            "energies",
            "Energy, all figures",
            Table::of(&energies(), &figures),
        ),
        view(
            "speeds",
            "Speed",
            Table::of(&speed_columns(), &by_model(inputs)),
        ),
        view(
            "energy-decode",
            "Energy of writing a token",
            energy_by_model(inputs, PowerMode::Decode),
        ),
        view(
            "energy-prefill",
            "Energy of reading a token",
            energy_by_model(inputs, PowerMode::Prefill),
        ),
        view(
            "counters",
            "Energy counters",
            Table::of(&COUNTERS, records().flat_map(|record| &record.counters)),
        ),
        view("platforms", "Platforms", Table::of(&PLATFORMS, platforms)),
        view(
            "gate",
            "Gate, all comparisons",
            Table::of(&GATE, comparisons()),
        ),
        view(
            "gate-first",
            "Gate",
            Table::of(&GATE, comparisons()).first(GATE_ROWS),
        ),
    ]
}
