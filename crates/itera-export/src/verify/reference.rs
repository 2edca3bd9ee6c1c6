//! What the native engine says about a text.

use std::collections::BTreeMap;

use anyhow::Context as _;
use itera_core::{
    checkpoint::Checkpoint,
    model::{self, Model, State as NativeState},
    models::LoadedCheckpoint,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{compare::nats, shapes, text::Text};
use crate::{file::OnnxFile, runtime::native};

/// A text as the native engine reads it, for one checkpoint at one precision.
pub(crate) struct Reference {
    loaded: LoadedCheckpoint,
    pub(crate) text: Text,
    /// The engine in floats with the very weights of the file.
    exact: Model,
    /// Its logits, `[tokens, vocab_size]`.
    pub(crate) exact_logits: Vec<f32>,
    /// Those of the fp32 checkpoint.
    pub(crate) fp32_logits: Vec<f32>,
    /// Bits per byte at the precision of the file, and in fp32.
    pub(crate) native_bits_per_byte: f64,
    pub(crate) fp32_bits_per_byte: f64,
    /// What [`shapes`] reads.
    pub(super) random: Vec<RandomTokens>,
}

/// A sequence of random tokens.
pub(super) struct RandomTokens {
    pub(super) tokens: Vec<u32>,
    /// The logits `[vocab_size]` after so many of them, in floats with the very weights of the file.
    pub(super) logits: BTreeMap<usize, Vec<f32>>,
}

impl RandomTokens {
    fn new(model: &Model, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let vocab_size = model.config().vocab_size as u32;
        let longest = shapes::LENGTHS.into_iter().max().unwrap_or_default();
        let tokens: Vec<u32> = (0..longest)
            .map(|_| random.random_range(0..vocab_size))
            .collect();
        let (mut read, mut logits) = (0, BTreeMap::new());
        native::read(model, &tokens, &mut model.new_state(), &mut |row| {
            read += 1;
            if shapes::LENGTHS.contains(&read) {
                logits.insert(read, row.to_vec());
            }
        });
        Self { tokens, logits }
    }
}

impl Reference {
    pub(crate) fn new(
        loaded: LoadedCheckpoint,
        fp32: &LoadedCheckpoint,
        text: Text,
    ) -> anyhow::Result<Self> {
        let model = |checkpoint: &Checkpoint| {
            Model::from_checkpoint(checkpoint)
                .with_context(|| format!("cannot run {}", loaded.name))
        };
        let (native, exact) = (
            model(&loaded.checkpoint)?,
            model(&loaded.checkpoint.to_fp32())?,
        );
        let fp32 = model(&fp32.checkpoint)?;
        let fp32_logits = logits(&fp32, &text);
        Ok(Self {
            exact_logits: logits(&exact, &text),
            native_bits_per_byte: bits_per_byte(&logits(&native, &text), &text),
            fp32_bits_per_byte: bits_per_byte(&fp32_logits, &text),
            fp32_logits,
            random: (0..shapes::BATCH as u64)
                .map(|seed| RandomTokens::new(&exact, seed))
                .collect(),
            exact,
            text,
            loaded,
        })
    }

    /// Whether this is the reference of a file.
    pub(crate) fn is_of(&self, file: &OnnxFile) -> bool {
        self.loaded.checkpoint.precision() == file.precision
            && self.loaded.file_sha256 == file.source_sha256
    }

    /// The checkpoint at the precision of the files.
    pub(crate) const fn checkpoint(&self) -> &LoadedCheckpoint {
        &self.loaded
    }

    /// A fresh state of the engine.
    pub(crate) fn new_state(&self) -> NativeState {
        self.exact.new_state()
    }

    /// Moves a state on.
    pub(crate) fn read(&self, tokens: &[u32], state: &mut NativeState) {
        native::read(&self.exact, tokens, state, &mut |_| ());
    }
}

/// Logits at every token of every document, each from a fresh state.
fn logits(model: &Model, text: &Text) -> Vec<f32> {
    let mut all = Vec::new();
    for document in &text.documents {
        let read = inputs(text.end_of_text, document);
        native::read(model, &read, &mut model.new_state(), &mut |logits| {
            all.extend_from_slice(logits);
        });
    }
    all
}

/// What is read to predict each token of a document: end-of-text, and all tokens but the last.
pub(crate) fn inputs(end_of_text: u32, document: &[u32]) -> Vec<u32> {
    let read = document.len().saturating_sub(1);
    if document.is_empty() {
        return Vec::new();
    }
    [&[end_of_text], &document[..read]].concat()
}

fn bits_per_byte(logits: &[f32], text: &Text) -> f64 {
    let targets: Vec<u32> = text.documents.concat();
    let width = logits.len() / targets.len().max(1);
    let rows = logits.chunks_exact(width.max(1)).zip(&targets);
    let nats: f64 = rows.map(|(row, &target)| nats(row, target)).sum();
    model::bits_per_byte(nats, text.bytes as f64)
}
