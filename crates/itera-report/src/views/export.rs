//! Exported models: the files, what came of them in other runtimes, and how fast these are.

use itera_chart::{Block, Dots, Entry, Group, Mark, Panel, Row, Scale, Sign, series_of};
use itera_record::{
    ExportBench, ExportBenchRow, ExportCheck, ExportRecord, ExportVerdict,
    Form::{Percent, Si, Whole},
    Interval, Table, columns,
    columns::{EXPORT_CHECKS, EXPORT_FILES, ROUND_TRIPS, RUNTIMES},
};

use super::{Figure, View};
use crate::input::{Inputs, Of, items};

/// The checks of one runtime at one precision.
#[derive(Default)]
struct Summary {
    runtime: String,
    precision: String,
    passed: u64,
    failed: u64,
    reasons: Vec<String>,
    relative: f64,
    agreement: f64,
    state: f64,
}

impl Summary {
    /// A figure, where there was any check to have it from.
    fn of<T>(&self, figure: T) -> Option<T> {
        (self.passed + self.failed > 0).then_some(figure)
    }

    fn reason(&self) -> Option<String> {
        let first = self.reasons.first()?;
        Some(format!("{}: {first}", self.reasons.len()))
    }
}

/// The precision of a checked file.
fn precision<'r>(record: &'r ExportRecord, check: &ExportCheck) -> &'r str {
    let file = record.files.iter().find(|file| file.file == check.file);
    file.map_or("", |file| file.model.precision.as_str())
}

fn summaries(inputs: &Inputs) -> Vec<Summary> {
    let mut all: Vec<Summary> = Vec::new();
    let records = items(&inputs.export);
    for (record, check) in
        records.flat_map(|record| record.checks.iter().map(move |check| (record, check)))
    {
        let precision = precision(record, check);
        let runtime = format!("{} {}", check.runtime, check.version);
        let is_same = |of: &Summary| of.runtime == runtime && of.precision == precision;
        let index = all.iter().position(is_same).unwrap_or_else(|| {
            all.push(Summary {
                runtime: runtime.clone(),
                precision: precision.to_owned(),
                agreement: 1.0,
                ..Summary::default()
            });
            all.len() - 1
        });
        let of = &mut all[index];
        match check.verdict {
            ExportVerdict::Passed => of.passed += 1,
            ExportVerdict::Failed => of.failed += 1,
            ExportVerdict::Unavailable => of.reasons.extend(check.reason.clone()),
        }
        if let Some(figures) = &check.figures {
            of.relative = of.relative.max(figures.max_relative_difference);
            of.agreement = of.agreement.min(figures.top1_agreement);
            of.state = figures
                .state_errors
                .iter()
                .fold(of.state, |most, error| most.max(error.relative_error));
        }
    }
    all
}

/// The bench of every record that has one.
pub(super) fn benches(inputs: &Inputs) -> impl Iterator<Item = (&Of<ExportRecord>, &ExportBench)> {
    inputs
        .export
        .iter()
        .filter_map(|of| Some((of, of.item.bench.as_ref()?)))
}

/// Files, checks and speeds.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let summary = columns! { Summary:
        text   "runtime"     "runtime"                     "" |of| &of.runtime;
        text   "precision"   "precision"                   "" |of| &of.precision;
        number "passed"      "passed"                      "" |of| of.passed;
        number "failed"      "failed"                      "" |of| of.failed;
        text   "unavailable" "not available"               "" |of| of.reason();
        number "relative"    "largest relative difference" "" |of| Si.of(of.of(of.relative));
        number "top1"        "least same top token"        "" |of| Percent(2).of(of.of(of.agreement));
        number "state"       "largest state error"         "" |of| Si.of(of.of(of.state));
    };
    let sources = Inputs::files(&inputs.export);
    let records = || items(&inputs.export);
    let files = || records().flat_map(|record| &record.files);
    let sequences = files().filter(|file| file.graph == "sequence");
    let checks = records().flat_map(|record| &record.checks);
    let trips = records().flat_map(|record| &record.round_trips);
    let mut rows: Vec<_> = benches(inputs).flat_map(|(_, bench)| &bench.rows).collect();
    rows.sort_by(|a, b| a.median_seconds.total_cmp(&b.median_seconds));
    views! { &sources;
        "export-files" "Exported files, all" Table::of(EXPORT_FILES, files());
        "export-sequence" "Exported files" Table::of(EXPORT_FILES, sequences);
        "export-checks" "Checks, all" Table::of(EXPORT_CHECKS, checks);
        "export-summary" "In other runtimes" Table::of(&summary, &summaries(inputs));
        "round-trips" "Read back by Burn" Table::of(ROUND_TRIPS, trips);
        "runtimes" "Runtimes" Table::of(RUNTIMES, rows);
    }
}

