//! The results in a few sentences, each with its file.

use itera_record::{PowerMode, ServeBenchRecord, SimulationRecord, ValidationRow};

use super::sources::missing;
use crate::{
    input::{GateCheck, Inputs, Of},
    md::code,
    num::{fixed, interval, short, thousands},
    view::{
        engine, enumerate, model_name,
        power::{is_platform, rows, source_name, sources, with_bounds},
        quality::{best, groups, text_name},
        serve,
    },
};

/// What was found, the most important first; then what was not measured.
pub(super) fn headlines(inputs: &Inputs) -> Vec<String> {
    let mut all = quality(inputs);
    all.extend(engine(inputs));
    all.extend(training(inputs));
    all.extend(energy(inputs));
    all.extend(serving(inputs));
    all.extend(learning(inputs));
    all.extend(gate(inputs));
    let missing: Vec<String> = missing(inputs)
        .iter()
        .map(|kind| kind.what.to_owned())
        .collect();
    if !missing.is_empty() {
        all.push(format!("Not measured: {}.", enumerate(&missing)));
    }
    all
}

/// The best score on each text, against what needs no model.
fn quality(inputs: &Inputs) -> Vec<String> {
    let mut all = Vec::new();
    for group in groups(inputs) {
        let Some(row) = best(&group) else {
            let text = group
                .first()
                .map_or(String::new(), |row| text_name(&row.item));
            all.push(format!(
                "{text}: no score covers the whole text, so none is named here."
            ));
            continue;
        };
        let cite = inputs.cite(row);
        let row = &row.item;
        let ci = row.bits_per_byte_ci95;
        all.push(format!(
            "{}: {} at {} with {} parameters needs **{} bits per byte**{}, {} ({cite}).",
            text_name(row),
            code(&row.model.name),
            row.precision,
            thousands(row.model.params),
            fixed(row.bits_per_byte, 4),
            ci.map_or(String::new(), |ci| format!(" (95 % {})", interval(ci, 3))),
            against_zstd(row),
        ));
    }
    all
}

fn against_zstd(row: &ValidationRow) -> String {
    let zstd = row.baselines.zstd_bits_per_byte;
    let percent = 100.0 * (row.bits_per_byte / zstd - 1.0);
    let direction = if percent < 0.0 { "less" } else { "more" };
    format!(
        "{} % {direction} than zstd -19 with {}",
        fixed(percent.abs(), 1),
        fixed(zstd, 3)
    )
}

/// The fastest way to write and to read on one thread.
fn engine(inputs: &Inputs) -> Vec<String> {
    let sentence = |workload: &str, what: &str| {
        let rows = engine::rows(inputs).into_iter();
        let (record, row) = rows
            .filter(|(_, row)| row.workload == workload && row.threads == 1)
            .max_by(|a, b| a.1.tokens_per_s.total_cmp(&b.1.tokens_per_s))?;
        Some(format!(
            "{what} runs at **{} tokens/s** on one thread at {} with the kernel {}, {} % of the roofline \
             ({}).",
            thousands(row.tokens_per_s.round() as u64),
            row.precision,
            row.kernel,
            fixed(100.0 * row.tokens_per_s / row.roofline_tokens_per_s, 0),
            inputs.cite(record)
        ))
    };
    [
        ("decode", "Writing token by token"),
        ("prefill-128", "Reading 128 tokens"),
    ]
    .into_iter()
    .filter_map(|(workload, what)| sentence(workload, what))
    .collect()
}

fn training(inputs: &Inputs) -> Option<String> {
    let speeds = inputs
        .training_bench
        .iter()
        .flat_map(|bench| bench.item.rows.iter().map(move |row| (bench, row)));
    let (bench, row) =
        speeds.max_by(|a, b| a.1.tokens_per_s_median.total_cmp(&b.1.tokens_per_s_median))?;
    Some(format!(
        "Training {} runs at **{} tokens/s** (median) on {} cores with {} replicas and batch {} ({}).",
        bench.item.preset,
        thousands(row.tokens_per_s_median.round() as u64),
        bench.item.cores,
        row.replicas,
        row.batch,
        inputs.cite(bench)
    ))
}

/// The rate at full load, and what requests wait for below it.
fn serving(inputs: &Inputs) -> Vec<String> {
    let sentence = |of: &Of<ServeBenchRecord>| {
        let loads = &of.item.measured.loads;
        let (full, half) = (serve::load(loads, "full")?, serve::load(loads, "half")?);
        Some(format!(
            "itera-serve answers **{} requests/s** of {} tokens with {}; at {} requests/s 99 of 100 of them \
             take at most {} ms ({}).",
            thousands(full.requests_per_s.round() as u64),
            short(full.tokens_per_request),
            serve::served_name(of),
            thousands(half.requests_per_s.round() as u64),
            fixed(half.p99_ms, 1),
            inputs.cite(of)
        ))
    };
    inputs.serve_bench.iter().filter_map(sentence).collect()
}

/// What is learnt from feedback, and what is forgotten.
fn learning(inputs: &Inputs) -> Vec<String> {
    let sentence = |of: &Of<SimulationRecord>| {
        let record = &of.item;
        let lost = record.largest_base_loss_percent;
        format!(
            "After {} records of feedback from {} the model predicts new text from there at least **{} % \
             better**, its own text at {} {} % {} ({}).",
            thousands(record.protocol.records),
            record.protocol.domain,
            fixed(record.least_improvement_percent, 1),
            if lost > 0.0 { "most" } else { "least" },
            fixed(lost.abs(), 2),
            if lost > 0.0 { "worse" } else { "better" },
            inputs.cite(of)
        )
    };
    inputs.simulation.iter().map(sentence).collect()
}

/// Whether the gate for regressions can be trusted.
pub(super) fn gate(inputs: &Inputs) -> Vec<String> {
    let sentence = |of: &Of<GateCheck>| {
        let check = &of.item;
        format!(
            "The gate of itera-power {}: it passed {} of {} runs of the same build and failed {} of {} runs of \
             a build slowed by {} %, at a limit of {} % ({}).",
            if check.holds() {
                "holds"
            } else {
                "**does not hold**"
            },
            check.same_build_passed,
            check.same_build_runs,
            check.slowed_build_failed,
            check.slowed_build_runs,
            check.slowed_by_percent,
            check.max_regression_percent,
            inputs.cite(of)
        )
    };
    inputs.gate_check.iter().map(sentence).collect()
}

/// The least energy per written token by each source.
fn energy(inputs: &Inputs) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for source in inputs.power.iter().flat_map(|record| sources(&record.item)) {
        if !names.contains(&source) {
            names.push(source);
        }
    }
    let sentence = |source: &str| {
        let (joules, record, row) = rows(inputs)
            .filter(|(_, row)| row.mode == PowerMode::Decode)
            .filter_map(|(record, row)| {
                let figure = row.energy.iter().find(|figure| figure.source == source)?;
                Some((figure.gross_joules_per_token?, record, row))
            })
            .min_by(|a, b| a.0.nominal.total_cmp(&b.0.nominal))?;
        let how = if is_platform(source) {
            "estimated for"
        } else {
            "measured by"
        };
        Some(format!(
            "Writing a token takes **{} µJ** {how} {}, with {} at {} tokens/s ({}).",
            with_bounds(joules, 1e6),
            source_name(source),
            code(&model_name(&row.model)),
            short(row.tokens_per_s.median),
            inputs.cite(record)
        ))
    };
    names.into_iter().filter_map(sentence).collect()
}
