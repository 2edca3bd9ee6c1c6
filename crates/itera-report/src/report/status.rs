//! The tasks of the project and what there is to show for each.

use std::collections::BTreeSet;

use itera_record::ExportVerdict;

use super::{ABLATIONS, Context, EXPORT, FINAL, POWER, VALIDATION};
use crate::{
    input::Inputs,
    md::{Doc, Table, code, link},
    num::{fixed, thousands},
    view::{
        base_name, count_of, power::is_platform, power::rows, quality::text_name, rank_of_precision,
    },
};

const MEASURED: &str = "measured";
const NOT_MEASURED: &str = "not measured";

/// A task, whether something was measured for it, and what.
struct Task {
    name: &'static str,
    report: &'static str,
    is_measured: bool,
    evidence: String,
}

fn tasks(context: &Context<'_>) -> Vec<Task> {
    let inputs = context.inputs;
    vec![
        Task {
            name: "Validation on real text",
            report: VALIDATION,
            is_measured: !inputs.validation.is_empty(),
            evidence: validation(inputs),
        },
        Task {
            name: "Training of the models",
            report: VALIDATION,
            is_measured: !inputs.training.is_empty(),
            evidence: training(inputs),
        },
        Task {
            name: "Native engine",
            report: EXPORT,
            is_measured: !inputs.engine.is_empty(),
            evidence: engine(inputs),
        },
        Task {
            name: "Export and comparison of runtimes",
            report: EXPORT,
            is_measured: !inputs.export.is_empty(),
            evidence: export(inputs),
        },
        Task {
            name: "Ablations",
            report: ABLATIONS,
            is_measured: !inputs.ablations.is_empty(),
            evidence: ablations(inputs),
        },
        Task {
            name: "Inference server",
            report: FINAL,
            is_measured: !inputs.serve_bench.is_empty(),
            evidence: server(inputs),
        },
        Task {
            name: "Learning from feedback",
            report: FINAL,
            is_measured: !inputs.simulation.is_empty(),
            evidence: learning(inputs),
        },
        Task {
            name: "Energy and efficiency",
            report: POWER,
            is_measured: !inputs.power.is_empty(),
            evidence: power(inputs),
        },
        Task {
            name: "Reports",
            report: FINAL,
            is_measured: true,
            evidence: format!("5 reports, {} pictures", context.figures().count()),
        },
    ]
}

/// What was done, task by task.
pub(super) fn completion(doc: &mut Doc, context: &Context<'_>) {
    doc.heading(2, "Task completion");
    let mut table = Table::new(["task", "status", "evidence", "report"]);
    for task in tasks(context) {
        let status = if task.is_measured {
            MEASURED
        } else {
            NOT_MEASURED
        };
        table.row([
            task.name.to_owned(),
            status.to_owned(),
            task.evidence,
            link(task.report, task.report),
        ]);
    }
    doc.table(&table);
}

/// How far the project is, by the same tasks.
pub(super) fn project(doc: &mut Doc, context: &Context<'_>) {
    let tasks = tasks(context);
    let measured = tasks.iter().filter(|task| task.is_measured).count();
    doc.heading(2, "Project status");
    doc.paragraph(&format!(
        "{measured} of {} tasks ({} %) have results behind them. A task without results may be built; \
         this report knows only what was measured.",
        tasks.len(),
        fixed(100.0 * measured as f64 / tasks.len() as f64, 0)
    ));
    let open = tasks.iter().filter(|task| !task.is_measured);
    doc.bullets(open.map(|task| format!("{}: {NOT_MEASURED}", task.name)));
}

fn validation(inputs: &Inputs) -> String {
    if inputs.validation.is_empty() {
        return "no result".to_owned();
    }
    let rows = || inputs.validation.iter().map(|row| &row.item);
    let texts: BTreeSet<String> = rows().map(text_name).collect();
    let models: BTreeSet<&str> = rows().map(|row| base_name(&row.model)).collect();
    let precisions: BTreeSet<(u8, &str)> = rows()
        .map(|row| (rank_of_precision(&row.precision), row.precision.as_str()))
        .collect();
    let names: Vec<&str> = precisions.into_iter().map(|(_, name)| name).collect();
    format!(
        "{} of {} on {} at {}, {} bytes in all ({})",
        count_of(inputs.validation.len(), "score"),
        count_of(models.len(), "model"),
        count_of(texts.len(), "text"),
        names.join(", "),
        thousands(rows().map(|row| row.bytes).sum()),
        inputs.cite_all(&inputs.validation)
    )
}

