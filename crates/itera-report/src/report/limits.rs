//! What qualifies the results: drawn from flags that the result files carry, never typed in.

use std::collections::BTreeSet;

use itera_record::{PowerRow, SpeedBasis};

use crate::{
    input::Inputs,
    md::code,
    num::{fixed, short, thousands},
    view::{
        count_of, enumerate,
        power::{is_platform, rows, source_name},
        quality::{is_complete, scored_name, text_name},
    },
};

/// A latency whose standard deviation is above this share of its mean is worth a word.
const WIDE_SPREAD: f64 = 0.1;

/// One sentence for each flag that is set.
pub(super) fn limits(inputs: &Inputs) -> Vec<String> {
    let mut all = scores(inputs);
    all.extend(texts(inputs));
    all.extend(precisions(inputs));
    all.extend(experts(inputs));
    all.extend(energies(inputs));
    all.extend(counters(inputs));
    all.extend(commits(inputs));
    all
}

/// Scores that are worse than what needs no model, or that do not cover the text.
fn scores(inputs: &Inputs) -> Vec<String> {
    let mut all = Vec::new();
    for of in &inputs.validation {
        let (row, cite) = (&of.item, inputs.cite(of));
        let what = format!("{} on {}", code(&scored_name(row)), text_name(row));
        let bits = fixed(row.bits_per_byte, 3);
        let baselines = &row.baselines;
        if baselines.worse_than_uniform {
            all.push(format!(
                "**{what} is worse than guessing**: {bits} bits per byte against {} of a uniform guess \
                 over its vocabulary ({cite}).",
                fixed(baselines.uniform_bits_per_byte, 3)
            ));
        } else if row.bits_per_byte > baselines.unigram_bits_per_byte {
            all.push(format!(
                "{what} is worse than token frequencies alone: {bits} bits per byte against {} ({cite}).",
                fixed(baselines.unigram_bits_per_byte, 3)
            ));
        } else if row.bits_per_byte > baselines.zstd_bits_per_byte {
            all.push(format!(
                "{what} is worse than zstd -19: {bits} bits per byte against {} ({cite}).",
                fixed(baselines.zstd_bits_per_byte, 3)
            ));
        }
        if !is_complete(row) {
            all.push(format!(
                "{what} compares with no other figure: {} % of the text scored, {} unknown characters \
                 ({cite}).",
                short(100.0 * row.bytes_scored_fraction),
                thousands(row.unknown_tokens)
            ));
        }
    }
    all
}

/// Texts that are not the official ones.
fn texts(inputs: &Inputs) -> Vec<String> {
    let other: BTreeSet<(String, &str)> = inputs
        .validation
        .iter()
        .filter(|row| !row.item.dataset_verdict.starts_with("official"))
        .map(|row| (text_name(&row.item), row.item.dataset_sha256.as_str()))
        .collect();
    let sentence = |(text, digest): (String, &str)| {
        format!(
            "The text {text} is not the official file by its digest; its figures compare with those of \
             the same SHA-256 only, {}.",
            code(digest)
        )
    };
    other.into_iter().map(sentence).collect()
}

/// Precisions without a score.
fn precisions(inputs: &Inputs) -> Option<String> {
    if inputs.validation.is_empty() {
        return None;
    }
    let is_scored = |precision: &&str| {
        inputs
            .validation
            .iter()
            .any(|row| row.item.precision == *precision)
    };
    let missing: Vec<String> = ["fp32", "int8", "int4"]
        .into_iter()
        .filter(|precision| !is_scored(precision))
        .map(str::to_owned)
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "Quality is not measured at {}, so the picture of quality against size is about the other \
         precisions only.",
        enumerate(&missing)
    ))
}

/// Experts that got no token late in training.
fn experts(inputs: &Inputs) -> Vec<String> {
    let sentence = |run: &crate::input::Of<crate::input::Training>| {
        let last = run.item.curve.last()?;
        (last.dead_experts > 0).then(|| {
            format!(
                "{} ended its training with {} that got no token ({}).",
                code(&run.item.name),
                count_of(last.dead_experts as usize, "expert"),
                inputs.cite(run)
            )
        })
    };
    inputs.training.iter().filter_map(sentence).collect()
}

