//! How the server answers and learns.

use itera_record::{
    Column, Form, ServeBar, ServeLoad, SimulationRecord, SimulationRun, Table, Value,
    columns::LOADS,
};

use super::{View, rows_of};
use crate::input::Inputs;

/// A load by its name.
pub(super) fn load<'l>(loads: &'l [ServeLoad], name: &str) -> Option<&'l ServeLoad> {
    loads.iter().find(|load| load.name == name)
}

const TARGETS: [Column<ServeBar>; 4] = [
    Column::words("target", "target", |bar| Value::text(&bar.name)),
    Column::number("measured", "measured", "", |bar| {
        Value::Number(bar.value, Form::Short)
    }),
    Column::words("asked", "asked", |bar| {
        Value::Text(format!("{} {}", bar.relation, Form::Short.text(bar.bar)))
    }),
    Column::words("met", "met", |bar| {
        Value::text(if bar.holds { "yes" } else { "NO" })
    }),
];

struct Stream<'i> {
    record: &'i SimulationRecord,
    run: &'i SimulationRun,
}

fn stream_columns<'i>() -> [Column<Stream<'i>>; 10] {
    [
        Column::words("domain", "feedback from", |of| {
            Value::text(&of.record.protocol.domain)
        }),
        Column::number("seed", "seed", "", |of| Value::count(of.run.seed)),
        Column::number("records", "records", "", |of| {
            Value::count(of.record.protocol.records)
        }),
        Column::words("accepted", "adaptations accepted", |of| {
            let accepted = of
                .run
                .adaptations
                .iter()
                .filter(|adaptation| adaptation.accepted);
            Value::Text(format!(
                "{} of {}",
                accepted.count(),
                of.run.adaptations.len()
            ))
        }),
        Column::number("new_before", "new text before", "bits/byte", |of| {
            bits(of.run.after_static_bits_per_byte)
        }),
        Column::number("new_after", "after", "", |of| {
            bits(of.run.after_adapted_bits_per_byte)
        }),
        Column::number("improvement", "better by", "", |of| {
            Value::Number(of.run.improvement_percent / 100.0, Form::Percent(1))
        }),
        Column::number("own_before", "own text before", "bits/byte", |of| {
            bits(of.run.base_static_bits_per_byte)
        }),
        Column::number("own_after", "after", "", |of| {
            bits(of.run.base_adapted_bits_per_byte)
        }),
        Column::number("loss", "worse by", "", |of| {
            Value::Number(of.run.base_loss_percent / 100.0, Form::Percent(2))
        }),
    ]
}

const fn bits(value: f64) -> Value {
    Value::Number(value, Form::Fixed(4))
}

/// Loads, targets and simulated streams of feedback.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let sources = Inputs::files(&inputs.serve_bench);
    let loads = rows_of(&inputs.serve_bench, |record| &record.measured.loads).map(|(_, load)| load);
    let targets = rows_of(&inputs.serve_bench, |record| &record.bars).map(|(_, bar)| bar);
    let streams: Vec<Stream<'_>> = rows_of(&inputs.simulation, |record| &record.runs)
        .map(|(of, run)| Stream {
            record: &of.item,
            run,
        })
        .collect();
    vec![
        View::new(
            "server",
            "Server",
            Table::of(&LOADS, loads),
            sources.clone(),
        ),
        View::new(
            "server-targets",
            "Targets of the server",
            Table::of(&TARGETS, targets),
            sources,
        ),
        View::new(
            "learning",
            "Learning from feedback",
            Table::of(&stream_columns(), &streams),
            Inputs::files(&inputs.simulation),
        ),
    ]
}
