//! How fast the native engine runs.

use itera_chart::{Block, Dots, Entry, Group, Mark, Panel, Row, Scale, Sign, series_of};
use itera_record::{
    Align, Column, EngineBenchRecord, EngineBenchRow,
    Form::{Percent, Si, Times},
    Head, ModelInfo, Table, Value, columns,
    columns::{ENGINE_SPEEDS, LIMITS, MEMORY},
    num,
};

use super::{Figure, View, rank_of_precision, rows_of};
use crate::input::{Inputs, Of};

type Found<'i> = (&'i Of<EngineBenchRecord>, &'i EngineBenchRow);

/// All rows: by workload in the order of the bench, then from wide weights to narrow ones, then by
/// threads and kernel.
pub(super) fn rows(inputs: &Inputs) -> Vec<Found<'_>> {
    let mut all: Vec<Found<'_>> = rows_of(&inputs.engine, |record| &record.rows).collect();
    let workloads = names(&all, |row| row.workload.clone());
    all.sort_by_key(|(record, row)| {
        let workload = workloads.iter().position(|name| *name == row.workload);
        let kernel = (rank_of_kernel(&row.kernel), row.kernel.clone());
        let precision = rank_of_precision(&row.precision);
        (workload, record.source, precision, row.threads, kernel)
    });
    all
}

/// From narrow vectors to wide ones.
fn rank_of_kernel(kernel: &str) -> u8 {
    match kernel {
        "scalar" => 0,
        "neon" | "avx2" => 1,
        _ => 2,
    }
}

/// How a row was run: `int8 avx512, 2 threads`.
pub(crate) fn row_name(row: &EngineBenchRow) -> String {
    let threads = super::count_of(row.threads as usize, "thread");
    format!("{} {}, {threads}", row.precision, row.kernel)
}

/// The fastest of some rows. By speed and not by time: a sample of a faster kernel may have more tokens.
fn fastest<'i>(rows: impl Iterator<Item = Found<'i>>) -> Option<Found<'i>> {
    rows.max_by(|a, b| a.1.tokens_per_s.total_cmp(&b.1.tokens_per_s))
}

/// The fastest kernel of a workload on so many threads.
pub(super) fn fastest_of<'i>(
    inputs: &'i Inputs,
    workload: &str,
    threads: u64,
) -> Option<Found<'i>> {
    let rows = rows(inputs).into_iter();
    fastest(rows.filter(|(_, row)| row.workload == workload && row.threads == threads))
}

/// Names in the order of their first row.
fn names(rows: &[Found<'_>], name: fn(&EngineBenchRow) -> String) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, row) in rows {
        if !names.contains(&name(row)) {
            names.push(name(row));
        }
    }
    names
}

type Columns<'c> = &'c [Column<EngineBenchRow>];

/// A table of speeds: a row for each run of rows that `first` says the same about, a column for each way to
/// run it, and at the end something about the fastest.
fn speeds<W: PartialEq>(
    rows: &[Found<'_>],
    first: Columns<'_>,
    ways: &[(W, Head)],
    way: fn(&EngineBenchRow) -> W,
    last: Columns<'_>,
) -> Table {
    let cells = |columns: Columns<'_>, row: &EngineBenchRow| -> Vec<Value> {
        columns.iter().map(|column| (column.value)(row)).collect()
    };
    let heads = first.iter().map(Column::head);
    let heads = heads.chain(ways.iter().map(|(_, head)| head.clone()));
    let mut table = Table::with_heads(heads.chain(last.iter().map(Column::head)).collect());
    for rows in rows.chunk_by(|(_, a), (_, b)| cells(first, a) == cells(first, b)) {
        let mut line = cells(first, rows[0].1);
        line.extend(ways.iter().map(|(wanted, _)| {
            let found = fastest(rows.iter().copied().filter(|(_, row)| way(row) == *wanted));
            Si.of(found.map(|(_, row)| row.tokens_per_s))
        }));
        line.extend(
            fastest(rows.iter().copied())
                .into_iter()
                .flat_map(|(_, row)| cells(last, row)),
        );
        table.push(line);
    }
    table
}

