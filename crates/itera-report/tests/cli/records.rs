//! Fixtures changed through the types that real results are made from.

use std::{fs, path::Path};

use itera_record::{Record as _, ValidationRecord};

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
