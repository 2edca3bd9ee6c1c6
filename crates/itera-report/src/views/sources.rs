//! The files that everything is made from.

use itera_record::{Table, Value, columns};

use super::View;
use crate::input::{Inputs, Problem, Source};

fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn start(text: &str, length: usize) -> Option<&str> {
    said(text.get(..length).unwrap_or(text))
}

/// Files that were read, results apart from training records, and those that could not be used.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let files = columns! { Source:
        text "file"       "file"    "" |source| Value::code(&source.label);
        text "form"       "form"    "" |source| &source.schema;
        text "tool"       "made by" "" |source| said(&source.tool);
        text "commit"     "commit"  "" |source| start(&source.commit, 12);
        text "created_at" "when"    "" |source| start(&source.created_at, 10);
        text "host"       "where"   "" |source| said(&source.host);
        text "sha256"     "SHA-256" "" |source| Value::code(&source.sha256[..12]);
    };
    let problems = columns! { Problem:
        text "file"   "file" "" |problem| Value::code(&problem.label);
        text "reason" "why"  "" |problem| &problem.reason;
    };
    let is_result = |source: &&Source| source.schema != "itera.training/1";
    let results = inputs.sources.iter().filter(is_result);
    views! { &[];
        "sources" "Sources, all" Table::of(&files, &inputs.sources);
        "results" "Result files" Table::of(&files, results);
        "problems" "Files that could not be used" Table::of(&problems, &inputs.problems);
    }
}
