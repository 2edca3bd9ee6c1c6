//! Exported models: the files, what came of them in other runtimes, and how fast these are.

use itera_record::{
    ExportBench, ExportBenchRow, ExportFigures, ExportRecord, ExportVerdict, Interval, Summary,
};

use super::Figure;
use crate::{
    chart::{
        bars::{Bar, BarChart, Group, Panel},
        legend::{Entry, Key},
        palette::of_precision,
    },
    input::{Inputs, Of},
    md::{Table, code},
    num::{fixed, interval, short, thousands, times},
};

/// The files.
pub(crate) fn file_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "file",
        "graph",
        "layers",
        ">opset",
        ">nodes",
        ">bytes",
        ">of the weights",
        ">bits/weight",
        "source",
    ]);
    for record in &inputs.export {
        for file in &record.item.files {
            table.row([
                code(&file.file),
                file.graph.clone(),
                file.layers.clone(),
                file.opset.to_string(),
                thousands(file.nodes),
                thousands(file.file_bytes),
                times(file.file_bytes as f64, file.model.bytes as f64),
                fixed(file.file_bits_per_weight, 2),
                inputs.cite(record),
            ]);
        }
    }
    table
}

/// What came of each file in each runtime.
pub(crate) fn check_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "file",
        "runtime",
        "verdict",
        ">largest difference",
        ">relative",
        ">mean KL to fp32, nats",
        ">same top token",
        ">bits/byte",
        ">native",
        ">native fp32",
        "text",
        "error of the state after tokens",
        "source",
    ]);
    for record in &inputs.export {
        for check in &record.item.checks {
            let [
                difference,
                relative,
                kl,
                top,
                bits,
                native,
                fp32,
                text,
                state,
            ] = figures(check.figures.as_ref());
            table.row([
                code(&check.file),
                format!("{} {}", check.runtime, check.version),
                verdict(check.verdict, check.reason.as_deref()),
                difference,
                relative,
                kl,
                top,
                bits,
                native,
                fp32,
                text,
                state,
                inputs.cite(record),
            ]);
        }
    }
    table
}

fn figures(figures: Option<&ExportFigures>) -> [String; 9] {
    let Some(figures) = figures else {
        return Default::default();
    };
    let errors = figures.state_errors.iter();
    let errors = errors.map(|error| {
        format!(
            "{}: {}",
            thousands(error.steps),
            short(error.relative_error)
        )
    });
    [
        short(figures.max_abs_difference),
        short(figures.max_relative_difference),
        short(figures.mean_kl_nats),
        format!("{} %", fixed(100.0 * figures.top1_agreement, 2)),
        fixed(figures.bits_per_byte, 4),
        fixed(figures.native_bits_per_byte, 4),
        fixed(figures.fp32_bits_per_byte, 4),
        format!(
            "{} {}, {} tokens",
            figures.dataset,
            figures.split,
            thousands(figures.tokens)
        ),
        errors.collect::<Vec<_>>().join(", "),
    ]
}

/// Graphs that Burn has read back.
pub(crate) fn round_trip_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "model",
        "graph",
        "read back by",
        "verdict",
        ">largest difference",
        ">relative",
        "text",
        "source",
    ]);
    for record in &inputs.export {
        for trip in &record.item.round_trips {
            let [difference, relative, _, _, _, _, _, text, _] = figures(trip.figures.as_ref());
            table.row([
                trip.model.clone(),
                trip.graph.clone(),
                trip.importer.clone(),
                verdict(trip.verdict, trip.reason.as_deref()),
                difference,
                relative,
                text,
                inputs.cite(record),
            ]);
        }
    }
    table
}

/// A verdict in words, with its reason; a failure stands out.
fn verdict(verdict: ExportVerdict, reason: Option<&str>) -> String {
    let word = match verdict {
        ExportVerdict::Passed => "passed",
        ExportVerdict::Failed => "**failed**",
        ExportVerdict::Unavailable => "not available",
    };
    reason.map_or(word.to_owned(), |reason| format!("{word}: {reason}"))
}

/// The bench of every record that has one.
pub(crate) fn benches(inputs: &Inputs) -> impl Iterator<Item = (&Of<ExportRecord>, &ExportBench)> {
    let bench = |record| {
        let Of { item, .. }: &Of<ExportRecord> = record;
        Some((record, item.bench.as_ref()?))
    };
    inputs.export.iter().filter_map(bench)
}

