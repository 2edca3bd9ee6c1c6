//! The result as text.

use anyhow::Context as _;
use itera_cli::Table;
use itera_record::{
    ExportBench, ExportRecord,
    columns::{EXPORT_CHECKS, EXPORT_FILES, ROUND_TRIPS, RUNTIMES},
};

/// Files, checks, round trips and measurements.
pub(crate) fn all(record: &ExportRecord) -> String {
    let mut parts = vec![verified(record)];
    if let Some(bench) = &record.bench {
        parts.push(self::bench(bench));
    }
    parts.join("\n")
}

/// Files, checks and round trips.
pub(crate) fn verified(record: &ExportRecord) -> String {
    let files = Table::of(EXPORT_FILES, &record.files);
    let checks = Table::of(EXPORT_CHECKS, &record.checks);
    let mut parts = vec![format!("{files}\n{checks}{}", texts(record))];
    if !record.round_trips.is_empty() {
        parts.push(Table::of(ROUND_TRIPS, &record.round_trips).to_string());
    }
    parts.join("\n")
}

/// One line for each text that was read.
fn texts(record: &ExportRecord) -> String {
    let mut lines: Vec<String> = Vec::new();
    for figures in record
        .checks
        .iter()
        .filter_map(|check| check.figures.as_ref())
    {
        let line = format!(
            "{} {}: {} tokens, {} bytes\n",
            figures.dataset, figures.split, figures.tokens, figures.bytes
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

/// How fast each runtime is.
pub(crate) fn bench(bench: &ExportBench) -> String {
    let table = Table::of(RUNTIMES, &bench.rows);
    let gaps = bench.missing.iter();
    let gaps = gaps.map(|gap| {
        format!(
            "{} {}: not available: {}\n",
            gap.runtime, gap.precision, gap.reason
        )
    });
    let protocol = &bench.protocol;
    format!(
        "{table}{}{}: {} tokens of {}, {} threads, median of {} samples in turns after {} runs\n",
        gaps.collect::<String>(),
        bench.model.name,
        protocol.seq_len,
        protocol.text,
        protocol.threads,
        protocol.samples,
        protocol.warm_up
    )
}

/// The measured runtimes as Markdown.
///
/// # Errors
/// Nothing was measured.
pub(crate) fn markdown(record: &ExportRecord) -> anyhow::Result<String> {
    let bench = record
        .bench
        .as_ref()
        .context("nothing was measured yet; run `itera-export bench`")?;
    Ok(Table::of(RUNTIMES, &bench.rows).markdown())
}
