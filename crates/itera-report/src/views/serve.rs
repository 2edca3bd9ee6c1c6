//! How the server answers and learns.

use itera_record::{
    Form::{Fixed, Percent, Short},
    ServeBar, ServeLoad, SimulationRecord, SimulationRun, Table, columns,
    columns::LOADS,
};

use super::{View, rows_of};
use crate::input::Inputs;

/// A load by its name.
pub(super) fn load<'l>(loads: &'l [ServeLoad], name: &str) -> Option<&'l ServeLoad> {
    loads.iter().find(|load| load.name == name)
}

struct Stream<'i> {
    record: &'i SimulationRecord,
    run: &'i SimulationRun,
}

/// Loads, targets and simulated streams of feedback.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let targets = columns! { ServeBar:
        text   "target"   "target"   "" |bar| &bar.name;
        number "measured" "measured" "" |bar| Short.of(bar.value);
        text   "asked"    "asked"    "" |bar| format!("{} {}", bar.relation, Short.text(bar.bar));
        text   "met"      "met"      "" |bar| if bar.holds { "yes" } else { "NO" };
    };
    let streams = columns! { Stream<'_>:
        text   "domain"      "feedback from"        ""          |of| &of.record.protocol.domain;
        number "seed"        "seed"                 ""          |of| of.run.seed;
        number "records"     "records"              ""          |of| of.record.protocol.records;
        text   "accepted"    "adaptations accepted" ""          |of| accepted(of.run);
        number "new_before"  "new text before"      "bits/byte" |of| Fixed(4).of(of.run.after_static_bits_per_byte);
        number "new_after"   "after"                ""          |of| Fixed(4).of(of.run.after_adapted_bits_per_byte);
        number "improvement" "better by"            ""          |of| Percent(1).of(of.run.improvement_percent / 100.0);
        number "own_before"  "own text before"      "bits/byte" |of| Fixed(4).of(of.run.base_static_bits_per_byte);
        number "own_after"   "after"                ""          |of| Fixed(4).of(of.run.base_adapted_bits_per_byte);
        number "loss"        "worse by"             ""          |of| Percent(2).of(of.run.base_loss_percent / 100.0);
    };
    let loads = rows_of(&inputs.serve_bench, |record| &record.measured.loads);
    let bars = rows_of(&inputs.serve_bench, |record| &record.bars);
    let runs = rows_of(&inputs.simulation, |record| &record.runs);
    let runs: Vec<Stream<'_>> = runs
        .map(|(of, run)| Stream {
            record: &of.item,
            run,
        })
        .collect();
    let bench = Inputs::files(&inputs.serve_bench);
    let simulation = Inputs::files(&inputs.simulation);
    let loads = Table::of(LOADS, loads.map(|(_, load)| load));
    let bars = Table::of(&targets, bars.map(|(_, bar)| bar));
    let mut views = views! { &bench;
        "server" "Server" loads;
        "server-targets" "Targets of the server" bars;
    };
    views.extend(views! { &simulation;
        "learning" "Learning from feedback" Table::of(&streams, &runs);
    });
    views
}

fn accepted(run: &SimulationRun) -> String {
    let accepted = run
        .adaptations
        .iter()
        .filter(|adaptation| adaptation.accepted);
    format!("{} of {}", accepted.count(), run.adaptations.len())
}
