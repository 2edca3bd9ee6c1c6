//! What no model at all reaches on the same text.

use std::io::{self, Write};

use anyhow::Context as _;
use itera_core::tokenizer::Tokenizer;
use itera_data::baselines::{uniform_bits_per_byte, unigram_bits_per_byte};
use itera_record::Baselines;
use zstd::stream::write::Encoder;

use crate::selection::Selection;

/// The level that is customary for archives.
const ZSTD_LEVEL: i32 = 19;

/// The baselines of all documents selected, also those of other shards; whether the model is worse
/// than uniform is decided with its score.
pub(crate) fn of(selection: &Selection, tokenizer: &Tokenizer) -> anyhow::Result<Baselines> {
    let documents = selection.everything();
    let texts = || documents.iter().map(|(document, _)| document.text);
    let bytes = texts().map(|text| text.len() as u64).sum();
    let tokens = || documents.iter().flat_map(|(_, tokens)| *tokens);
    let compressed = compressed(bytes, texts()).context("cannot compress the text with zstd")?;
    Ok(Baselines {
        uniform_bits_per_byte: uniform_bits_per_byte(
            tokens().count() as u64,
            tokenizer.vocab_size(),
            bytes,
        ),
        unigram_bits_per_byte: unigram_bits_per_byte(tokens(), bytes),
        zstd_bits_per_byte: 8.0 * compressed as f64 / bytes as f64,
        worse_than_uniform: false,
    })
}

/// Bytes of the texts, `bytes` together, as one compressed file.
fn compressed<'a>(bytes: u64, texts: impl Iterator<Item = &'a [u8]>) -> io::Result<u64> {
    let mut encoder = Encoder::new(Count(0), ZSTD_LEVEL)?;
    // The level's settings depend on the size.
    encoder.set_pledged_src_size(Some(bytes))?;
    for text in texts {
        encoder.write_all(text)?;
    }
    Ok(encoder.finish()?.0)
}

/// Counts what is written and keeps nothing.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_pieces_is_as_small_as_in_one() {
        let text: Vec<u8> = (0..300_000_u64)
            .flat_map(|i| format!("{} ", i * i % 1013).into_bytes())
            .collect();
        let pieces = text.chunks(777);
        let whole = zstd::bulk::compress(&text, ZSTD_LEVEL).unwrap().len() as u64;
        assert_eq!(compressed(text.len() as u64, pieces).unwrap(), whole);
    }
}
