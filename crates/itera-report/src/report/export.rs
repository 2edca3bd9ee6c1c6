//! `export_report.md`: exported models and how other runtimes run them.

use super::{Context, FINAL, figure, hint_at_problems, sources};
use crate::{
    md::{Doc, link},
    view::engine,
};

pub(super) fn doc(context: &Context<'_>) -> Doc {
    let mut doc = Doc::new("Export and runtimes");
    doc.paragraph(&format!("Part of {}.", link("the final report", FINAL)));
    hint_at_problems(&mut doc, context.inputs);
    doc.heading(2, "Exported models");
    if let Some(kind) = sources::kind("itera.export/1") {
        doc.paragraph(&format!("{}.", sources::not_measured(kind)));
    }
    doc.heading(2, "The native engine");
    let inputs = context.inputs;
    let speeds = engine::speed_table(inputs);
    if speeds.is_empty() {
        if let Some(kind) = sources::kind("itera.engine-bench/1") {
            doc.paragraph(&format!("{}.", sources::not_measured(kind)));
        }
        return doc;
    }
    doc.paragraph(
        "The roofline is what the machine's bandwidth and arithmetic allow at most, each measured by a loop \
         that does nothing else.",
    );
    doc.table(&speeds);
    for (title, table) in [
        (
            "Cost of a token by its position",
            engine::context_table(inputs),
        ),
        ("Memory", engine::memory_table(inputs)),
    ] {
        if !table.is_empty() {
            doc.heading(3, title);
            doc.table(&table);
        }
    }
    for picture in &context.runtime {
        figure(&mut doc, 3, picture);
    }
    doc
}
