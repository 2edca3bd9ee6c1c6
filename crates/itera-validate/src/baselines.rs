//! What no model at all reaches on the same text.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use itera_cli::note;
use itera_core::{files::write_atomic, tokenizer::Tokenizer};
use itera_data::{
    Corpus, DataError, Dataset, Places, Split,
    baselines::{uniform_bits_per_byte, unigram_bits_per_byte},
    sha256_hex,
};
use itera_record::{Baselines, PrimingText};
use ppmd_rust::Ppmd7Encoder;
use zstd::stream::write::Encoder;

use crate::{jobs::Job, options::Options, selection::Selection};

/// The level that is customary for archives.
const ZSTD_LEVEL: i32 = 19;

/// `PPMd` variant H as 7-Zip has it: contexts of up to 8 bytes, and memory that no text here fills.
const PPMD_ORDER: u32 = 8;
const PPMD_MEMORY: u32 = 256 << 20;

/// Bytes of a training text that a compressor reads at most, so that a run with the official one
/// (1.9 GB) stays short.
const PRIMING_BYTES: u64 = 16 << 20;

/// A result is kept on the disk for texts above this size; below, it is had at once.
const LEAST_KEPT: u64 = 1 << 20;

/// The compressors, with what they have made of texts so far: a text is compressed once, however many
/// checkpoints read it, and one of some size once for all runs.
pub(crate) struct Compressors {
    is_on: bool,
    places: Places,
    /// By the digest of a text that is read whole.
    known: HashMap<String, Compressed>,
}

/// Bits per byte by each compressor; none where they are off.
#[derive(Clone, Default)]
struct Compressed {
    zstd: Option<f64>,
    ppmd: Option<f64>,
    primed: Option<(f64, PrimingText)>,
}

impl Compressors {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            is_on: options.baselines,
            places: Places::of_environment(),
            known: HashMap::new(),
        }
    }

    /// The baselines of all documents selected, also those of other shards; whether the model is
    /// worse than uniform is decided with its score.
    pub(crate) fn baselines(
        &mut self,
        job: &Job,
        tokenizer: &Tokenizer,
    ) -> anyhow::Result<Baselines> {
        let documents = job.selection.everything();
        let bytes = documents
            .iter()
            .map(|(document, _)| document.text.len() as u64)
            .sum();
        let tokens = || documents.iter().flat_map(|(_, tokens)| *tokens);
        let compressed = self.compressed(job, bytes)?;
        let (primed, primed_with) = compressed.primed.unzip();
        Ok(Baselines {
            uniform_bits_per_byte: uniform_bits_per_byte(
                tokens().count() as u64,
                tokenizer.vocab_size(),
                bytes,
            ),
            unigram_bits_per_byte: unigram_bits_per_byte(tokens(), bytes),
            zstd_bits_per_byte: compressed.zstd,
            ppmd_bits_per_byte: compressed.ppmd,
            ppmd_primed_bits_per_byte: primed,
            primed_with,
            worse_than_uniform: false,
        })
    }

    fn compressed(&mut self, job: &Job, bytes: u64) -> anyhow::Result<Compressed> {
        if !self.is_on {
            return Ok(Compressed::default());
        }
        let corpus = &job.text.corpus;
        let is_whole = bytes == job.selection.dataset_bytes;
        if let Some(known) = self.known.get(&corpus.sha256).filter(|_| is_whole) {
            return Ok(known.clone());
        }
        let texts = texts(&job.selection);
        let digest = is_whole.then_some(corpus.sha256.as_str());
        let per_byte = |compressed: u64| 8.0 * compressed as f64 / bytes as f64;
        let zstd = kept("zstd-19", [digest, Some("")], bytes, || zstd(bytes, &texts))
            .context("cannot compress the text with zstd")?;
        let ppmd_context = "cannot compress the text with PPMd";
        let alone = kept("ppmd-h-8", [digest, Some("")], bytes, || ppmd(&[], &texts))
            .context(ppmd_context)?;
        let primed = match self.training_text(corpus)? {
            None => None,
            Some(training) => {
                let read: Vec<&[u8]> = training.texts().collect();
                let keys = [digest, Some(training.sha256.as_str())];
                let size = bytes + training.text_bytes();
                let primed = kept("ppmd-h-8", keys, size, || ppmd(&read, &texts));
                Some((per_byte(primed.context(ppmd_context)?), priming(&training)))
            }
        };
        let compressed = Compressed {
            zstd: Some(per_byte(zstd)),
            ppmd: Some(per_byte(alone)),
            primed,
        };
        if is_whole {
            self.known.insert(corpus.sha256.clone(), compressed.clone());
        }
        Ok(compressed)
    }

    /// The text that models of this kind of text are trained on, if it is there and another.
    fn training_text(&self, corpus: &Corpus) -> Result<Option<Corpus>, DataError> {
        let dataset = corpus.name.parse::<Dataset>()?;
        let is_itself = corpus.split == Some(Split::Train);
        let Some(dataset) = dataset.training_text().filter(|_| !is_itself) else {
            return Ok(None);
        };
        match Corpus::beginning(&dataset, Split::Train, &self.places, PRIMING_BYTES) {
            Err(DataError::Missing { .. }) => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}

fn texts<'a>(selection: &Selection<'a>) -> Vec<&'a [u8]> {
    let documents = selection.everything();
    documents
        .iter()
        .map(|(document, _)| document.text)
        .collect()
}

