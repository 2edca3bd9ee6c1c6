//! How well models predict texts: the rows of all validation results, as tables and words.

use itera_core::config::MICRO_PARAMETER_BUDGET;
use itera_record::{StateError, ValidationRow};

use super::{base_name, rank_of_precision};
use crate::{
    input::{Inputs, Of},
    md::{Table, code},
    num::{fixed, interval, short, thousands},
};

/// Rows on one text by one protocol.
pub(crate) type Group<'i> = Vec<&'i Of<ValidationRow>>;

/// A model at the precision that it was scored at.
pub(crate) fn scored_name(row: &ValidationRow) -> String {
    format!("{} {}", base_name(&row.model), row.precision)
}

/// All rows, those on one text by one protocol together.
pub(crate) fn groups(inputs: &Inputs) -> Vec<Group<'_>> {
    let mut rows: Vec<&Of<ValidationRow>> = inputs.validation.iter().collect();
    let text = |row: &ValidationRow| {
        (
            row.dataset.clone(),
            row.split.clone(),
            row.dataset_sha256.clone(),
            row.protocol.to_string(),
        )
    };
    rows.sort_by_cached_key(|row| {
        let row = &row.item;
        let model = base_name(&row.model).to_owned();
        let rank = rank_of_precision(&row.precision);
        (text(row), model, rank, row.engine.clone())
    });
    rows.chunk_by(|a, b| text(&a.item) == text(&b.item))
        .map(<[_]>::to_vec)
        .collect()
}

/// A text in words: `wikitext2 test`.
pub(crate) fn text_name(row: &ValidationRow) -> String {
    if row.split == "all" {
        row.dataset.clone()
    } else {
        format!("{} {}", row.dataset, row.split)
    }
}

/// The heading of a group: text, size and protocol.
pub(crate) fn group_name(row: &ValidationRow) -> String {
    format!(
        "{}, {} documents, protocol {}",
        text_name(row),
        thousands(row.documents),
        row.protocol
    )
}

/// A model as a row of a picture: name, precision, and what sets its score apart.
pub(crate) fn row_name(row: &ValidationRow) -> String {
    let engine = if row.engine == "native" {
        String::new()
    } else {
        format!(", {}", row.engine)
    };
    let star = if is_complete(row) { "" } else { " *" };
    format!("{}{engine}{star}", scored_name(row))
}

/// Whether the score is about the whole text: only then does it compare.
pub(crate) fn is_complete(row: &ValidationRow) -> bool {
    row.bytes_scored_fraction >= 1.0 && row.unknown_tokens == 0 && row.shard.is_none()
}

/// Whether the model is beyond the budget of `micro`, as a teacher is.
pub(crate) fn is_large(row: &ValidationRow) -> bool {
    row.model.params > MICRO_PARAMETER_BUDGET as u64
}

/// The best score on the text of a group: the lowest of those that are complete, of a model within
/// the budget of `micro` where there is one. A teacher is larger, and is not what the project is for.
pub(crate) fn best<'i>(group: &Group<'i>) -> Option<&'i Of<ValidationRow>> {
    let complete = group.iter().copied().filter(|row| is_complete(&row.item));
    complete.min_by(|a, b| {
        let bits = a.item.bits_per_byte.total_cmp(&b.item.bits_per_byte);
        is_large(&a.item).cmp(&is_large(&b.item)).then(bits)
    })
}

/// Scores, intervals and baselines of all rows.
pub(crate) fn score_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "text",
        "model",
        "precision",
        ">bits/byte",
        ">95 % interval",
        ">byte ppl",
        ">char ppl",
        ">word ppl",
        ">zstd -19",
        ">unigram",
        ">uniform",
        "verdict",
        "source",
    ]);
    for row in groups(inputs).into_iter().flatten() {
        let source = inputs.cite(row);
        let row = &row.item;
        table.row([
            text_name(row),
            code(&row.model.name),
            row.precision.clone(),
            fixed(row.bits_per_byte, 4),
            row.bits_per_byte_ci95
                .map_or("too few documents".to_owned(), |ci| interval(ci, 3)),
            fixed(row.byte_perplexity, 3),
            fixed(row.char_perplexity, 3),
            row.word_perplexity
                .map_or("beyond 64 bits".to_owned(), short),
            fixed(row.baselines.zstd_bits_per_byte, 3),
            fixed(row.baselines.unigram_bits_per_byte, 3),
            fixed(row.baselines.uniform_bits_per_byte, 3),
            verdict(row),
            source,
        ]);
    }
    table
}

/// Where a score stands among what needs no model.
pub(crate) fn verdict(row: &ValidationRow) -> String {
    let baselines = &row.baselines;
    let place = if baselines.worse_than_uniform {
        "**worse than guessing**"
    } else if row.bits_per_byte > baselines.unigram_bits_per_byte {
        "worse than token frequencies"
    } else if row.bits_per_byte > baselines.zstd_bits_per_byte {
        "worse than zstd"
    } else {
        "better than zstd"
    };
    let mut parts = vec![place.to_owned()];
    if row.bytes_scored_fraction < 1.0 {
        let percent = short(100.0 * row.bytes_scored_fraction);
        parts.push(format!("only {percent} % of the text"));
    }
    if row.unknown_tokens > 0 {
        let unknown = thousands(row.unknown_tokens);
        parts.push(format!("incomplete, {unknown} unknown characters"));
    }
    if let Some(shard) = row.shard {
        parts.push(format!("only shard {shard}"));
    }
    parts.join("; ")
}

/// How far predictions are from those of a reference precision.
pub(crate) fn divergence_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "text",
        "model",
        "precision",
        "reference",
        ">mean KL nats/token",
        ">99 %",
        ">99.9 %",
        ">same top token",
        "error of the state after tokens",
        "source",
    ]);
    for of in groups(inputs).into_iter().flatten() {
        let row = &of.item;
        let Some(divergence) = &row.divergence else {
            continue;
        };
        let state = |error: &StateError| {
            format!(
                "{} % at {}",
                short(100.0 * error.relative_error),
                thousands(error.steps)
            )
        };
        let states: Vec<String> = divergence.state_errors.iter().map(state).collect();
        table.row([
            text_name(row),
            code(&row.model.name),
            row.precision.clone(),
            divergence.reference.clone(),
            short(divergence.mean_kl_nats),
            short(divergence.p99_kl_nats),
            short(divergence.p999_kl_nats),
            format!("{} %", fixed(100.0 * divergence.top1_agreement, 2)),
            states.join(", "),
            inputs.cite(of),
        ]);
    }
    table
}

/// How every row was scored.
pub(crate) fn protocol_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "text",
        "model",
        "precision",
        "engine",
        "kernel",
        "protocol",
        ">documents",
        ">bytes",
        ">words",
        ">tokens",
        ">seconds",
        ">tokens/s",
        "text by its digest",
    ]);
    for row in groups(inputs).into_iter().flatten() {
        let row = &row.item;
        table.row([
            text_name(row),
            code(&row.model.name),
            row.precision.clone(),
            row.engine.clone(),
            row.kernel.clone().unwrap_or_else(|| "not said".to_owned()),
            row.protocol.to_string(),
            thousands(row.documents),
            thousands(row.bytes),
            thousands(row.words),
            thousands(row.tokens),
            fixed(row.seconds, 1),
            short(row.tokens_per_s),
            format!(
                "{} ({})",
                row.dataset_verdict,
                code(&row.dataset_sha256[..12])
            ),
        ]);
    }
    table
}
