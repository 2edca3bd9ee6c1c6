//! How the server answers and learns: its loads, its bars, and simulated streams of feedback.

use itera_record::{ServeBenchRecord, ServeLoad, SimulationRun};

use super::model_name;
use crate::{
    input::{Inputs, Of},
    md::{Table, code},
    num::{fixed, short, thousands},
};

/// A load by its name.
pub(crate) fn load<'l>(loads: &'l [ServeLoad], name: &str) -> Option<&'l ServeLoad> {
    loads.iter().find(|load| load.name == name)
}

/// Every load with its rate and latencies.
pub(crate) fn load_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "model",
        "load",
        ">connections",
        ">requests/s",
        ">tokens each",
        ">mean, ms",
        ">p50, ms",
        ">p95, ms",
        ">p99, ms",
        ">errors",
        "source",
    ]);
    for bench in &inputs.serve_bench {
        for load in &bench.item.measured.loads {
            table.row([
                served_name(bench),
                load.name.clone(),
                load.connections.to_string(),
                thousands(load.requests_per_s.round() as u64),
                short(load.tokens_per_request),
                fixed(load.mean_ms, 2),
                fixed(load.p50_ms, 2),
                fixed(load.p95_ms, 2),
                fixed(load.p99_ms, 2),
                thousands(load.errors),
                inputs.cite(bench),
            ]);
        }
    }
    table
}

/// What is asked of the server, and whether it holds.
pub(crate) fn bar_table(inputs: &Inputs) -> Table {
    let mut table = Table::new(["bar", ">measured", ">asked for", "holds", "source"]);
    for bench in &inputs.serve_bench {
        for bar in &bench.item.bars {
            table.row([
                bar.name.clone(),
                short(bar.value),
                format!("{} {}", bar.relation, short(bar.bar)),
                (if bar.holds { "yes" } else { "**no**" }).to_owned(),
                inputs.cite(bench),
            ]);
        }
    }
    table
}

/// What streams of feedback on a new text gained there, and lost on the model's own text.
pub(crate) fn simulation_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "model",
        "feedback from",
        ">seed",
        ">records",
        ">accepted",
        ">new text before",
        ">after",
        ">improvement",
        ">own text before",
        ">after",
        ">loss",
        "source",
    ]);
    for simulation in &inputs.simulation {
        let record = &simulation.item;
        for run in &record.runs {
            let model = record.envelope.model.as_ref().map(model_name);
            table.row([
                code(&model.unwrap_or_default()),
                record.protocol.domain.clone(),
                run.seed.to_string(),
                thousands(record.protocol.records),
                accepted(run),
                fixed(run.after_static_bits_per_byte, 4),
                fixed(run.after_adapted_bits_per_byte, 4),
                format!("{} %", fixed(run.improvement_percent, 1)),
                fixed(run.base_static_bits_per_byte, 4),
                fixed(run.base_adapted_bits_per_byte, 4),
                format!("{} %", fixed(run.base_loss_percent, 2)),
                inputs.cite(simulation),
            ]);
        }
    }
    table
}

/// The model and the precision that were served.
pub(crate) fn served_name(bench: &Of<ServeBenchRecord>) -> String {
    let model = bench.item.envelope.model.as_ref();
    code(&model.map(model_name).unwrap_or_default())
}

/// Adaptations whose weights were taken, of all.
fn accepted(run: &SimulationRun) -> String {
    let accepted = run.adaptations.iter().filter(|a| a.accepted).count();
    format!("{accepted} of {}", run.adaptations.len())
}