/// Energies that are estimates, projections or unavailable.
fn energies(inputs: &Inputs) -> Vec<String> {
    if inputs.power.is_empty() {
        return Vec::new();
    }
    let mut all = Vec::new();
    let cite = inputs.cite_all(&inputs.power);
    let figures = || rows(inputs).flat_map(|(_, row)| row.energy.iter());
    let is_measured = |figure: &itera_record::EnergyFigure| {
        !is_platform(&figure.source) && figure.gross_joules_per_token.is_some()
    };
    if !figures().any(is_measured) {
        all.push(format!(
            "**No energy was measured.** Every energy is estimated from a platform's nominal power and \
             the measured time and CPU use ({cite})."
        ));
    }
    let projected: BTreeSet<&str> = figures()
        .filter(|figure| figure.speed == SpeedBasis::ThisMachine)
        .map(|figure| source_name(&figure.source))
        .collect();
    if !projected.is_empty() {
        let names: Vec<String> = projected.into_iter().map(str::to_owned).collect();
        all.push(format!(
            "Energies for {} are projections at the speed of the machine that was timed; such a machine \
             may be slower or faster ({cite}).",
            enumerate(&names)
        ));
    }
    let counters: BTreeSet<&str> = inputs
        .power
        .iter()
        .flat_map(|record| &record.item.counters)
        .map(|counter| counter.source.as_str())
        .collect();
    let unavailable: BTreeSet<(&str, &str)> = figures()
        .filter(|figure| !counters.contains(figure.source.as_str()))
        .filter_map(|figure| Some((figure.source.as_str(), figure.reason.as_deref()?)))
        .collect();
    for (source, reason) in unavailable {
        all.push(format!(
            "Energy by {} is unavailable: {reason} ({cite}).",
            code(source)
        ));
    }
    all
}

/// Counters that are not believed, latencies that vary, and what the records note themselves.
fn counters(inputs: &Inputs) -> Vec<String> {
    let mut all = Vec::new();
    for record in &inputs.power {
        let cite = inputs.cite(record);
        for counter in &record.item.counters {
            if let Some(reason) = &counter.reason {
                let source = code(&counter.source);
                all.push(format!(
                    "The energy counter {source} is unavailable: {reason} ({cite})."
                ));
            }
        }
        if record.item.counters.is_empty() {
            all.push(format!(
                "The machine that was timed has no energy counter ({cite})."
            ));
        }
        all.extend(record.item.notes.iter().map(|note| {
            let note = note.trim_end_matches('.');
            format!("Noted with the energies: {note} ({cite}).")
        }));
        all.extend(spread(&record.item.rows).map(|words| format!("{words} ({cite}).")));
    }
    all
}

/// Rows whose latency is far from constant, in words; none if there are none.
fn spread(rows: &[PowerRow]) -> Option<String> {
    let spreads = rows
        .iter()
        .map(|row| row.latency_seconds.sd / row.latency_seconds.mean);
    let wide: Vec<f64> = spreads.filter(|spread| *spread > WIDE_SPREAD).collect();
    let widest = wide.iter().copied().reduce(f64::max)?;
    Some(format!(
        "The latency of {} of {} rows spreads by over {} % around its mean, at most by {} %",
        wide.len(),
        rows.len(),
        100.0 * WIDE_SPREAD,
        short(100.0 * widest)
    ))
}

/// Results that programs of different commits made.
fn commits(inputs: &Inputs) -> Option<String> {
    let commits: BTreeSet<&str> = inputs
        .sources
        .iter()
        .map(|source| source.commit.as_str())
        .filter(|commit| !commit.is_empty())
        .collect();
    (commits.len() > 1).then(|| {
        format!(
            "The results were made by programs of {} commits; the table of sources says which.",
            commits.len()
        )
    })
}
