//! `validation_report.md`: how well the models predict texts, and how they were trained.

use super::{Context, FINAL, figure, hint_at_problems, sources};
use crate::{
    md::{Doc, link},
    view::{quality, quantization, training},
};

pub(super) fn doc(context: &Context<'_>) -> Doc {
    let inputs = context.inputs;
    let mut doc = Doc::new("Validation on real text");
    doc.paragraph(&format!("Part of {}.", link("the final report", FINAL)));
    hint_at_problems(&mut doc, inputs);
    doc.heading(2, "Scores");
    let scores = quality::score_table(inputs);
    if scores.is_empty() {
        not_measured(&mut doc, "itera.validation/1");
    } else {
        doc.paragraph(
            "Bits per byte compare between models of any tokenizer, on one text and by one protocol. The \
             interval is that of the bootstrap over documents. The baselines are bits per byte of the same \
             bytes without a model.",
        );
        doc.table(&scores);
        doc.heading(2, "How they were scored");
        doc.table(&quality::protocol_table(inputs));
        let divergence = quality::divergence_table(inputs);
        if !divergence.is_empty() {
            doc.heading(2, "What other precisions change");
            doc.table(&divergence);
        }
    }
    let quantization = quantization::table(inputs);
    if !quantization.is_empty() {
        doc.heading(2, "How quantised files were made");
        doc.paragraph(
            "Before is the model in floats, after is the quantised file, both on the beginning of a validation \
             text; the scores above are on the whole text.",
        );
        doc.table(&quantization);
    }
    doc.heading(2, "Training");
    let runs = training::table(inputs);
    if runs.is_empty() {
        not_measured(&mut doc, "itera.training/1");
    } else {
        doc.paragraph(
            "The last point of a validation curve is about the whole split, those before about its first \
             documents.",
        );
        doc.table(&runs);
    }
    let speeds = training::speed_table(inputs);
    if !speeds.is_empty() {
        doc.table(&speeds);
    }
    doc.heading(2, "Pictures");
    for picture in &context.quality {
        figure(&mut doc, 3, picture);
    }
    doc
}

fn not_measured(doc: &mut Doc, form: &str) {
    if let Some(kind) = sources::kind(form) {
        doc.paragraph(&format!("{}.", sources::not_measured(kind)));
    }
}
