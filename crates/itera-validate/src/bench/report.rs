//! The record as text.

use itera_cli::{Align, Table};
use itera_record::EngineBenchRecord;

/// Speeds, then memory and the cost by context, then what the machine can do.
pub(super) fn text(record: &EngineBenchRecord) -> String {
    let mut text = speeds(record);
    text += "\n";
    text += &memory(record);
    text += "\n";
    text += &machine(record);
    text
}

fn speeds(record: &EngineBenchRecord) -> String {
    let mut table = Table::new(&[
        ("workload", Align::Left),
        ("precision", Align::Left),
        ("kernel", Align::Left),
        ("threads", Align::Right),
        ("tokens/s", Align::Right),
        ("ms a run", Align::Right),
        ("MB/s", Align::Right),
        ("spread", Align::Right),
        ("roofline", Align::Right),
        ("of it", Align::Right),
        ("bound", Align::Left),
    ]);
    for row in &record.rows {
        let run = match row.workload.strip_prefix("prefill-") {
            Some(tokens) => tokens.parse().unwrap_or(1.0) / row.tokens_per_s * 1e3,
            None => row.median_seconds * 1e3,
        };
        let share = row.tokens_per_s / row.roofline_tokens_per_s * 100.0;
        table.row([
            row.workload.clone(),
            row.precision.clone(),
            row.kernel.clone(),
            row.threads.to_string(),
            format!("{:.0}", row.tokens_per_s),
            format!("{run:.3}"),
            format!("{:.3}", row.bytes_per_s / 1e6),
            format!("{:.0} %", spread(&row.sample_seconds, row.median_seconds)),
            format!("{:.0}", row.roofline_tokens_per_s),
            format!("{share:.0} %"),
            row.roofline_bound.clone(),
        ]);
    }
    table.to_string()
}

/// Distance between the slowest and the fastest quarter of the samples, in percent of the median.
fn spread(samples: &[f64], median: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| {
        sorted
            .get(sorted.len() * share / 4)
            .copied()
            .unwrap_or(median)
    };
    (at(3) - at(1)) / median * 100.0
}

fn memory(record: &EngineBenchRecord) -> String {
    let contexts: Vec<u64> = {
        let mut all: Vec<_> = record
            .context
            .iter()
            .map(|cost| cost.context_tokens)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let costs: Vec<String> = contexts
        .iter()
        .map(|c| format!("us/token at {c}"))
        .collect();
    let mut columns = vec![
        ("precision", Align::Left),
        ("file bytes", Align::Right),
        ("weights read", Align::Right),
        ("state bytes", Align::Right),
        ("peak resident", Align::Right),
    ];
    columns.extend(costs.iter().map(|cost| (cost.as_str(), Align::Right)));
    let mut table = Table::new(&columns);
    for cost in &record.memory {
        let optional = |bytes: Option<u64>| bytes.map_or("n/a".to_owned(), |b| b.to_string());
        let mut cells = vec![
            cost.precision.clone(),
            optional(cost.file_bytes),
            cost.matrix_bytes_per_token.to_string(),
            cost.state_bytes.to_string(),
            optional(cost.peak_resident_bytes),
        ];
        let of_precision = record
            .context
            .iter()
            .filter(|c| c.precision == cost.precision);
        cells.extend(of_precision.map(|c| format!("{:.2}", c.seconds_per_token * 1e6)));
        table.row(cells);
    }
    table.to_string()
}

fn machine(record: &EngineBenchRecord) -> String {
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("float G multiply-adds/s", Align::Right),
        ("int8 G multiply-adds/s", Align::Right),
        ("read GB/s", Align::Right),
    ]);
    for limits in &record.machine {
        table.row([
            limits.kernel.clone(),
            format!("{:.1}", limits.float_multiply_adds_per_s / 1e9),
            format!("{:.1}", limits.integer_multiply_adds_per_s / 1e9),
            format!("{:.1}", limits.read_bytes_per_s / 1e9),
        ]);
    }
    table.to_string()
}
