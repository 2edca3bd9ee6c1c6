//! How fast the native engine runs: the rows of its bench, as tables.

use itera_record::{EngineBenchRecord, EngineBenchRow, Interval, Summary};

use super::rank_of_precision;
use crate::{
    input::{Inputs, Of},
    md::Table,
    num::{fixed, interval, short, thousands, times},
};

/// All rows with the records that they come from: by workload in the order of the bench, then from
/// wide weights to narrow ones, then by kernel and threads.
pub(crate) fn rows(inputs: &Inputs) -> Vec<(&Of<EngineBenchRecord>, &EngineBenchRow)> {
    let mut workloads: Vec<&str> = Vec::new();
    let mut all = Vec::new();
    for record in &inputs.engine {
        for row in &record.item.rows {
            if !workloads.contains(&row.workload.as_str()) {
                workloads.push(&row.workload);
            }
            all.push((record, row));
        }
    }
    all.sort_by_key(|(record, row)| {
        let workload = workloads.iter().position(|name| *name == row.workload);
        let precision = rank_of_precision(&row.precision);
        let kernel = (rank_of_kernel(&row.kernel), row.kernel.clone());
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

/// Of the rows that differ in the kernel only, the fastest. By speed and not by time: a sample of a faster kernel may
/// have more tokens.
pub(crate) fn fastest_kernels(inputs: &Inputs) -> Vec<(&Of<EngineBenchRecord>, &EngineBenchRow)> {
    let all = rows(inputs);
    let is_same = |a: &EngineBenchRow, b: &EngineBenchRow| {
        a.workload == b.workload && a.precision == b.precision && a.threads == b.threads
    };
    let is_fastest = |(record, row): &(&Of<EngineBenchRecord>, &EngineBenchRow)| {
        !all.iter().any(|(other_record, other)| {
            other_record.source == record.source
                && is_same(row, other)
                && other.tokens_per_s > row.tokens_per_s
        })
    };
    all.iter().copied().filter(is_fastest).collect()
}

/// Tokens per second over the samples: the median between the 5th and the 95th percentile.
pub(crate) fn speed(row: &EngineBenchRow) -> Interval {
    let speeds: Vec<f64> = row
        .sample_seconds
        .iter()
        .map(|s| row.tokens as f64 / s)
        .collect();
    let at = |q| Summary::quantile(&speeds, q).unwrap_or(row.tokens_per_s);
    Interval {
        low: at(0.05),
        nominal: row.tokens_per_s,
        high: at(0.95),
    }
}

/// How a row was run: `int8 avx512, 2 threads`.
pub(crate) fn row_name(row: &EngineBenchRow) -> String {
    let plural = if row.threads == 1 { "" } else { "s" };
    format!(
        "{} {}, {} thread{plural}",
        row.precision, row.kernel, row.threads
    )
}

/// Every row.
pub(crate) fn speed_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "workload",
        "precision",
        "kernel",
        ">threads",
        ">median ms",
        ">tokens/s",
        ">5th to 95th percentile",
        ">MB of text/s",
        ">roofline tokens/s",
        ">of it",
        "bound by",
        "source",
    ]);
    for (record, row) in rows(inputs) {
        let Interval { low, high, .. } = speed(row);
        let percent = 100.0 * row.tokens_per_s / row.roofline_tokens_per_s;
        table.row([
            row.workload.clone(),
            row.precision.clone(),
            row.kernel.clone(),
            row.threads.to_string(),
            short(1e3 * row.median_seconds),
            thousands(row.tokens_per_s.round() as u64),
            interval([low, high], 0),
            short(row.bytes_per_s / 1e6),
            short(row.roofline_tokens_per_s),
            format!("{} %", fixed(percent, 0)),
            row.roofline_bound.clone(),
            inputs.cite(record),
        ]);
    }
    table
}

/// Cost of a token after so many others, and how much it grew.
pub(crate) fn context_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "precision",
        ">tokens before",
        ">µs/token",
        ">against the first",
        "source",
    ]);
    for record in &inputs.engine {
        let context = &record.item.context;
        for cost in context {
            let first = context
                .iter()
                .find(|other| other.precision == cost.precision);
            table.row([
                cost.precision.clone(),
                thousands(cost.context_tokens),
                short(1e6 * cost.seconds_per_token),
                first.map_or(String::new(), |first| {
                    times(cost.seconds_per_token, first.seconds_per_token)
                }),
                inputs.cite(record),
            ]);
        }
    }
    table
}

/// Memory of a session and of a process.
pub(crate) fn memory_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "precision",
        ">file bytes",
        ">matrix bytes/token",
        ">state bytes/session",
        ">peak resident MB",
        "source",
    ]);
    for record in &inputs.engine {
        for cost in &record.item.memory {
            table.row([
                cost.precision.clone(),
                cost.file_bytes
                    .map_or("made in memory".to_owned(), thousands),
                thousands(cost.matrix_bytes_per_token),
                thousands(cost.state_bytes),
                cost.peak_resident_bytes
                    .map_or("not measured".to_owned(), |bytes| {
                        fixed(bytes as f64 / 1e6, 1)
                    }),
                inputs.cite(record),
            ]);
        }
    }
    table
}
