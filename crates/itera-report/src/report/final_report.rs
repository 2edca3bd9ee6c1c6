//! `final_validation.md`: everything on one page.

use super::{
    ABLATIONS, Context, EXPORT, POWER, VALIDATION, figure, headlines::headlines, hint_at_problems,
    limits::limits, prototype, sources, status,
};
use crate::{
    md::{Doc, code, link},
    num::{fixed, thousands},
    view::{code as code_view, engine, power, quality, serve, training},
};

pub(super) fn doc(context: &Context<'_>) -> Doc {
    let inputs = context.inputs;
    let mut doc = Doc::new("Itera-Lite: final validation");
    doc.paragraph(&format!(
        "Rendered by {} from result files alone: the same files give the same bytes. Every figure names \
         its file; {}, {}, {} and {} have the details.",
        code("itera-report"),
        link("the validation report", VALIDATION),
        link("the power report", POWER),
        link("the export report", EXPORT),
        link("the ablations", ABLATIONS)
    ));
    hint_at_problems(&mut doc, inputs);
    doc.heading(2, "Executive summary");
    doc.bullets(headlines(inputs));
    status::completion(&mut doc, context);
    quantities(&mut doc, context);
    statistics(&mut doc, context);
    doc.heading(2, "Visualisations");
    for picture in context.figures() {
        figure(&mut doc, 3, picture);
    }
    doc.heading(2, "Lessons and limits");
    doc.paragraph("Drawn from flags that the result files carry.");
    doc.bullets(limits(inputs));
    prototype::section(&mut doc, context);
    status::project(&mut doc, context);
    sources::section(&mut doc, context);
    doc
}

/// The tables of results.
fn quantities(doc: &mut Doc, context: &Context<'_>) {
    let inputs = context.inputs;
    doc.heading(2, "Quantitative results");
    for (title, table, form) in [
        ("Scores", quality::score_table(inputs), "itera.validation/1"),
        ("Training", training::table(inputs), "itera.training/1"),
        (
            "Speed of training",
            training::speed_table(inputs),
            "itera.training-bench/1",
        ),
        (
            "Speed of the native engine",
            engine::speed_table(inputs),
            "itera.engine-bench/1",
        ),
        (
            "Latency, memory and size",
            power::latency_table(inputs),
            "itera.power/1",
        ),
        (
            "Energy per token",
            power::energy_table(inputs),
            "itera.power/1",
        ),
        (
            "Inference server",
            serve::load_table(inputs),
            "itera.serve-bench/1",
        ),
        (
            "Bars of the server",
            serve::bar_table(inputs),
            "itera.serve-bench/1",
        ),
        (
            "Learning from feedback",
            serve::simulation_table(inputs),
            "itera.simulation/1",
        ),
    ] {
        doc.heading(3, title);
        if !table.is_empty() {
            doc.table(&table);
        } else if let Some(kind) = sources::kind(form) {
            doc.paragraph(&format!("{}.", sources::not_measured(kind)));
        }
    }
}

/// How much code there is.
fn statistics(doc: &mut Doc, context: &Context<'_>) {
    let inputs = context.inputs;
    doc.heading(2, "Code statistics");
    let table = code_view::table(inputs);
    let Some(count) = inputs.code.first().filter(|_| !table.is_empty()) else {
        if let Some(kind) = sources::kind("itera.code/1") {
            doc.paragraph(&format!("{}.", sources::not_measured(kind)));
        }
        return;
    };
    let sums = code_view::sums(&count.item.groups);
    if let Some(rust) = sums.iter().find(|sum| sum.language == "Rust") {
        doc.paragraph(&format!(
            "{} lines of Rust in {} files, {} % of them tests, with {} test functions; the longest file has \
             {} lines. Counted at {} by {} of commit {} ({}).",
            thousands(rust.code_lines),
            thousands(rust.files),
            fixed(100.0 * rust.test_code_lines as f64 / rust.code_lines.max(1) as f64, 0),
            thousands(rust.tests),
            thousands(rust.longest_file_lines),
            count.item.envelope.created_at,
            code("itera-report count"),
            code(&count.item.envelope.tool.commit.chars().take(12).collect::<String>()),
            inputs.cite(count)
        ));
    }
    doc.table(&table);
}