/// How fast a model is in every runtime; none without a measurement.
pub(super) fn figure(inputs: &Inputs) -> Option<Figure> {
    let (_, bench) = benches(inputs).find(|(_, bench)| !bench.rows.is_empty())?;
    let protocol = &bench.protocol;
    let title = format!(
        "Runtimes: {} tokens of {} at once, {}",
        Whole.text(protocol.seq_len as f64),
        bench.model.base_name(),
        super::count_of(protocol.threads as usize, "thread")
    );
    let mut rows: Vec<_> = bench.rows.iter().collect();
    // Runtimes by their fastest precision, precisions within them by speed.
    let best = |runtime: &str| {
        let rows = bench.rows.iter().filter(|row| row.runtime == runtime);
        rows.map(|row| row.tokens_per_s).fold(0.0, f64::max)
    };
    rows.sort_by(|a, b| {
        let runtimes = best(&b.runtime).total_cmp(&best(&a.runtime));
        runtimes
            .then(a.runtime.cmp(&b.runtime))
            .then(b.tokens_per_s.total_cmp(&a.tokens_per_s))
    });
    let groups = rows
        .chunk_by(|a, b| a.runtime == b.runtime)
        .map(|rows| Group {
            label: rows.first().map_or(String::new(), |row| {
                let apart = if row.is_interleaved {
                    ""
                } else {
                    ", measured separately"
                };
                format!("{} {}{apart}", row.runtime, row.version)
            }),
            rows: rows.iter().map(|row| bar(row, protocol.seq_len)).collect(),
        });
    let fastest = rows
        .iter()
        .max_by(|a, b| a.tokens_per_s.total_cmp(&b.tokens_per_s))?;
    Some(Figure {
        name: "export_runtimes",
        alt: format!(
            "Tokens per second of {} runtimes; the fastest is {} at {} with {}.",
            groups.clone().count(),
            fastest.runtime,
            fastest.precision,
            Si.text(fastest.tokens_per_s)
        ),
        picture: Dots {
            title,
            note: "Medians, lines from the 5th to the 95th percentile. ONNX Runtime and tract also copy logits \
                   and states out; the native engine does not."
                .to_owned(),
            legend: Entry::precisions(rows.iter().map(|row| &row.precision), Entry::bar),
            blocks: vec![Block {
                panels: vec![Panel {
                    scale: Scale::linear("tokens per second, higher is better").from_zero(),
                    ..Panel::default()
                }],
                groups: groups.collect(),
            }],
        }
        .draw(),
        sources: Inputs::files(&inputs.export),
    })
}

/// The bar of a runtime at a precision.
fn bar(row: &ExportBenchRow, tokens: u64) -> Row {
    let Interval { low, nominal, high } = row.speed(tokens);
    let text = format!("{} tokens/s", Si.text(nominal));
    let mark = Mark {
        interval: Some([low, high]),
        is_bar: true,
        ..Mark::new(series_of(&row.precision), Sign::Circle, nominal, &text)
    };
    Row {
        label: row.precision.clone(),
        cells: vec![vec![mark]],
    }
}