fn training(inputs: &Inputs) -> String {
    if inputs.training.is_empty() {
        return "no result".to_owned();
    }
    let tokens = inputs
        .training
        .iter()
        .map(|run| run.item.record.tokens)
        .sum();
    format!(
        "{} over {} tokens ({})",
        count_of(inputs.training.len(), "run"),
        thousands(tokens),
        inputs.cite_all(&inputs.training)
    )
}

fn engine(inputs: &Inputs) -> String {
    if inputs.engine.is_empty() {
        return "no result".to_owned();
    }
    let rows = inputs
        .engine
        .iter()
        .map(|record| record.item.rows.len())
        .sum();
    format!(
        "{} of speeds ({})",
        count_of(rows, "row"),
        inputs.cite_all(&inputs.engine)
    )
}

fn export(inputs: &Inputs) -> String {
    if inputs.export.is_empty() {
        return "no result".to_owned();
    }
    let records = || inputs.export.iter().map(|record| &record.item);
    let checks = || records().flat_map(|record| &record.checks);
    let passed = checks().filter(|check| check.verdict == ExportVerdict::Passed);
    format!(
        "{}, {} of {} passed ({})",
        count_of(records().map(|record| record.files.len()).sum(), "file"),
        passed.count(),
        count_of(checks().count(), "check"),
        inputs.cite_all(&inputs.export)
    )
}

fn ablations(inputs: &Inputs) -> String {
    if inputs.ablations.is_empty() {
        return "no result".to_owned();
    }
    let studies = || inputs.ablations.iter().flat_map(|of| &of.item.studies);
    let variants = || studies().flat_map(|study| &study.variants);
    format!(
        "{} of {} in {} ({})",
        count_of(variants().map(|variant| variant.runs.len()).sum(), "run"),
        count_of(variants().count(), "variant"),
        if studies().count() == 1 {
            "1 study".to_owned()
        } else {
            format!("{} studies", studies().count())
        },
        inputs.cite_all(&inputs.ablations)
    )
}

fn server(inputs: &Inputs) -> String {
    if inputs.serve_bench.is_empty() {
        return "no result".to_owned();
    }
    let bars = || inputs.serve_bench.iter().flat_map(|of| &of.item.bars);
    format!(
        "{} of {} hold ({})",
        bars().filter(|bar| bar.holds).count(),
        count_of(bars().count(), "bar"),
        inputs.cite_all(&inputs.serve_bench)
    )
}

/// Simulated streams of feedback, and the feedback that users gave.
fn learning(inputs: &Inputs) -> String {
    let simulations = inputs.simulation.iter().map(|of| {
        let adaptations = of.item.runs.iter().flat_map(|run| &run.adaptations);
        format!(
            "{} in {} ({})",
            count_of(adaptations.count(), "adaptation"),
            count_of(of.item.runs.len(), "simulated stream"),
            inputs.cite(of)
        )
    });
    let logs = inputs.feedback.iter().map(|log| {
        let ratings: Vec<String> = log.item.ratings.iter().map(u64::to_string).collect();
        format!(
            "{} records of users, {} corrections, ratings of 1 to 5: {} ({})",
            thousands(log.item.records),
            thousands(log.item.corrections),
            ratings.join(", "),
            inputs.cite(log)
        )
    });
    let all: Vec<String> = simulations.chain(logs).collect();
    if all.is_empty() {
        "no result".to_owned()
    } else {
        all.join("; ")
    }
}

fn power(inputs: &Inputs) -> String {
    if inputs.power.is_empty() {
        return "no result".to_owned();
    }
    let figures = || rows(inputs).flat_map(|(_, row)| &row.energy);
    let available = || figures().filter(|figure| figure.gross_joules_per_token.is_some());
    let measured = available()
        .filter(|figure| !is_platform(&figure.source))
        .count();
    format!(
        "{}; energies: {measured} {}, {} {}, {} {} ({})",
        count_of(rows(inputs).count(), "row"),
        code("measured"),
        available().count() - measured,
        code("estimated"),
        figures().count() - available().count(),
        code("unavailable"),
        inputs.cite_all(&inputs.power)
    )
}
