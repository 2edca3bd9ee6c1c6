//! The result for people and for programs.

use std::path::Path;

use anyhow::Context as _;
use itera_cli::{Align, Table, note, print, warn};
use itera_core::files::write_atomic;
use itera_record::{Record as _, ValidationRecord, ValidationRow};

use crate::options::Options;

/// Writes the files that the options name and prints the result, the one whatever becomes of the other;
/// `notes` qualify it.
pub(crate) fn deliver(
    record: &ValidationRecord,
    options: &Options,
    notes: &[String],
) -> anyhow::Result<()> {
    let json = record.to_json().context("cannot write the result")?;
    let written = write_files(record, options, &json);
    let printed = print_result(record, options, notes, json);
    written.and(printed)
}

fn write_files(record: &ValidationRecord, options: &Options, json: &str) -> anyhow::Result<()> {
    if let Some(path) = &options.output {
        write(path, json.as_bytes())?;
    }
    if let Some(path) = &options.csv {
        write(path, &csv(&record.rows)?)?;
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
    let mut scores = Table::new(&[
        ("model", Align::Left),
        ("dataset", Align::Left),
        ("split", Align::Left),
        ("precision", Align::Left),
        ("bits/byte", Align::Right),
        ("95 % interval", Align::Left),
        ("byte ppl", Align::Right),
        ("word ppl", Align::Right),
        ("uniform", Align::Right),
        ("unigram", Align::Right),
        ("zstd -19", Align::Right),
        ("verdict", Align::Left),
    ]);
    for row in rows {
        scores.row([
            row.model.name.clone(),
            row.dataset.clone(),
            row.split.clone(),
            row.precision.clone(),
            format!("{:.4}", row.bits_per_byte),
            interval(row.bits_per_byte_ci95, 4),
            number(row.byte_perplexity, 4),
            row.word_perplexity
                .map_or("n/a".to_owned(), |perplexity| number(perplexity, 2)),
            format!("{:.4}", row.baselines.uniform_bits_per_byte),
            format!("{:.4}", row.baselines.unigram_bits_per_byte),
            format!("{:.4}", row.baselines.zstd_bits_per_byte),
            verdict(row),
        ]);
    }
    let protocol = rows
        .first()
        .map(|row| format!("protocol {}\n", row.protocol));
    let (divergences, gains) = (divergences(rows), gains(rows));
    format!(
        "{scores}\n{divergences}{gains}{}{}",
        protocol.unwrap_or_default(),
        texts(rows)
    )
}

/// A second table of how far predictions are from the reference, where that was asked for.
fn divergences(rows: &[ValidationRow]) -> String {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("precision", Align::Left),
        ("against", Align::Left),
        ("mean KL", Align::Right),
        ("99 % KL", Align::Right),
        ("99.9 % KL", Align::Right),
        ("same top token", Align::Right),
        ("state error after steps", Align::Left),
    ]);
    let compared = rows
        .iter()
        .filter_map(|row| Some((row, row.divergence.as_ref()?)));
    let mut any = false;
    for (row, divergence) in compared {
        any = true;
        let errors = divergence.state_errors.iter();
        let errors = errors.map(|error| format!("{}: {:.2e}", error.steps, error.relative_error));
        table.row([
            row.model.name.clone(),
            row.precision.clone(),
            divergence.reference.clone(),
            format!("{:.6}", divergence.mean_kl_nats),
            format!("{:.5}", divergence.p99_kl_nats),
            format!("{:.5}", divergence.p999_kl_nats),
            format!("{:.2} %", divergence.top1_agreement * 100.0),
            errors.collect::<Vec<_>>().join(", "),
        ]);
    }
    if any {
        format!("{table}\n")
    } else {
        String::new()
    }
}

/// A table of what moving weights have gained over weights that stay, where they moved.
fn gains(rows: &[ValidationRow]) -> String {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("dataset", Align::Left),
        ("static bits/byte", Align::Right),
        ("adapted bits/byte", Align::Right),
        ("gain", Align::Right),
        ("updates", Align::Right),
    ]);
    let scores = rows
        .iter()
        .filter_map(|row| Some((row, row.static_score.as_ref()?)));
    let mut any = false;
    for (row, score) in scores {
        any = true;
        table.row([
            row.model.name.clone(),
            row.dataset.clone(),
            format!("{:.4}", score.static_bits_per_byte),
            format!("{:.4}", row.bits_per_byte),
            format!("{:.2} %", 100.0 * score.gain),
            score.updates.to_string(),
        ]);
    }
    if any {
        format!("{table}\n")
    } else {
        String::new()
    }
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
            "{} {}: {shard}documents {}, words {}, chars {}, bytes {}, bytes_scored_fraction {}; {}\n",
            row.dataset,
            row.split,
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

