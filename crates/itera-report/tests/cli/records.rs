//! Fixtures changed through the types that real results are made from.

use std::{fs, path::Path};

use itera_record::{Interval, PowerRecord, Record as _, Summary, ValidationRecord};

use crate::fixture::FIXTURES;

/// The scores of the fixtures, the first of them shifted by so many bits per byte.
pub(crate) fn validation(shift: f64) -> ValidationRecord {
    let json = fs::read(Path::new(FIXTURES).join("results/validation.json")).unwrap();
    let mut record = ValidationRecord::from_json(&json).unwrap();
    let row = &mut record.rows[0];
    let nats = shift * row.bytes as f64 * std::f64::consts::LN_2;
    row.per_document.document_nll_nats[0] += nats;
    row.nll_nats = row.per_document.document_nll_nats.iter().sum();
    let per = |count: u64| row.nll_nats / count as f64;
    row.bits_per_byte = per(row.bytes) / std::f64::consts::LN_2;
    row.byte_perplexity = per(row.bytes).exp();
    row.char_perplexity = per(row.chars).exp();
    row.word_perplexity = Some(per(row.words).exp());
    row.token_perplexity = per(row.tokens).exp();
    record
}

/// The power results of the fixtures, of a build so many times slower: time and energy grow alike.
pub(crate) fn power(slower: f64) -> PowerRecord {
    let json = fs::read(Path::new(FIXTURES).join("results/power.json")).unwrap();
    let mut record = PowerRecord::from_json(&json).unwrap();
    let scale = |values: &mut Vec<f64>| values.iter_mut().for_each(|value| *value *= slower);
    let larger =
        |interval: Option<Interval>, factor: f64| interval.map(|i| i.map(|value| value * factor));
    for row in &mut record.rows {
        scale(&mut row.samples.wall_seconds);
        scale(&mut row.samples.cpu_seconds);
        row.samples
            .counters
            .iter_mut()
            .for_each(|counter| scale(&mut counter.joules));
        let passes = row.passes_per_sample as f64;
        let tokens = row.tokens_per_sample as f64;
        let summary = |values: &[f64], f: &dyn Fn(f64) -> f64| {
            Summary::of(&values.iter().map(|value| f(*value)).collect::<Vec<_>>()).unwrap()
        };
        let threads = record.protocol.threads as f64;
        row.latency_seconds = summary(&row.samples.wall_seconds, &|s| s / passes);
        row.tokens_per_s = summary(&row.samples.wall_seconds, &|s| tokens / s);
        row.cpu_seconds = summary(&row.samples.cpu_seconds, &|s| s / passes / threads);
        for figure in &mut row.energy {
            figure.tokens_per_s = figure.tokens_per_s.map(|speed| speed / slower);
            figure.gross_joules_per_token = larger(figure.gross_joules_per_token, slower);
            figure.net_joules_per_token = larger(figure.net_joules_per_token, slower);
            figure.co2e_g_per_million_tokens = larger(figure.co2e_g_per_million_tokens, slower);
            figure.tokens_per_joule = larger(figure.tokens_per_joule, 1.0 / slower);
        }
    }
    record
}
