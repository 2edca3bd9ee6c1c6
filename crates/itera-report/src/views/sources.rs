//! The files that everything is made from.

use itera_record::{Column, Table, Value};

use super::View;
use crate::input::{Inputs, Problem, Source};

const SOURCES: [Column<Source>; 7] = [
    Column::words("file", "file", |source| Value::code(&source.label)),
    Column::words("form", "form", |source| Value::text(&source.schema)),
    Column::words("tool", "made by", |source| said(&source.tool)),
    Column::words("commit", "commit", |source| {
        said(source.commit.get(..12).unwrap_or(&source.commit))
    }),
    Column::words("created_at", "when", |source| {
        said(source.created_at.get(..10).unwrap_or(&source.created_at))
    }),
    Column::words("host", "where", |source| said(&source.host)),
    Column::words("sha256", "SHA-256", |source| {
        Value::code(&source.sha256[..12])
    }),
];

const PROBLEMS: [Column<Problem>; 2] = [
    Column::words("file", "file", |problem| Value::code(&problem.label)),
    Column::words("reason", "why", |problem| Value::text(&problem.reason)),
];

fn said(text: &str) -> Value {
    if text.is_empty() {
        Value::None
    } else {
        Value::text(text)
    }
}

/// Files that were read, results apart from training records, and those that could not be used.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let results = inputs
        .sources
        .iter()
        .filter(|source| source.schema != "itera.training/1");
    let view = |name: &str, title: &str, table: Table| View::new(name, title, table, Vec::new());
    vec![
        view(
            "sources",
            "Sources, all",
            Table::of(&SOURCES, &inputs.sources),
        ),
        view("results", "Result files", Table::of(&SOURCES, results)),
        view(
            "problems",
            "Files that could not be used",
            Table::of(&PROBLEMS, &inputs.problems),
        ),
    ]
}