/// What could not be measured, one line each.
pub(crate) fn gaps(inputs: &Inputs) -> Vec<String> {
    let gaps = benches(inputs).flat_map(|(_, bench)| &bench.missing);
    gaps.map(|gap| {
        format!(
            "{} {}: not available: {}",
            gap.runtime, gap.precision, gap.reason
        )
    })
    .collect()
}

/// How fast a model is in every runtime; none without a measurement.
pub(crate) fn figure(inputs: &Inputs) -> Option<Figure> {
    let all: Vec<_> = benches(inputs)
        .filter(|(_, bench)| !bench.rows.is_empty())
        .collect();
    let (_, first) = all.first()?;
    let title = format!(
        "Runtimes: {} tokens at once",
        thousands(first.protocol.seq_len)
    );
    let rows = || {
        all.iter()
            .flat_map(|(_, bench)| bench.rows.iter().map(move |row| (*bench, row)))
    };
    let group = |bench: &ExportBench| Group {
        label: format!("{}, {}", bench.model.name, threads(bench)),
        bars: bench.rows.iter().map(|row| bar(bench, row)).collect(),
    };
    let panel = Panel {
        title: String::new(),
        axis: "tokens per second, higher is better".to_owned(),
        is_log: false,
        reach: None,
        groups: all.iter().map(|(_, bench)| group(bench)).collect(),
    };
    let mut legend: Vec<Entry> = ["fp32", "int8", "int4"]
        .into_iter()
        .filter(|precision| rows().any(|(_, row)| row.precision == *precision))
        .map(|precision| Entry::new(Key::Bar(of_precision(precision)), precision))
        .collect();
    legend.push(Entry::new(
        Key::Interval,
        "5th to 95th percentile of the samples",
    ));
    let speeds = rows().map(|(bench, row)| {
        format!(
            "{} {} {}",
            bench.model.name,
            row_name(row),
            short(row.tokens_per_s)
        )
    });
    let alt = format!(
        "Bar chart of tokens per second. {}.",
        speeds.collect::<Vec<_>>().join("; ")
    );
    Some(Figure {
        file: "export_runtimes.png".to_owned(),
        alt,
        canvas: BarChart {
            title: title.clone(),
            legend,
            columns: 1,
            panels: vec![panel],
        }
        .draw(),
        title,
        table: table(&all),
        sources: inputs.cite_all(all.iter().map(|(record, _)| *record)),
    })
}

fn threads(bench: &ExportBench) -> String {
    super::count_of(bench.protocol.threads as usize, "thread")
}

fn row_name(row: &ExportBenchRow) -> String {
    let mark = if row.is_interleaved {
        ""
    } else {
        ", measured apart"
    };
    format!("{} {}{mark}", row.runtime, row.precision)
}

fn speed(bench: &ExportBench, row: &ExportBenchRow) -> Interval {
    let tokens = bench.protocol.seq_len as f64;
    let speeds: Vec<f64> = row
        .sample_seconds
        .iter()
        .map(|seconds| tokens / seconds)
        .collect();
    let at = |q| Summary::quantile(&speeds, q).unwrap_or(row.tokens_per_s);
    Interval {
        low: at(0.05),
        nominal: row.tokens_per_s,
        high: at(0.95),
    }
}

fn bar(bench: &ExportBench, row: &ExportBenchRow) -> Bar {
    let Interval { low, nominal, high } = speed(bench, row);
    Bar {
        label: row_name(row),
        color: of_precision(&row.precision),
        value: Some(nominal),
        interval: Some([low, high]),
        marks: Vec::new(),
        text: thousands(nominal.round() as u64),
    }
}

fn table(all: &[(&Of<ExportRecord>, &ExportBench)]) -> Table {
    let mut table = Table::new([
        "model",
        "runtime",
        "version",
        "precision",
        ">median ms",
        ">95th percentile ms",
        ">tokens/s",
        ">5th to 95th percentile",
        ">against the slowest",
        ">file bytes",
        "measured",
    ]);
    for (_, bench) in all {
        for row in &bench.rows {
            let Interval { low, high, .. } = speed(bench, row);
            table.row([
                bench.model.name.clone(),
                row.runtime.clone(),
                row.version.clone(),
                row.precision.clone(),
                short(1e3 * row.median_seconds),
                short(1e3 * row.p95_seconds),
                thousands(row.tokens_per_s.round() as u64),
                interval([low, high], 0),
                format!("{}×", fixed(row.speed_up, 2)),
                thousands(row.file_bytes),
                if row.is_interleaved {
                    "in turns"
                } else {
                    "apart"
                }
                .to_owned(),
            ]);
        }
    }
    table
}
