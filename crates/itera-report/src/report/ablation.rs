//! `ablations.md`: what each design decision is worth.

use super::{Context, FINAL, hint_at_problems, sources};
use crate::{
    md::{Doc, code, link},
    num::thousands,
    view::ablation,
};

pub(super) fn doc(context: &Context<'_>) -> Doc {
    let inputs = context.inputs;
    let mut doc = Doc::new("Ablations");
    doc.paragraph(&format!("Part of {}.", link("the final report", FINAL)));
    hint_at_problems(&mut doc, inputs);
    if inputs.ablations.is_empty() {
        if let Some(kind) = sources::kind("itera.ablations/1") {
            doc.paragraph(&format!("{}.", sources::not_measured(kind)));
        }
        return doc;
    }
    doc.paragraph(
        "A base and variants of it, each trained on the same number of bytes of the same text, or on fewer where a \
         variant is compared at equal time. Differences are of runs with the same seed, their intervals by Student's \
         t; a claim takes three seeds and an interval without 0. Runs are short: what pays later in a long one may \
         not show here. Seconds are the mean of the runs, which shared the machine: an indication only.",
    );
    for of in &inputs.ablations {
        for study in &of.item.studies {
            doc.heading(2, &study.name);
            doc.paragraph(&format!(
                "{} bytes of text for a run; validation: {}. From {}.",
                thousands(study.text_bytes),
                study.validation,
                inputs.cite(of)
            ));
            doc.bullets(ablation::conclusions(study));
            doc.heading(3, "Runs");
            doc.table(&ablation::table(study));
            doc.heading(3, "How to repeat one");
            if let Some(base) = study.variants.first() {
                let words = base.arguments.join(" ");
                doc.paragraph(&format!(
                    "The base: {}.",
                    code(&format!("itera-train fit {words}"))
                ));
            }
            doc.table(&ablation::arguments_table(study));
        }
    }
    doc
}
