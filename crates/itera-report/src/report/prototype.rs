//! The prototype's published figures beside those of this project. Ratios are computed here, so
//! that they cannot contradict the figures.

use itera_record::{PowerMode, PowerRecord, ValidationRow};

use super::Context;
use crate::{
    input::{Inputs, Of, PrototypePower, PrototypeScore},
    md::{Doc, Table, code},
    num::{fixed, plain, short, thousands, times},
    view::{
        engine, model_name,
        power::{energy_of, rows},
        quality::{best, groups, text_name},
    },
};

const NOT_MEASURED: &str = "not measured";

pub(super) fn section(doc: &mut Doc, context: &Context<'_>) {
    doc.heading(2, "Comparison with the prototype");
    doc.paragraph(&format!(
        "Published figures: {}. Ratios are computed from the two figures of a row.",
        context.prototype.origin
    ));
    let mut table = Table::new([
        "figure",
        ">prototype",
        ">here",
        ">ratio",
        "how far they compare",
        "source",
    ]);
    for score in &context.prototype.validation {
        perplexity_row(&mut table, context.inputs, score);
    }
    speed_rows(&mut table, context);
    for power in &context.prototype.power {
        energy_row(&mut table, context.inputs, power);
    }
    size_row(&mut table, context);
    doc.table(&table);
    chance(doc, context);
    claims(doc, context);
}

/// The best score here on the data set that the prototype names.
fn score_here<'i>(inputs: &'i Inputs, dataset: &str) -> Option<&'i Of<ValidationRow>> {
    let groups = groups(inputs);
    let on_dataset = groups
        .iter()
        .filter(|group| group.iter().any(|row| row.item.dataset == dataset));
    on_dataset
        .filter_map(best)
        .min_by(|a, b| a.item.char_perplexity.total_cmp(&b.item.char_perplexity))
}

fn perplexity_row(table: &mut Table, inputs: &Inputs, score: &PrototypeScore) {
    let here = score_here(inputs, &score.dataset);
    table.row([
        format!("perplexity per character, {}", score.dataset),
        fixed(score.char_perplexity, 2),
        here.map_or(NOT_MEASURED.to_owned(), |row| {
            let row = &row.item;
            format!(
                "{} ({} {})",
                fixed(row.char_perplexity, 3),
                code(&row.model.name),
                row.precision
            )
        }),
        "not comparable".to_owned(),
        format!(
            "the prototype scored {} characters of {} kinds, here the whole text counts; \
             against chance see below",
            thousands(score.tokens),
            score.characters
        ),
        here.map_or(String::new(), |row| inputs.cite(row)),
    ]);
}

/// A speed that was measured here.
struct Speed {
    tokens_per_s: f64,
    /// With which model and how.
    what: String,
    cite: String,
}

/// The fastest way to write, or to read a text of so many tokens in one pass: by the engine's bench
/// and by the power results.
fn fastest(inputs: &Inputs, mode: PowerMode, length: u64) -> Option<Speed> {
    let (workload, threads) = match mode {
        PowerMode::Decode => ("decode".to_owned(), u64::MAX),
        PowerMode::Prefill => (format!("prefill-{length}"), 1),
    };
    let of_bench = engine::rows(inputs)
        .into_iter()
        .filter(|(_, row)| row.workload == workload && row.threads <= threads)
        .map(|(record, row)| Speed {
            tokens_per_s: row.tokens_per_s,
            what: engine::row_name(row),
            cite: inputs.cite(record),
        });
    let is_wanted = |record: &PowerRecord| {
        let protocol = &record.protocol;
        mode == PowerMode::Decode || (protocol.seq_len_tokens == length && protocol.threads == 1)
    };
    let of_power = rows(inputs)
        .filter(|(record, row)| row.mode == mode && is_wanted(&record.item))
        .map(|(record, row)| Speed {
            tokens_per_s: row.tokens_per_s.median,
            what: model_name(&row.model),
            cite: inputs.cite(record),
        });
    of_bench
        .chain(of_power)
        .max_by(|a, b| a.tokens_per_s.total_cmp(&b.tokens_per_s))
}

fn speed_rows(table: &mut Table, context: &Context<'_>) {
    let prototype = &context.prototype;
    let length = prototype.tokens_per_sample;
    let none = || NOT_MEASURED.to_owned();
    let decode = fastest(context.inputs, PowerMode::Decode, length);
    let decode = decode.as_ref();
    table.row([
        "speed, tokens/s".to_owned(),
        thousands(prototype.tokens_per_s_two_cores as u64),
        decode.map_or_else(none, |here| {
            let speed = thousands(here.tokens_per_s.round() as u64);
            format!("{speed} (decode, {})", here.what)
        }),
        decode.map_or_else(none, |here| {
            times(here.tokens_per_s, prototype.tokens_per_s_two_cores)
        }),
        "roughly: another machine, and the prototype does not say how it was timed".to_owned(),
        decode.map_or(String::new(), |here| here.cite.clone()),
    ]);
    let prefill = fastest(context.inputs, PowerMode::Prefill, length);
    let prefill = prefill.as_ref();
    let here = prefill.map(|here| 1e3 * length as f64 / here.tokens_per_s);
    for (runtime, milliseconds) in [
        ("ONNX Runtime", prototype.onnx_runtime_ms),
        ("TorchScript", prototype.torchscript_ms),
    ] {
        table.row([
            format!("{length} tokens in one pass, ms ({runtime} there)"),
            fixed(milliseconds, 2),
            prefill.zip(here).map_or_else(none, |(speed, here)| {
                format!("{} (prefill, {})", short(here), speed.what)
            }),
            here.map_or_else(none, |here| times(milliseconds, here)),
            "roughly: another machine".to_owned(),
            prefill.map_or(String::new(), |here| here.cite.clone()),
        ]);
    }
}

