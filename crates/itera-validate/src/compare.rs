//! Which of two results is better, by the paired bootstrap over documents.
//!
//! Both models have read the same documents, so most of the spread between documents is common to
//! both and cancels in the difference; the interval is far narrower than two separate ones suggest.

use std::path::Path;

use anyhow::{Context as _, ensure};
use itera_cli::{Align, ExitStatus, Table, print, warn};
use itera_record::ValidationRow;

use crate::{bootstrap, output, read_record};

/// Compares the rows of `b` with those of `a`.
pub(crate) fn run(a: &Path, b: &Path) -> anyhow::Result<ExitStatus> {
    let (record_a, record_b) = (read_record(a)?, read_record(b)?);
    let refusal = || format!("cannot compare `{}` with `{}`", a.display(), b.display());
    ensure!(
        record_a.protocol == record_b.protocol,
        "{}: the protocols differ, `{}` and `{}`; score both with the same options",
        refusal(),
        record_a.protocol,
        record_b.protocol
    );
    let pairs = pairs(&record_a.rows, &record_b.rows).with_context(refusal)?;
    ensure!(!pairs.is_empty(), "{}: they have no rows", refusal());
    let mut table = Table::new(&[
        ("dataset", Align::Left),
        ("split", Align::Left),
        ("A", Align::Left),
        ("precision", Align::Left),
        ("bits/byte", Align::Right),
        ("B", Align::Left),
        ("precision", Align::Left),
        ("bits/byte", Align::Right),
        ("B - A", Align::Right),
        ("95 % interval", Align::Left),
        ("verdict", Align::Left),
    ]);
    for (row_a, row_b) in pairs {
        check_same_text(row_a, row_b).with_context(refusal)?;
        for row in [row_a, row_b]
            .into_iter()
            .filter(|row| row.unknown_tokens > 0)
        {
            warn(format!(
                "{} does not know {} characters, so its score is too low and the comparison unfair",
                row.model.name, row.unknown_tokens
            ));
        }
        let (difference, interval) = difference(row_a, row_b);
        table.row([
            row_a.dataset.clone(),
            row_a.split.clone(),
            row_a.model.name.clone(),
            row_a.precision.clone(),
            format!("{:.4}", row_a.bits_per_byte),
            row_b.model.name.clone(),
            row_b.precision.clone(),
            format!("{:.4}", row_b.bits_per_byte),
            format!("{difference:+.5}"),
            output::interval(interval, 5),
            verdict(interval).to_owned(),
        ]);
    }
    print(table)?;
    Ok(ExitStatus::Done)
}

/// Rows on the same text. Of several on a text, those of the same model at the same precision belong together; else
/// the one of the same model, the one at the same precision, or the only one.
fn pairs<'r>(
    rows_a: &'r [ValidationRow],
    rows_b: &'r [ValidationRow],
) -> anyhow::Result<Vec<(&'r ValidationRow, &'r ValidationRow)>> {
    if let ([a], [b]) = (rows_a, rows_b) {
        return Ok(vec![(a, b)]);
    }
    ensure!(
        rows_a.len() == rows_b.len(),
        "they have {} and {} rows; score both on the same texts",
        rows_a.len(),
        rows_b.len()
    );
    let partner = |a: &'r ValidationRow| {
        let text = |row: &ValidationRow| (row.dataset_sha256.clone(), row.split.clone());
        let candidates = || rows_b.iter().filter(|b| text(b) == text(a));
        let same_precision = |b: &&ValidationRow| b.precision == a.precision;
        let named = || candidates().filter(|b| b.model.name == a.model.name);
        let b = only(named().filter(same_precision))
            .or_else(|| only(named()))
            .or_else(|| only(candidates().filter(same_precision)))
            .or_else(|| only(candidates()));
        let b = b.with_context(|| {
            format!(
                "the second has no row, or several, for {} at {} on {} {} (sha256 {})",
                a.model.name, a.precision, a.dataset, a.split, a.dataset_sha256
            )
        })?;
        Ok((a, b))
    };
    rows_a.iter().map(partner).collect()
}

/// The item, if there is one and no other.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}

/// Refuses rows that are about different texts.
fn check_same_text(a: &ValidationRow, b: &ValidationRow) -> anyhow::Result<()> {
    for (what, in_a, in_b) in [
        ("split", &a.split, &b.split),
        ("sha256 of the text", &a.dataset_sha256, &b.dataset_sha256),
    ] {
        ensure!(
            in_a == in_b,
            "the {what} differs, `{in_a}` and `{in_b}`; score both on one text"
        );
    }
    let documents = |row: &ValidationRow| {
        (
            row.per_document.document_indices.clone(),
            row.per_document.document_bytes.clone(),
        )
    };
    ensure!(
        documents(a) == documents(b),
        "they have scored different documents of {}, {} ({} bytes) and {} ({} bytes); score both \
         with the same limits and shards",
        a.dataset,
        a.documents,
        a.bytes,
        b.documents,
        b.bytes
    );
    Ok(())
}

/// Bits per byte by which `b` is above `a`, and the interval of that.
fn difference(a: &ValidationRow, b: &ValidationRow) -> (f64, Option<[f64; 2]>) {
    let (nll_a, nll_b) = (
        &a.per_document.document_nll_nats,
        &b.per_document.document_nll_nats,
    );
    let differences: Vec<f64> = nll_a.iter().zip(nll_b).map(|(a, b)| b - a).collect();
    let bytes = &a.per_document.document_bytes;
    let interval = bootstrap::ci95(&differences, bytes, a.protocol.bootstrap);
    (b.bits_per_byte - a.bits_per_byte, interval)
}

/// What the interval shows.
fn verdict(interval: Option<[f64; 2]>) -> &'static str {
    match interval {
        Some([low, _]) if low > 0.0 => "A is better",
        Some([_, high]) if high < 0.0 => "B is better",
        Some(_) => "no difference shown",
        None => "too few documents",
    }
}