/// How the model stands to the baselines, in words.
fn verdict(row: &ValidationRow) -> String {
    let baselines = &row.baselines;
    let standing = if baselines.worse_than_uniform {
        "WORSE THAN A UNIFORM GUESS"
    } else if row.bits_per_byte > baselines.unigram_bits_per_byte {
        "worse than token frequencies"
    } else if row.bits_per_byte > baselines.zstd_bits_per_byte {
        "worse than zstd"
    } else {
        "better than zstd"
    };
    match row.unknown_tokens {
        0 => standing.to_owned(),
        unknown => format!("{standing}; INCOMPLETE: {unknown} characters unknown"),
    }
}

/// Says what makes a score doubtful.
fn warn_of(row: &ValidationRow) {
    let name = format!("{} on {} {}", row.model.name, row.dataset, row.split);
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

/// So many decimals, or a power of ten where the number would be long.
fn number(value: f64, decimals: usize) -> String {
    if value < 1e6 {
        format!("{value:.decimals$}")
    } else {
        format!("{value:.3e}")
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

/// The rows without the values of single documents, as CSV.
fn csv(rows: &[ValidationRow]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (i, row) in rows.iter().enumerate() {
        let columns = columns(row);
        if i == 0 {
            writer.write_record(columns.iter().map(|(name, _)| name))?;
        }
        writer.write_record(columns.iter().map(|(_, value)| value))?;
    }
    writer.into_inner().context("cannot write the rows as CSV")
}

/// Names and values of the CSV's columns, in the order and the names of the record.
fn columns(row: &ValidationRow) -> Vec<(&'static str, String)> {
    let optional = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let [low, high] = row
        .bits_per_byte_ci95
        .map_or([None; 2], |bounds| bounds.map(Some));
    vec![
        ("model", row.model.name.clone()),
        ("model_file_sha256", row.model.file_sha256.clone()),
        ("model_params", row.model.params.to_string()),
        ("dataset", row.dataset.clone()),
        ("split", row.split.clone()),
        ("dataset_sha256", row.dataset_sha256.clone()),
        ("dataset_verdict", row.dataset_verdict.clone()),
        ("documents", row.documents.to_string()),
        ("bytes", row.bytes.to_string()),
        ("chars", row.chars.to_string()),
        ("words", row.words.to_string()),
        ("tokens", row.tokens.to_string()),
        ("unknown_tokens", row.unknown_tokens.to_string()),
        ("nll_nats", row.nll_nats.to_string()),
        ("bits_per_byte", row.bits_per_byte.to_string()),
        ("bits_per_byte_ci95_low", optional(low)),
        ("bits_per_byte_ci95_high", optional(high)),
        ("byte_perplexity", row.byte_perplexity.to_string()),
        ("char_perplexity", row.char_perplexity.to_string()),
        ("word_perplexity", optional(row.word_perplexity)),
        ("token_perplexity", row.token_perplexity.to_string()),
        (
            "uniform_bits_per_byte",
            row.baselines.uniform_bits_per_byte.to_string(),
        ),
        (
            "unigram_bits_per_byte",
            row.baselines.unigram_bits_per_byte.to_string(),
        ),
        (
            "zstd_bits_per_byte",
            row.baselines.zstd_bits_per_byte.to_string(),
        ),
        (
            "worse_than_uniform",
            row.baselines.worse_than_uniform.to_string(),
        ),
        ("precision", row.precision.clone()),
        ("engine", row.engine.clone()),
        ("kernel", row.kernel.clone().unwrap_or_default()),
        ("protocol", row.protocol.to_string()),
        (
            "shard",
            row.shard.map_or(String::new(), |shard| shard.to_string()),
        ),
        ("seconds", row.seconds.to_string()),
        ("tokens_per_s", row.tokens_per_s.to_string()),
        (
            "bytes_scored_fraction",
            row.bytes_scored_fraction.to_string(),
        ),
    ]
}
