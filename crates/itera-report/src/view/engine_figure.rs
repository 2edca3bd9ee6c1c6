//! Pictures of the engine's speed: all workloads with the fastest kernel, and all kernels on one
//! thread.

use itera_record::{EngineBenchRecord, EngineBenchRow, Interval};

use super::{
    Figure,
    engine::{fastest_kernels, row_name, rows, speed},
};
use crate::{
    chart::{
        bars::{Bar, BarChart, Group, Panel},
        legend::{Entry, Key},
        palette::of_precision,
    },
    input::{Inputs, Of},
    md::Table,
    num::{interval, short, thousands},
};

type Row<'i> = (&'i Of<EngineBenchRecord>, &'i EngineBenchRow);

/// Every workload and precision; of the kernels the fastest. None without rows.
pub(crate) fn runtime_figure(inputs: &Inputs) -> Option<Figure> {
    figure(
        inputs,
        "runtime_comparison.png",
        "Speed of the native engine by workload, precision and threads (fastest kernel)",
        &fastest_kernels(inputs),
    )
}

/// Every kernel on one thread; none if there is but one.
pub(crate) fn kernel_figure(inputs: &Inputs) -> Option<Figure> {
    let single: Vec<Row<'_>> = rows(inputs)
        .into_iter()
        .filter(|(_, row)| row.threads == 1)
        .collect();
    let mut kernels: Vec<&str> = single.iter().map(|(_, row)| row.kernel.as_str()).collect();
    kernels.sort_unstable();
    kernels.dedup();
    if kernels.len() < 2 {
        return None;
    }
    figure(
        inputs,
        "kernel_comparison.png",
        "Speed of the kernels of the native engine on one thread",
        &single,
    )
}

fn figure(inputs: &Inputs, file: &str, title: &str, rows: &[Row<'_>]) -> Option<Figure> {
    if rows.is_empty() {
        return None;
    }
    let panel = Panel {
        title: String::new(),
        axis: "tokens per second, higher is better".to_owned(),
        is_log: false,
        reach: None,
        groups: groups(rows),
    };
    let mut legend: Vec<Entry> = ["fp32", "int8", "int4"]
        .into_iter()
        .filter(|precision| rows.iter().any(|(_, row)| row.precision == *precision))
        .map(|precision| Entry::new(Key::Bar(of_precision(precision)), precision))
        .collect();
    legend.push(Entry::new(
        Key::Interval,
        "5th to 95th percentile of the samples",
    ));
    Some(Figure {
        file: file.to_owned(),
        title: title.to_owned(),
        alt: alt(rows),
        canvas: BarChart {
            title: title.to_owned(),
            legend,
            columns: 1,
            panels: vec![panel],
        }
        .draw(),
        table: table(rows),
        sources: inputs.cite_all(&inputs.engine),
    })
}

fn groups(rows: &[Row<'_>]) -> Vec<Group> {
    // Of rows that all ran on one thread, the title says so.
    let is_single = rows.iter().all(|(_, row)| row.threads == 1);
    let of_workload = |rows: &[Row<'_>]| Group {
        label: rows
            .first()
            .map_or(String::new(), |(_, row)| workload(&row.workload)),
        bars: rows.iter().map(|(_, row)| bar(row, is_single)).collect(),
    };
    rows.chunk_by(|(_, a), (_, b)| a.workload == b.workload)
        .map(of_workload)
        .collect()
}

fn bar(row: &EngineBenchRow, is_single: bool) -> Bar {
    let Interval { low, nominal, high } = speed(row);
    Bar {
        label: if is_single {
            format!("{} {}", row.precision, row.kernel)
        } else {
            row_name(row)
        },
        color: of_precision(&row.precision),
        value: Some(nominal),
        interval: Some([low, high]),
        marks: Vec::new(),
        text: thousands(nominal.round() as u64),
    }
}

/// A workload in words.
fn workload(name: &str) -> String {
    match name.split_once('-') {
        None if name == "decode" => "decode: a token at a time".to_owned(),
        None if name == "score" => "score: many documents at once".to_owned(),
        Some(("prefill", tokens)) => format!("prefill: {tokens} tokens at once"),
        Some(("decode", batch)) => match batch.strip_prefix("batch-") {
            Some(sessions) => format!("decode: {sessions} sessions side by side"),
            None => name.to_owned(),
        },
        _ => name.to_owned(),
    }
}

fn alt(rows: &[Row<'_>]) -> String {
    let speeds: Vec<String> = rows
        .iter()
        .map(|(_, row)| {
            format!(
                "{} {} {}",
                row.workload,
                row_name(row),
                short(row.tokens_per_s)
            )
        })
        .collect();
    format!("Bar chart of tokens per second. {}.", speeds.join("; "))
}

fn table(rows: &[Row<'_>]) -> Table {
    let mut table = Table::new([
        "workload",
        "precision, kernel, threads",
        ">tokens/s",
        ">5th to 95th percentile",
    ]);
    for (_, row) in rows {
        let Interval { low, high, .. } = speed(row);
        table.row([
            row.workload.clone(),
            row_name(row),
            thousands(row.tokens_per_s.round() as u64),
            interval([low, high], 0),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_said_in_words() {
        assert_eq!(workload("prefill-128"), "prefill: 128 tokens at once");
        assert_eq!(
            workload("decode-batch-16"),
            "decode: 16 sessions side by side"
        );
        assert_eq!(workload("other-x"), "other-x");
    }
}
