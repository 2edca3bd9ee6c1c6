//! What no model at all reaches on the same text.

use anyhow::Context as _;
use itera_core::tokenizer::Tokenizer;
use itera_data::baselines::{uniform_bits_per_byte, unigram_bits_per_byte};
use itera_record::Baselines;

use crate::selection::Selection;

/// The level that is customary for archives.
const ZSTD_LEVEL: i32 = 19;

/// The baselines of all documents selected, also those of other shards; whether the model is worse
/// than uniform is decided with its score.
pub(crate) fn of(selection: &Selection, tokenizer: &Tokenizer) -> anyhow::Result<Baselines> {
    let documents = selection.everything();
    let bytes: u64 = documents.iter().map(|document| document.counts.bytes).sum();
    let tokens: u64 = documents
        .iter()
        .map(|document| document.tokens.len() as u64)
        .sum();
    let text: Vec<u8> = documents
        .iter()
        .flat_map(|document| document.text)
        .copied()
        .collect();
    let compressed =
        zstd::bulk::compress(&text, ZSTD_LEVEL).context("cannot compress the text with zstd")?;
    let all_tokens = documents.iter().flat_map(|document| &document.tokens);
    Ok(Baselines {
        uniform_bits_per_byte: uniform_bits_per_byte(tokens, tokenizer.vocab_size(), bytes),
        unigram_bits_per_byte: unigram_bits_per_byte(all_tokens, bytes),
        zstd_bits_per_byte: 8.0 * compressed.len() as f64 / bytes as f64,
        worse_than_uniform: false,
    })
}