/// Every workload with its fastest kernel at each precision and number of threads.
fn by_workload(rows: &[Found<'_>]) -> Table {
    let way = |row: &EngineBenchRow| {
        (
            row.threads,
            rank_of_precision(&row.precision),
            row.precision.clone(),
        )
    };
    let mut ways: Vec<_> = rows.iter().map(|(_, row)| way(row)).collect();
    ways.sort_unstable();
    ways.dedup();
    let head = |way: (u64, u8, String)| {
        let (threads, _, precision) = &way;
        let title = format!(
            "{precision}, {}",
            super::count_of(*threads as usize, "thread")
        );
        let head = Head::new(&format!("{precision}_{threads}"), &title, Align::Right);
        (way, head)
    };
    let ways: Vec<_> = ways.into_iter().map(head).collect();
    let first = columns! { EngineBenchRow:
        text "workload" "tokens/s" "" |row| words(&row.workload);
    };
    speeds(rows, &first, &ways, way, &[])
}

/// Every workload and precision on one thread: the speed of each kernel.
fn by_kernel(rows: &[Found<'_>]) -> Table {
    let single = on_one_thread(rows);
    let kernels = names(&single, |row| row.kernel.clone());
    let head = |kernel: String| (kernel.clone(), Head::new(&kernel, &kernel, Align::Right));
    let ways: Vec<_> = kernels.into_iter().map(head).collect();
    let first = columns! { EngineBenchRow:
        text "workload"  "tokens/s on one thread" "" |row| words(&row.workload);
        text "precision" "precision"              "" |row| &row.precision;
    };
    let last = columns! { EngineBenchRow:
        number "of_roofline" "of the roofline, fastest" "" |row| Percent(0).of(row.tokens_per_s / row.roofline_tokens_per_s);
    };
    speeds(&single, &first, &ways, |row| row.kernel.clone(), &last)
}

fn on_one_thread<'i>(rows: &[Found<'i>]) -> Vec<Found<'i>> {
    rows.iter()
        .copied()
        .filter(|(_, row)| row.threads == 1)
        .collect()
}

/// Speeds, the cost of a token by its position, memory, and the limits of the machine.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let rows = rows(inputs);
    let all = Table::of(ENGINE_SPEEDS, rows.iter().map(|(_, row)| *row));
    let sources = Inputs::files(&inputs.engine);
    let record = inputs.engine.first().map(|of| &of.item);
    let context = record
        .map(EngineBenchRecord::context_table)
        .unwrap_or_default();
    let memory = Table::of(MEMORY, record.iter().flat_map(|record| &record.memory));
    let limits = Table::of(LIMITS, record.iter().flat_map(|record| &record.machine));
    views! { &sources;
        "engine-speeds" "Speed of the native engine, all measurements" all;
        "engine" "Speed of the native engine" by_workload(&rows);
        "kernels" "Kernels" by_kernel(&rows);
        "context" "Cost of a token by its position" context;
        "memory" "Memory" memory;
        "limits" "Limits of the machine" limits;
    }
}

/// A workload in words.
fn words(name: &str) -> String {
    match name.split_once('-') {
        None if name == "decode" => "decode, a token at a time".to_owned(),
        None if name == "score" => "score, many documents".to_owned(),
        Some(("prefill", tokens)) => match tokens.parse() {
            Ok(count) => format!("prefill, {} tokens", num::thousands(count)),
            Err(_) => name.to_owned(),
        },
        Some(("decode", batch)) => match batch.strip_prefix("batch-") {
            Some(sessions) => format!("decode, {sessions} sessions"),
            None => name.to_owned(),
        },
        _ => name.to_owned(),
    }
}

/// The model of the bench, for titles.
fn model(inputs: &Inputs) -> &str {
    let model = inputs
        .engine
        .first()
        .and_then(|of| of.item.envelope.model.as_ref());
    model.map_or("a model", ModelInfo::base_name)
}

fn block(rows: &[Found<'_>], panel: Panel, marks: impl Fn(&[Found<'_>]) -> Vec<Mark>) -> Block {
    let row = |rows: &[Found<'_>]| Row {
        label: rows[0].1.precision.clone(),
        cells: vec![marks(rows)],
    };
    let group = |rows: &[Found<'_>]| Group {
        label: words(&rows[0].1.workload),
        rows: rows
            .chunk_by(|(_, a), (_, b)| a.precision == b.precision)
            .map(row)
            .collect(),
    };
    let groups = rows.chunk_by(|(_, a), (_, b)| a.workload == b.workload);
    Block {
        panels: vec![panel],
        groups: groups.map(group).collect(),
    }
}

