//! The result for people and for programs.

use std::path::Path;

use anyhow::Context as _;
use itera_cli::{Table, note, print, warn};
use itera_core::files::write_atomic;
use itera_record::{
    Record as _, ValidationRecord, ValidationRow,
    columns::{BASELINES, DIVERGENCES, GAINS, SCORE_FIELDS, SCORES},
};

use crate::{args::Format, lm_eval, options::Options};

/// Writes the files that the options name and prints the result, the one whatever becomes of the other;
/// `notes` qualify it.
pub(crate) fn deliver(
    record: &ValidationRecord,
    options: &Options,
    notes: &[String],
) -> anyhow::Result<()> {
    let json = match options.format {
        Format::Itera => record.to_json().context("cannot write the result")?,
        Format::LmEval => lm_eval::to_json(record)?,
    };
    let written = write_files(record, options, &json);
    let printed = print_result(record, options, notes, json);
    written.and(printed)
}

fn write_files(record: &ValidationRecord, options: &Options, json: &str) -> anyhow::Result<()> {
    if let Some(path) = &options.output {
        write(path, json.as_bytes())?;
    }
    if let Some(path) = &options.csv {
        let csv = Table::of(SCORE_FIELDS, &record.rows).csv();
        write(path, &csv.context("cannot write the rows as CSV")?)?;
    }
    Ok(())
}

fn print_result(
    record: &ValidationRecord,
    options: &Options,
    notes: &[String],
    json: String,
) -> anyhow::Result<()> {
    record.rows.iter().for_each(warn_of);
    if options.json {
        notes.iter().for_each(warn);
        return print(json);
    }
    print(table(&record.rows))?;
    notes
        .iter()
        .try_for_each(|text| print(format!("note: {text}\n")))
}

/// Writes a file whole or not at all, and says so.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomic(path, bytes)?;
    note(format!("wrote {}", path.display()));
    Ok(())
}

/// The result as text: scores, then what each text is.
pub(crate) fn table(rows: &[ValidationRow]) -> String {
    let scores = Table::of(SCORES, rows).without_empty(&["engine"]);
    let compared = rows.iter().filter(|row| row.divergence.is_some());
    let adapted = rows.iter().filter(|row| row.static_score.is_some());
    let baselines = Table::of(BASELINES, rows);
    let mut parts = vec![
        scores,
        baselines.without_empty(&[]),
        Table::of(DIVERGENCES, compared),
        Table::of(GAINS, adapted),
    ];
    parts.retain(|table| !table.is_empty());
    let tables: Vec<String> = parts.iter().map(ToString::to_string).collect();
    let protocol = rows
        .first()
        .map(|row| format!("protocol {}\n", row.protocol));
    let protocol = protocol.unwrap_or_default();
    format!("{}\n{protocol}{}", tables.join("\n"), texts(rows))
}

/// `[low, high]`, or `n/a`.
pub(crate) fn interval(bounds: Option<[f64; 2]>, decimals: usize) -> String {
    bounds.map_or("n/a".to_owned(), |[low, high]| {
        format!("[{low:.decimals$}, {high:.decimals$}]")
    })
}

/// One line for each text with what was counted in it, in the names of the record.
fn texts(rows: &[ValidationRow]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for row in rows {
        let shard = row
            .shard
            .map_or(String::new(), |shard| format!("shard {shard}, "));
        let line = format!(
            "{}: {shard}documents {}, words {}, chars {}, bytes {}, bytes_scored_fraction {}; {}\n",
            row.text_name(),
            row.documents,
            row.words,
            row.chars,
            row.bytes,
            fraction(row.bytes_scored_fraction),
            row.dataset_verdict,
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

/// Says what makes a score doubtful.
fn warn_of(row: &ValidationRow) {
    let name = format!("{} on {}", row.model.name, row.text_name());
    if row.baselines.worse_than_uniform {
        warn(format!(
            "{name} is worse than a uniform guess: {:.4} bits/byte against {:.4}; the checkpoint is \
             untrained, broken, or made for other text",
            row.bits_per_byte, row.baselines.uniform_bits_per_byte
        ));
    }
    if row.unknown_tokens > 0 {
        warn(format!(
            "{name}: {} of {} characters are outside the model's vocabulary; the score holds that an \
             unknown character stood there, not which one, so it is lower than a complete one and \
             compares with no other",
            row.unknown_tokens, row.tokens
        ));
    }
}

/// `1.0` for the whole text, else four decimals.
fn fraction(value: f64) -> String {
    if value < 1.0 {
        format!("{value:.4}")
    } else {
        "1.0".to_owned()
    }
}
