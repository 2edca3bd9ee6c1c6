//! The short text for the summary of a CI job.

use super::headlines::headlines;
use crate::{
    input::Inputs,
    md::{Doc, Table, code},
    view::quality,
};

/// Comparison first, then what was found, then the table of scores.
pub(crate) fn summary(inputs: &Inputs, stale: &[String], comparison: Option<&str>) -> String {
    let mut doc = Doc::default();
    doc.heading(2, "Itera-Lite results");
    if !stale.is_empty() {
        doc.paragraph("**The reports are stale:**");
        doc.bullets(stale.iter().cloned());
    }
    if !inputs.problems.is_empty() {
        doc.paragraph("**Files that could not be used:**");
        let mut table = Table::new(["file", "why"]);
        for problem in &inputs.problems {
            table.row([code(&problem.label), problem.reason.clone()]);
        }
        doc.table(&table);
    }
    if let Some(comparison) = comparison {
        doc.paragraph(comparison.trim_end());
    }
    doc.heading(3, "What was found");
    doc.bullets(headlines(inputs));
    let scores = quality::score_table(inputs);
    if !scores.is_empty() {
        doc.heading(3, "Scores");
        doc.table(&scores);
    }
    doc.finish()
}