fn energy_row(table: &mut Table, inputs: &Inputs, power: &PrototypePower) {
    let source = format!("tdp:{}", power.platform);
    let here = rows(inputs)
        .filter(|(_, row)| row.mode == PowerMode::Prefill)
        .filter_map(|(record, row)| {
            let joules = energy_of(row, &source)?.gross_joules_per_token?.nominal;
            Some((joules, record, row))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let millijoules = here.map(|(joules, _, _)| 1e3 * joules);
    table.row([
        format!(
            "energy per token at a TDP of {} W ({}), mJ",
            plain(power.tdp_watts),
            power.platform
        ),
        fixed(power.millijoules_per_token, 2),
        here.map_or(NOT_MEASURED.to_owned(), |(joules, _, row)| {
            format!(
                "{} ({}, prefill)",
                short(1e3 * joules),
                code(&model_name(&row.model))
            )
        }),
        millijoules.map_or(NOT_MEASURED.to_owned(), |here| {
            times(power.millijoules_per_token, here)
        }),
        "both are estimates from nominal power; the machine that was timed differs".to_owned(),
        here.map_or(String::new(), |(_, record, _)| inputs.cite(record)),
    ]);
}

fn size_row(table: &mut Table, context: &Context<'_>) {
    let prototype = &context.prototype;
    let smallest = context
        .inputs
        .validation
        .iter()
        .filter(|row| row.item.precision == "int8")
        .min_by_key(|row| row.item.model.bytes);
    let bytes = prototype.int8_megabytes * 1e6;
    table.row([
        "size of the weights at int8, MB".to_owned(),
        format!(
            "{} ({} bits per weight)",
            fixed(prototype.int8_megabytes, 2),
            fixed(8.0 * bytes / prototype.parameters as f64, 1)
        ),
        smallest.map_or(NOT_MEASURED.to_owned(), |row| {
            let model = &row.item.model;
            let megabytes = fixed(model.bytes as f64 / 1e6, 3);
            format!(
                "{megabytes} ({} bits per weight)",
                fixed(model.bits_per_weight, 1)
            )
        }),
        smallest.map_or(NOT_MEASURED.to_owned(), |row| {
            times(bytes, row.item.model.bytes as f64)
        }),
        format!(
            "yes: {} parameters there, scales included here",
            thousands(prototype.parameters)
        ),
        smallest.map_or(String::new(), |row| context.inputs.cite(row)),
    ]);
}

/// Each score against a uniform guess of its own.
fn chance(doc: &mut Doc, context: &Context<'_>) {
    let mut lines = Vec::new();
    for score in &context.prototype.validation {
        let uniform = score.characters as f64;
        lines.push(format!(
            "{}: the prototype's perplexity of {} is {} that of a uniform guess over its {} characters: \
             {} than chance.",
            score.dataset,
            fixed(score.char_perplexity, 2),
            times(score.char_perplexity, uniform),
            score.characters,
            if score.char_perplexity > uniform { "worse" } else { "better" }
        ));
        if let Some(of) = score_here(context.inputs, &score.dataset) {
            let row = &of.item;
            let bytes_per_char = row.bytes as f64 / row.chars as f64;
            let uniform = (row.baselines.uniform_bits_per_byte * bytes_per_char).exp2();
            lines.push(format!(
                "{}: here {} has a perplexity of {} per character, {} that of a uniform guess over its \
                 vocabulary ({}): {} than chance ({}).",
                text_name(row),
                code(&row.model.name),
                fixed(row.char_perplexity, 3),
                times(row.char_perplexity, uniform),
                fixed(uniform, 1),
                if row.char_perplexity > uniform { "worse" } else { "better" },
                context.inputs.cite(of)
            ));
        }
    }
    doc.heading(3, "Against chance");
    doc.bullets(lines);
}

/// What the prototype's report says of its own figures, and what they give.
fn claims(doc: &mut Doc, context: &Context<'_>) {
    doc.heading(3, "Ratios within the prototype's report");
    let mut table = Table::new([
        "ratio",
        ">figures",
        ">published as",
        ">they give",
        "verdict",
    ]);
    for claim in &context.prototype.claims {
        let published: Vec<String> = claim
            .published
            .iter()
            .map(|ratio| format!("{}×", fixed(*ratio, 2)))
            .collect();
        let quotient = claim.numerator / claim.denominator;
        // Rounding of two figures of three digits.
        let is_near = |ratio: &f64| (ratio / quotient - 1.0).abs() < 0.02;
        let verdict = match claim
            .published
            .iter()
            .filter(|ratio| is_near(ratio))
            .count()
        {
            0 => "contradicts its figures",
            agreeing if agreeing == claim.published.len() => "agrees",
            _ => "contradicts itself",
        };
        table.row([
            claim.of.clone(),
            format!("{} / {}", claim.numerator, claim.denominator),
            published.join(" and "),
            times(claim.numerator, claim.denominator),
            verdict.to_owned(),
        ]);
    }
    doc.table(&table);
}
