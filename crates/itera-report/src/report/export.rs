//! `export_report.md`: exported models and how other runtimes run them.

use super::{Context, FINAL, figure, hint_at_problems, sources};
use crate::{
    md::{Doc, link},
    view::{engine, export},
};

pub(super) fn doc(context: &Context<'_>) -> Doc {
    let mut doc = Doc::new("Export and runtimes");
    doc.paragraph(&format!("Part of {}.", link("the final report", FINAL)));
    hint_at_problems(&mut doc, context.inputs);
    exported(&mut doc, context);
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

/// The files, what came of them in other runtimes, and how fast these are.
fn exported(doc: &mut Doc, context: &Context<'_>) {
    let inputs = context.inputs;
    doc.heading(2, "Exported models");
    if inputs.export.is_empty() {
        if let Some(kind) = sources::kind("itera.export/1") {
            doc.paragraph(&format!("{}.", sources::not_measured(kind)));
        }
        return;
    }
    for (title, words, table) in [
        (
            "Files",
            "Bytes of a file are set against those of its weights: the rest is graph, names, tokenizer and \
             metadata, which the bits of a weight include.",
            export::file_table(inputs),
        ),
        (
            "In other runtimes",
            "Differences of logits are from the native engine in floats with the very weights of the file; the \
             relative one is divided by the largest logit of its token. The native engine rounds inputs as well \
             where weights are integers, which these files do not.",
            export::check_table(inputs),
        ),
        (
            "Read back by Burn",
            "Graphs of a small model that became Burn code when the program was built.",
            export::round_trip_table(inputs),
        ),
    ] {
        if !table.is_empty() {
            doc.heading(3, title);
            doc.paragraph(words);
            doc.table(&table);
        }
    }
    if let Some(picture) = &context.export {
        figure(doc, 3, picture);
    }
    doc.bullets(export::gaps(inputs));
}
