//! `power_validation.md`: energy per token, and how it was found.

use super::{Context, FINAL, figure, headlines, hint_at_problems, sources};
use crate::{
    md::{Doc, Table, link},
    num::plain,
    view::power,
};

pub(super) fn doc(context: &Context<'_>) -> Doc {
    let inputs = context.inputs;
    let mut doc = Doc::new("Energy and efficiency");
    doc.paragraph(&format!("Part of {}.", link("the final report", FINAL)));
    hint_at_problems(&mut doc, inputs);
    if inputs.power.is_empty() {
        if let Some(kind) = sources::kind("itera.power/1") {
            doc.paragraph(&format!("{}.", sources::not_measured(kind)));
        }
        return doc;
    }
    doc.paragraph(
        "Every energy names its method: `measured(counter)`, `estimated(tdp:platform)` or `unavailable`. \
         An estimate is `power = idle + (tdp - idle) * utilisation` and `energy per token = power * time / \
         tokens`, with bounds from other load models and from the spread over repeats.",
    );
    for (title, table) in [
        ("Protocol", protocol(context)),
        ("Energy per token", power::energy_table(inputs)),
        ("Latency, memory and size", power::latency_table(inputs)),
        ("Platforms", power::platform_table(inputs)),
        (
            "Energy counters of the machine",
            power::counter_table(inputs),
        ),
        (
            "Comparison with a baseline, by itera-power",
            power::gate_table(inputs),
        ),
    ] {
        if !table.is_empty() {
            doc.heading(2, title);
            doc.table(&table);
        }
    }
    let gate = headlines::gate(inputs);
    if !gate.is_empty() {
        doc.heading(2, "The gate for regressions");
        doc.bullets(gate);
    }
    doc.heading(2, "Pictures");
    for picture in &context.power {
        figure(&mut doc, 3, picture);
    }
    doc
}

fn protocol(context: &Context<'_>) -> Table {
    let mut table = Table::new([
        "source",
        ">tokens/pass",
        ">threads",
        ">cores",
        ">samples",
        ">at least s",
        "tokens from",
        "calibration",
        ">g CO2e/kWh",
        "machine",
    ]);
    for record in &context.inputs.power {
        let protocol = &record.item.protocol;
        table.row([
            context.inputs.cite(record),
            protocol.seq_len_tokens.to_string(),
            protocol.threads.to_string(),
            protocol.cores.to_string(),
            protocol.samples.to_string(),
            plain(protocol.min_seconds),
            protocol.tokens.clone(),
            protocol.calibration.clone(),
            plain(protocol.carbon_intensity_g_per_kwh),
            context.inputs.source(record).host.clone(),
        ]);
    }
    table
}
