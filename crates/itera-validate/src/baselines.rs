//! What no model at all reaches on the same text.

use std::{
    env, fs,
    io::{self, Write},
    iter,
    path::PathBuf,
};

use anyhow::Context as _;
use itera_cli::note;
use itera_core::files::write_atomic;
use itera_data::{
    Corpus, DataError, Dataset, Places, Split,
    baselines::{uniform_bits_per_byte, unigram_bits_per_byte},
    records::{RecordError, Source},
    sha256_hex,
};
use itera_record::{Baselines, PrimingText};
use ppmd_rust::Ppmd7Encoder;
use rayon::prelude::*;
use zstd::stream::write::Encoder;

use crate::jobs::Job;

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

/// A text that is being read.
type Text = Result<Vec<u8>, RecordError>;

/// Bits per byte by each compressor; none where they are off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compressed {
    zstd: Option<f64>,
    ppmd: Option<f64>,
    primed: Option<(f64, PrimingText)>,
}

impl Compressed {
    /// What compressors make of the documents of each job, also those of other shards: all at the same time, and of
    /// a text that is read whole once, however many checkpoints read it.
    pub(crate) fn of(jobs: &[Job]) -> anyhow::Result<Vec<Self>> {
        let is_same = |job: &Job, other: &Job| {
            std::ptr::eq(job.text, other.text)
                && job.selection.is_whole()
                && other.selection.is_whole()
        };
        let first = |(at, job)| {
            jobs.iter()
                .position(|other| is_same(job, other))
                .unwrap_or(at)
        };
        let firsts: Vec<usize> = jobs.iter().enumerate().map(first).collect();
        let compress = |(at, job): (usize, &Job)| {
            if firsts[at] == at {
                Self::of_job(job)
            } else {
                Ok(Self::default())
            }
        };
        let compressed: Vec<Self> = jobs
            .par_iter()
            .enumerate()
            .map(compress)
            .collect::<anyhow::Result<_>>()?;
        Ok(firsts
            .iter()
            .map(|&first| compressed[first].clone())
            .collect())
    }

    fn of_job(job: &Job) -> anyhow::Result<Self> {
        let (selection, source) = (&job.selection, &job.text.source);
        let size = selection.bytes;
        let digest = selection.is_whole().then_some(source.sha256.as_str());
        let per_byte = |compressed: u64| 8.0 * compressed as f64 / size as f64;
        let training = training_text(source)?;
        let alone = || {
            kept("ppmd-h-8", [digest, Some("")], size, || {
                ppmd(iter::empty(), selection.texts()?)
            })
        };
        let primed = || {
            let Some(training) = &training else {
                return Ok(None);
            };
            let keys = [digest, Some(training.sha256.as_str())];
            let both = size + training.text_bytes();
            let bytes = kept("ppmd-h-8", keys, both, || {
                ppmd(training.texts(), selection.texts()?)
            })?;
            anyhow::Ok(Some((per_byte(bytes), priming(training))))
        };
        let (zstd, (alone, primed)) = rayon::join(
            || {
                kept("zstd-19", [digest, Some("")], size, || {
                    zstd(size, selection.texts()?)
                })
            },
            || rayon::join(alone, primed),
        );
        let cannot = "cannot compress the text with PPMd";
        Ok(Self {
            zstd: Some(per_byte(
                zstd.context("cannot compress the text with zstd")?,
            )),
            ppmd: Some(per_byte(alone.context(cannot)?)),
            primed: primed.context(cannot)?,
        })
    }

    /// All baselines of documents of so many bytes in which each token is so frequent; whether the model is worse
    /// than uniform is decided with its score.
    pub(crate) fn baselines(self, frequencies: &[u64], bytes: u64) -> Baselines {
        let (primed, primed_with) = self.primed.unzip();
        Baselines {
            uniform_bits_per_byte: uniform_bits_per_byte(
                frequencies.iter().sum(),
                frequencies.len(),
                bytes,
            ),
            unigram_bits_per_byte: unigram_bits_per_byte(frequencies, bytes),
            zstd_bits_per_byte: self.zstd,
            ppmd_bits_per_byte: self.ppmd,
            ppmd_primed_bits_per_byte: primed,
            primed_with,
            worse_than_uniform: false,
        }
    }
}

/// The text that models of this kind of text are trained on, if it is there and another.
fn training_text(source: &Source) -> Result<Option<Corpus>, DataError> {
    let dataset = source.name.parse::<Dataset>()?;
    let is_itself = source.split == Some(Split::Train);
    let Some(dataset) = dataset.training_text().filter(|_| !is_itself) else {
        return Ok(None);
    };
    let places = Places::of_environment();
    match Corpus::beginning(&dataset, Split::Train, &places, PRIMING_BYTES) {
        Err(DataError::Missing { .. }) => Ok(None),
        outcome => outcome.map(Some),
    }
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
    compress: impl FnOnce() -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
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
fn zstd(bytes: u64, texts: impl Iterator<Item = Text>) -> anyhow::Result<u64> {
    let mut encoder = Encoder::new(Count(0), ZSTD_LEVEL)?;
    // The level's settings depend on the size.
    encoder.set_pledged_src_size(Some(bytes))?;
    for text in texts {
        encoder.write_all(&text?)?;
    }
    Ok(encoder.finish()?.0)
}

/// Bytes of the texts as one file by `PPMd`, beyond those of what it has `read` before.
fn ppmd<'t>(
    read: impl Iterator<Item = &'t [u8]>,
    texts: impl Iterator<Item = Text>,
) -> anyhow::Result<u64> {
    let mut encoder = Ppmd7Encoder::new(Count(0), PPMD_ORDER, PPMD_MEMORY)?;
    for text in read {
        encoder.write_all(text)?;
    }
    let before = encoder.get_ref().0;
    for text in texts {
        encoder.write_all(&text?)?;
    }
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
        let pieces = text.chunks(777).map(|piece| Ok(piece.to_vec()));
        let whole = ::zstd::bulk::compress(&text, ZSTD_LEVEL).unwrap().len() as u64;
        assert_eq!(zstd(text.len() as u64, pieces).unwrap(), whole);
    }

    #[test]
    fn what_was_read_before_helps_and_does_not_count() {
        let text = text();
        let (read, rest) = text[..40_000].split_at(30_000);
        let size = |read: &[&[u8]], texts: &[&[u8]]| {
            let texts = texts.iter().map(|text| Ok(text.to_vec()));
            ppmd(read.iter().copied(), texts).unwrap()
        };
        let alone = size(&[], &[rest]);
        let primed = size(&[read], &[rest]);
        let together = size(&[], &[read, rest]);
        assert!(2 * primed < alone, "{primed} {alone}");
        // The coder holds back a few bytes.
        let difference = together - size(&[], &[read]);
        assert!(primed.abs_diff(difference) <= 8, "{primed} {difference}");
    }
}