fn priming(training: &Corpus) -> PrimingText {
    PrimingText {
        dataset: training.name.clone(),
        split: training
            .split
            .map_or("all", |split| split.name())
            .to_owned(),
        sha256: training.sha256.clone(),
        bytes: training.text_bytes(),
    }
}

/// The bytes that `compress` makes of a text of `size` bytes with these digests, from the disk if they
/// are known there. Without a digest nothing is kept, and a disk that cannot be used is no error.
fn kept(
    method: &str,
    digests: [Option<&str>; 2],
    size: u64,
    compress: impl FnOnce() -> io::Result<u64>,
) -> io::Result<u64> {
    let file = match digests {
        [Some(text), Some(read)] if size > LEAST_KEPT => {
            let key = sha256_hex(format!("{method}\n{text}\n{read}\n").as_bytes());
            cache().map(|cache| cache.join(key))
        }
        _ => None,
    };
    let known = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
    if let Some(bytes) = known.and_then(|known| known.trim().parse().ok()) {
        return Ok(bytes);
    }
    if size > LEAST_KEPT {
        note(format!(
            "compressing {:.1} MB with {method}",
            size as f64 / 1e6
        ));
    }
    let bytes = compress()?;
    if let Some(file) = file {
        let _ = write_atomic(&file, format!("{bytes}\n").as_bytes());
    }
    Ok(bytes)
}

/// The folder of what is kept between runs; none where the system names no such place.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| {
        env::var_os(name)
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from)
    };
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("itera-lite/baselines"))
}

/// Bytes of the texts, `bytes` together, as one file by zstd.
fn zstd(bytes: u64, texts: &[&[u8]]) -> io::Result<u64> {
    let mut encoder = Encoder::new(Count(0), ZSTD_LEVEL)?;
    // The level's settings depend on the size.
    encoder.set_pledged_src_size(Some(bytes))?;
    texts.iter().try_for_each(|text| encoder.write_all(text))?;
    Ok(encoder.finish()?.0)
}

/// Bytes of the texts as one file by `PPMd`, beyond those of what it has `read` before.
fn ppmd(read: &[&[u8]], texts: &[&[u8]]) -> io::Result<u64> {
    let encoder = Ppmd7Encoder::new(Count(0), PPMD_ORDER, PPMD_MEMORY);
    let mut encoder = encoder.map_err(io::Error::other)?;
    read.iter().try_for_each(|text| encoder.write_all(text))?;
    let before = encoder.get_ref().0;
    texts.iter().try_for_each(|text| encoder.write_all(text))?;
    Ok(encoder.finish(false)?.0 - before)
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

    fn text() -> Vec<u8> {
        (0..300_000_u64)
            .flat_map(|i| format!("{} ", i * i % 1013).into_bytes())
            .collect()
    }

    #[test]
    fn a_text_in_pieces_is_as_small_as_in_one() {
        let text = text();
        let pieces: Vec<&[u8]> = text.chunks(777).collect();
        let whole = ::zstd::bulk::compress(&text, ZSTD_LEVEL).unwrap().len() as u64;
        assert_eq!(zstd(text.len() as u64, &pieces).unwrap(), whole);
    }

    #[test]
    fn what_was_read_before_helps_and_does_not_count() {
        let text = text();
        let (read, rest) = text[..40_000].split_at(30_000);
        let alone = ppmd(&[], &[rest]).unwrap();
        let primed = ppmd(&[read], &[rest]).unwrap();
        let together = ppmd(&[], &[read, rest]).unwrap();
        assert!(2 * primed < alone, "{primed} {alone}");
        // The coder holds back a few bytes.
        let difference = together - ppmd(&[], &[read]).unwrap();
        assert!(primed.abs_diff(difference) <= 8, "{primed} {difference}");
    }
}
