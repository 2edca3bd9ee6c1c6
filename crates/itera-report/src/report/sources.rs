//! The files that a report is made from, and those that it could not be made from.

use super::{Context, files_in_words};
use crate::{
    input::Inputs,
    md::{Doc, Table, code},
};

const PROBLEMS: &str = "Files that could not be used";
pub(super) const PROBLEMS_ANCHOR: &str = "files-that-could-not-be-used";

/// A kind of result and how to get it.
pub(crate) struct Kind {
    pub(crate) what: &'static str,
    pub(crate) form: &'static str,
    pub(crate) command: &'static str,
    is_there: fn(&Inputs) -> bool,
}

const KINDS: [Kind; 11] = [
    Kind {
        what: "scores on text",
        form: "itera.validation/1",
        command: "cargo run --release -p itera-validate",
        is_there: |inputs| !inputs.validation.is_empty(),
    },
    Kind {
        what: "training runs",
        form: "itera.training/1",
        command: "cargo run --release -p itera-train -- fit",
        is_there: |inputs| !inputs.training.is_empty(),
    },
    Kind {
        what: "ablations",
        form: "itera.ablations/1",
        command: "cargo run --release -p itera-train -- ablate",
        is_there: |inputs| !inputs.ablations.is_empty(),
    },
    Kind {
        what: "speed of training",
        form: "itera.training-bench/1",
        command: "cargo bench -p itera-learn --bench training",
        is_there: |inputs| !inputs.training_bench.is_empty(),
    },
    Kind {
        what: "speed of the native engine",
        form: "itera.engine-bench/1",
        command: "cargo run --release -p itera-validate -- bench",
        is_there: |inputs| !inputs.engine.is_empty(),
    },
    Kind {
        what: "energy",
        form: "itera.power/1",
        command: "cargo run --release -p itera-power",
        is_there: |inputs| !inputs.power.is_empty(),
    },
    Kind {
        what: "code statistics",
        form: "itera.code/1",
        command: "cargo run --release -p itera-report -- count",
        is_there: |inputs| !inputs.code.is_empty(),
    },
    Kind {
        what: "speed of the server",
        form: "itera.serve-bench/1",
        command: "scripts/serve-bench.py",
        is_there: |inputs| !inputs.serve_bench.is_empty(),
    },
    Kind {
        what: "learning from feedback",
        form: "itera.simulation/1",
        command: "cargo run --release -p itera-serve -- simulate",
        is_there: |inputs| !inputs.simulation.is_empty(),
    },
    Kind {
        what: "feedback of users",
        form: "a feedback log (.jsonl)",
        command: "itera-serve feedback export",
        is_there: |inputs| !inputs.feedback.is_empty(),
    },
    Kind {
        what: "exported models",
        form: "itera.export/1",
        command: "cargo run --release -p itera-export -- verify",
        is_there: |inputs| !inputs.export.is_empty(),
    },
];

/// The kinds of results that there are none of.
pub(crate) fn missing(inputs: &Inputs) -> Vec<&'static Kind> {
    KINDS
        .iter()
        .filter(|kind| !(kind.is_there)(inputs))
        .collect()
}

/// `not measured`, with the way to measure it.
pub(super) fn not_measured(kind: &Kind) -> String {
    format!(
        "{}: not measured, there is no result of the form {}; {} makes one",
        kind.what,
        code(kind.form),
        code(kind.command)
    )
}

/// The kind of a form.
pub(super) fn kind(form: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.form == form)
}

/// Which files were read, and which were not.
pub(super) fn section(doc: &mut Doc, context: &Context<'_>) {
    let inputs = context.inputs;
    doc.heading(2, "Sources");
    let mut table = Table::new([
        "file", "form", "made by", "commit", "when", "where", "SHA-256",
    ]);
    let say = |text: &str| {
        if text.is_empty() {
            "not said".to_owned()
        } else {
            text.to_owned()
        }
    };
    for source in &inputs.sources {
        let commit: String = source.commit.chars().take(12).collect();
        table.row([
            source.cite(),
            code(&source.schema),
            say(&source.tool),
            say(&commit),
            say(&source.created_at),
            say(&source.host),
            code(&source.sha256[..12]),
        ]);
    }
    doc.table(&table);
    doc.bullets(missing(inputs).into_iter().map(not_measured));
    let unknown = inputs.unknown.iter();
    doc.bullets(unknown.map(|file| format!("{}: {}", code(&file.label), file.reason)));
    problems(doc, inputs);
}

fn problems(doc: &mut Doc, inputs: &Inputs) {
    doc.heading(2, PROBLEMS);
    if inputs.problems.is_empty() {
        doc.paragraph("None.");
        return;
    }
    doc.paragraph(&format!(
        "{}. Everything else is reported.",
        files_in_words(inputs.problems.len())
    ));
    let mut table = Table::new(["file", "why"]);
    for problem in &inputs.problems {
        table.row([code(&problem.label), problem.reason.clone()]);
    }
    doc.table(&table);
}