/// Every workload and precision with the fastest kernel; none without rows.
pub(super) fn workload_figure(inputs: &Inputs) -> Option<Figure> {
    let rows = rows(inputs);
    let (_, best) = fastest(rows.iter().copied())?;
    let title = format!("Speed of the native engine: {}", model(inputs));
    let marks = |rows: &[Found<'_>]| {
        let mark = |(threads, sign): (u64, Sign)| {
            let rows = rows.iter().copied();
            let (_, row) = fastest(rows.filter(|(_, row)| row.threads == threads))?;
            let speed = row.speed();
            let text = Si.text(speed.nominal);
            Some(Mark {
                interval: Some([speed.low, speed.high]),
                tip: format!("{}, {text} tokens/s", row_name(row)),
                ..Mark::new(series_of(&row.precision), sign, speed.nominal, &text)
            })
        };
        let threads = [(1, Sign::Circle), (2, Sign::Square)];
        threads.into_iter().filter_map(mark).collect()
    };
    let panel = Panel {
        scale: Scale::linear("tokens per second, higher is better").from_zero(),
        ..Panel::default()
    };
    Some(Figure {
        name: "engine",
        alt: format!(
            "Tokens per second by workload, precision and threads; the fastest is {} with {} tokens per second.",
            words(&best.workload),
            Si.text(best.tokens_per_s)
        ),
        picture: Dots {
            title,
            note: "Fastest kernel; lines from the 5th to the 95th percentile of the samples."
                .to_owned(),
            legend: vec![
                Entry::sign(5, Sign::Circle, "1 thread"),
                Entry::sign(5, Sign::Square, "2 threads"),
            ],
            blocks: vec![block(&rows, panel, marks)],
        }
        .draw(),
        sources: Inputs::files(&inputs.engine),
    })
}

/// Every kernel on one thread as a multiple of the plain one in floats; none if there is but one.
pub(super) fn kernel_figure(inputs: &Inputs) -> Option<Figure> {
    let rows = on_one_thread(&rows(inputs));
    let kernels = names(&rows, |row| row.kernel.clone());
    if kernels.len() < 2 {
        return None;
    }
    let title = format!("Kernels of the native engine: {}", model(inputs));
    let unit = |workload: &str| {
        let is_unit = |row: &EngineBenchRow| {
            row.workload == workload && row.precision == "fp32" && row.kernel == kernels[0]
        };
        let unit = rows.iter().find(|(_, row)| is_unit(row));
        unit.map(|(_, row)| row.tokens_per_s)
    };
    let signs = [Sign::Triangle, Sign::Circle, Sign::Square, Sign::Diamond];
    let sign_of = |kernel: &String| {
        let position = kernels.iter().position(|name| name == kernel);
        position.map_or(0, |i| i % 4)
    };
    let marks = |rows: &[Found<'_>]| {
        let mark = |(_, row): &Found<'_>| {
            let sign = sign_of(&row.kernel);
            let times = row.tokens_per_s / unit(&row.workload)?;
            let text = Times.text(times);
            Some(Mark {
                tip: format!("{}, {text}", row_name(row)),
                ..Mark::new(sign as u8, signs[sign], times, &text)
            })
        };
        rows.iter().filter_map(mark).collect()
    };
    let panel = Panel {
        scale: Scale::log(&format!(
            "speed against {} in fp32, higher is better",
            kernels[0]
        )),
        ..Panel::default()
    };
    let legend = kernels
        .iter()
        .map(|kernel| Entry::sign(sign_of(kernel) as u8, signs[sign_of(kernel)], kernel));
    Some(Figure {
        name: "kernels",
        alt: format!(
            "Speed of the kernels {} by workload and precision, on one thread.",
            kernels.join(", ")
        ),
        picture: Dots {
            title,
            note: "One thread.".to_owned(),
            legend: legend.collect(),
            blocks: vec![block(&rows, panel, marks)],
        }
        .draw(),
        sources: Inputs::files(&inputs.engine),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_named_in_words() {
        assert_eq!(words("prefill-128"), "prefill, 128 tokens");
        assert_eq!(words("decode-batch-16"), "decode, 16 sessions");
        assert_eq!(words("other-x"), "other-x");
    }
}
