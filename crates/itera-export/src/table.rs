//! The result as text.

use std::fmt::Write as _;

use anyhow::Context as _;
use itera_cli::{Align, Table};
use itera_record::{ExportBench, ExportCheck, ExportFigures, ExportRecord, ExportVerdict};

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
    let mut parts = vec![checks(record)];
    if !record.round_trips.is_empty() {
        parts.push(round_trips(record).to_string());
    }
    parts.join("\n")
}

/// What files there are, and what came of them in each runtime.
fn checks(record: &ExportRecord) -> String {
    let mut files = Table::new(&[
        ("file", Align::Left),
        ("nodes", Align::Right),
        ("bytes", Align::Right),
        ("file/weights", Align::Right),
        ("bits/weight", Align::Right),
    ]);
    for file in &record.files {
        files.row([
            file.file.clone(),
            file.nodes.to_string(),
            file.file_bytes.to_string(),
            format!("{:.3}", file.file_per_weight_bytes),
            format!("{:.2}", file.file_bits_per_weight),
        ]);
    }
    let mut checks = Table::new(&[
        ("file", Align::Left),
        ("runtime", Align::Left),
        ("max diff", Align::Right),
        ("relative", Align::Right),
        ("mean KL", Align::Right),
        ("same top", Align::Right),
        ("bits/byte", Align::Right),
        ("native", Align::Right),
        ("fp32", Align::Right),
        ("state error after tokens", Align::Left),
        ("verdict", Align::Left),
    ]);
    record
        .checks
        .iter()
        .for_each(|check| checks.row(row(check)));
    format!("{files}\n{checks}{}", texts(record))
}

fn row(check: &ExportCheck) -> [String; 11] {
    let runtime = format!("{} {}", check.runtime, check.version);
    let verdict = verdict(check.verdict, check.reason.as_deref());
    let mut cells: [String; 11] = Default::default();
    if let Some(figures) = &check.figures {
        let errors = figures.state_errors.iter();
        let errors = errors.map(|error| format!("{}: {:.1e}", error.steps, error.relative_error));
        cells[2] = format!("{:.1e}", figures.max_abs_difference);
        cells[3] = format!("{:.1e}", figures.max_relative_difference);
        cells[4] = format!("{:.6}", figures.mean_kl_nats);
        cells[5] = format!("{:.2} %", figures.top1_agreement * 100.0);
        cells[6] = format!("{:.4}", figures.bits_per_byte);
        cells[7] = format!("{:.4}", figures.native_bits_per_byte);
        cells[8] = format!("{:.4}", figures.fp32_bits_per_byte);
        cells[9] = errors.collect::<Vec<_>>().join(", ");
    }
    cells[0].clone_from(&check.file);
    cells[1] = runtime;
    cells[10] = verdict;
    cells
}

/// A verdict in words.
fn verdict(verdict: ExportVerdict, reason: Option<&str>) -> String {
    let reason = reason.unwrap_or_default();
    match verdict {
        ExportVerdict::Passed => "passed".to_owned(),
        ExportVerdict::Failed => format!("FAILED: {reason}"),
        ExportVerdict::Unavailable => format!("not available: {reason}"),
    }
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

fn round_trips(record: &ExportRecord) -> Table {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("graph", Align::Left),
        ("read back by", Align::Left),
        ("tokens", Align::Right),
        ("max diff", Align::Right),
        ("relative", Align::Right),
        ("verdict", Align::Left),
    ]);
    for trip in &record.round_trips {
        let figure = |get: fn(&ExportFigures) -> String| {
            let figures = trip.figures.as_ref();
            figures.map(get).unwrap_or_default()
        };
        table.row([
            trip.model.clone(),
            trip.graph.clone(),
            trip.importer.clone(),
            figure(|figures| figures.tokens.to_string()),
            figure(|figures| format!("{:.1e}", figures.max_abs_difference)),
            figure(|figures| format!("{:.1e}", figures.max_relative_difference)),
            verdict(trip.verdict, trip.reason.as_deref()),
        ]);
    }
    table
}

/// How fast each runtime is.
pub(crate) fn bench(bench: &ExportBench) -> String {
    let mut table = Table::new(&[
        ("runtime", Align::Left),
        ("precision", Align::Left),
        ("median ms", Align::Right),
        ("95 % ms", Align::Right),
        ("tokens/s", Align::Right),
        ("speed-up", Align::Right),
        ("file bytes", Align::Right),
        ("", Align::Left),
    ]);
    for row in &bench.rows {
        table.row([
            format!("{} {}", row.runtime, row.version),
            row.precision.clone(),
            format!("{:.3}", row.median_seconds * 1e3),
            format!("{:.3}", row.p95_seconds * 1e3),
            format!("{:.0}", row.tokens_per_s),
            format!("{:.2}", row.speed_up),
            row.file_bytes.to_string(),
            if row.is_interleaved {
                ""
            } else {
                "measured apart"
            }
            .to_owned(),
        ]);
    }
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
    let mut text = String::from(
        "| runtime | precision | median ms | 95 % ms | tokens/s | speed-up | file bytes |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in &bench.rows {
        let mark = if row.is_interleaved {
            ""
        } else {
            " (measured apart)"
        };
        let _ = writeln!(
            text,
            "| {} {}{mark} | {} | {:.2} | {:.2} | {:.0} | {:.2} | {} |",
            row.runtime,
            row.version,
            row.precision,
            row.median_seconds * 1e3,
            row.p95_seconds * 1e3,
            row.tokens_per_s,
            row.speed_up,
            row.file_bytes
        );
    }
    Ok(text)
}
