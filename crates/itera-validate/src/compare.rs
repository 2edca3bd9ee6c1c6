//! Which of two results is better, document by document.
//!
//! Both models have read the same documents, so most of the spread between documents is common to
//! both and cancels in the difference; the interval is far narrower than two separate ones suggest.

use std::path::Path;

use anyhow::{Context as _, ensure};
use itera_cli::{Align, ExitStatus, Table, note, print, warn};
use itera_record::{LEAST_DOCUMENTS, ValidationRow, ci95, holm};

use crate::{output, read_record, significance::sign_flip_p};

/// Differences that chance would make less often count as shown.
const ALPHA: f64 = 0.05;

/// Two rows about one text, and what their documents say about the difference.
struct Pair<'r> {
    a: &'r ValidationRow,
    b: &'r ValidationRow,
    /// Bits per byte by which `b` is above `a`.
    difference: f64,
    /// None with too few documents.
    interval: Option<[f64; 2]>,
    /// Corrected for the number of rows.
    p: Option<f64>,
}

/// Compares the rows of `b` with those of `a`. With `fail_if_worse`, a row that needs more bits by
/// more than so many percent is a failed check: a score is exact, so that no test is needed for that.
pub(crate) fn run(a: &Path, b: &Path, fail_if_worse: Option<f64>) -> anyhow::Result<ExitStatus> {
    if let Some(percent) = fail_if_worse {
        ensure!(
            percent.is_finite() && percent >= 0.0,
            "`--fail-if-worse` is {percent}, expected at least 0"
        );
    }
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
    for (row_a, row_b) in &pairs {
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
    }
    let pairs = compared(pairs);
    print(table(&pairs))?;
    let Some(percent) = fail_if_worse else {
        return Ok(ExitStatus::Done);
    };
    let limit = 1.0 + percent / 100.0;
    let worse: Vec<_> = pairs
        .iter()
        .filter(|pair| pair.b.bits_per_byte > limit * pair.a.bits_per_byte)
        .collect();
    for Pair { a, b, .. } in &worse {
        warn(format!(
            "{} on {} needs {:.2} % more bits than {}, above the limit of {percent} %",
            b.model.label(),
            b.text_name(),
            100.0 * (b.bits_per_byte / a.bits_per_byte - 1.0),
            a.model.label()
        ));
    }
    if worse.is_empty() {
        note(format!(
            "none of {} rows is worse by more than {percent} %",
            pairs.len()
        ));
        return Ok(ExitStatus::Done);
    }
    Ok(ExitStatus::CheckFailed)
}

fn compared<'r>(pairs: Vec<(&'r ValidationRow, &'r ValidationRow)>) -> Vec<Pair<'r>> {
    let pair = |(a, b): (&'r ValidationRow, &'r ValidationRow)| {
        let nats = |row: &'r ValidationRow| row.per_document.document_nll_nats.iter();
        let differences: Vec<f64> = nats(a).zip(nats(b)).map(|(a, b)| b - a).collect();
        let bytes = &a.per_document.document_bytes;
        Pair {
            a,
            b,
            difference: b.bits_per_byte - a.bits_per_byte,
            interval: ci95(&differences, bytes, a.protocol.bootstrap),
            p: (differences.len() >= LEAST_DOCUMENTS).then(|| sign_flip_p(&differences)),
        }
    };
    let mut pairs: Vec<Pair<'r>> = pairs.into_iter().map(pair).collect();
    let p_values: Vec<f64> = pairs.iter().filter_map(|pair| pair.p).collect();
    let tested = pairs.iter_mut().filter_map(|pair| pair.p.as_mut());
    for (p, adjusted) in tested.zip(holm(&p_values)) {
        *p = adjusted;
    }
    pairs
}

fn table(pairs: &[Pair<'_>]) -> Table {
    let mut table = Table::new(&[
        ("text", Align::Left),
        ("A", Align::Left),
        ("precision", Align::Left),
        ("bits/byte", Align::Right),
        ("B", Align::Left),
        ("precision", Align::Left),
        ("bits/byte", Align::Right),
        ("B - A", Align::Right),
        ("95 % interval", Align::Left),
        (if pairs.len() > 1 { "p (Holm)" } else { "p" }, Align::Right),
        ("verdict", Align::Left),
    ]);
    for pair in pairs {
        let Pair { a, b, .. } = pair;
        table.row([
            a.text_name(),
            a.model.name.clone(),
            a.precision_label(),
            format!("{:.4}", a.bits_per_byte),
            b.model.name.clone(),
            b.precision_label(),
            format!("{:.4}", b.bits_per_byte),
            format!("{:+.5}", pair.difference),
            output::interval(pair.interval, 5),
            pair.p.map_or("n/a".to_owned(), |p| format!("{p:.4}")),
            pair.verdict().to_owned(),
        ]);
    }
    table
}

impl Pair<'_> {
    /// What the test shows.
    fn verdict(&self) -> &'static str {
        match self.p {
            Some(p) if p < ALPHA && self.difference > 0.0 => "A is better",
            Some(p) if p < ALPHA => "B is better",
            Some(_) => "no difference shown",
            None => "too few documents",
        }
    }
}

/// Rows on the same text, known by its digest. Of several on a text, those of the same model at the
/// same precision belong together; else the one of the same model, the one at the same precision, or
/// the only one.
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
        let candidates = || {
            let rows = rows_b.iter();
            rows.filter(|b| b.dataset_sha256 == a.dataset_sha256)
        };
        let same_precision = |b: &&ValidationRow| b.precision == a.precision;
        let named = || candidates().filter(|b| b.model.name == a.model.name);
        let b = only(named().filter(same_precision))
            .or_else(|| only(named()))
            .or_else(|| only(candidates().filter(same_precision)))
            .or_else(|| only(candidates()));
        let b = b.with_context(|| {
            format!(
                "the second has no row, or several, for {} at {} on {} (sha256 {})",
                a.model.name,
                a.precision,
                a.text_name(),
                a.dataset_sha256
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
    ensure!(
        a.dataset_sha256 == b.dataset_sha256,
        "the sha256 of the text differs, `{}` and `{}`; score both on one text",
        a.dataset_sha256,
        b.dataset_sha256
    );
    let documents = |row: &ValidationRow| {
        (
            row.per_document.document_indices.clone(),
            row.per_document.document_bytes.clone(),
        )
    };
    ensure!(
        documents(a) == documents(b),
        "they have scored different documents of {}, {} ({} bytes) and {} ({} bytes); score both \
         with the same limits and shards, and texts without a known digest under the same name",
        a.text_name(),
        a.documents,
        a.bytes,
        b.documents,
        b.bytes
    );
    Ok(())
}
