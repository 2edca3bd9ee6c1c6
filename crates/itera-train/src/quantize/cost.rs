//! What quantisation costs in bits per byte, each document scored from a fresh state.

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use crate::{evaluate::Documents, texts::Texts};
use anyhow::{Context as _, ensure};
use itera_cli::Progress;
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    model::Model,
    models::LoadedCheckpoint,
    tokenizer::Tokenizer,
};
use itera_record::QuantizationCost;

/// The cost of the whole, and of each tensor of integers alone.
pub(super) struct Cost {
    pub(super) whole: QuantizationCost,
    /// Bits per byte that a tensor adds if it alone is quantised.
    pub(super) alone: BTreeMap<String, f64>,
}

/// Scores documents to evaluate on. The whole is compared with `of`; a tensor alone replaces the one of
/// `source`, whose weights were rounded.
pub(super) fn measure(
    texts: &Texts,
    text: &Text,
    [of, source]: [&LoadedCheckpoint; 2],
    quantised: &Checkpoint,
) -> anyhow::Result<Cost> {
    let before = text.bits_per_byte(&of.checkpoint)?;
    let after = text.bits_per_byte(quantised)?;
    let alone = text.alone(&source.checkpoint, quantised)?;
    let valid = texts.sources().into_iter().next_back();
    Ok(Cost {
        whole: QuantizationCost {
            text: texts.valid_label(),
            sha256: valid.context("a text has a source")?.sha256,
            documents: text.documents.bytes.len() as u64,
            bytes: text.documents.bytes.iter().sum::<usize>() as u64,
            bits_per_byte_before: before,
            bits_per_byte_after: after,
        },
        alone,
    })
}

/// Tokenised documents.
pub(crate) struct Text {
    documents: Documents,
    end_of_text: u32,
}

impl Text {
    /// The first documents, up to `limit` tokens but one at least.
    pub(crate) fn read<'a>(
        documents: impl Iterator<Item = &'a [u8]>,
        tokenizer: &Tokenizer,
        limit: usize,
        label: &str,
    ) -> anyhow::Result<Self> {
        let mut text = Documents::default();
        for document in documents {
            if text.tokens.tokens() >= limit && !text.tokens.is_empty() {
                break;
            }
            text.tokens
                .push_with(|ids| tokenizer.encode_into(document, ids))
                .with_context(|| format!("cannot tokenise {label}"))?;
            text.bytes.push(document.len());
        }
        ensure!(
            text.tokens.tokens() > 0,
            "{label} has no text to measure on; give another `--dataset`"
        );
        Ok(Self {
            documents: text,
            end_of_text: tokenizer.end_of_text(),
        })
    }

    /// The first documents to evaluate on, up to `limit` tokens but one at least.
    pub(crate) fn held_out(
        texts: &Texts,
        source: &LoadedCheckpoint,
        limit: usize,
    ) -> anyhow::Result<Self> {
        let mut documents = texts.valid_documents().peekable();
        ensure!(
            documents.peek().is_some(),
            "{} has fewer than 10 documents, so that none is held out to measure on; give another \
             `--dataset`",
            texts.name()
        );
        let tokenizer = &source.checkpoint.tokenizer;
        Self::read(documents, tokenizer, limit, &texts.valid_label())
    }

    /// Bits per byte that each tensor of integers adds if it alone replaces the one of
    /// `source`.
    pub(super) fn alone(
        &self,
        source: &Checkpoint,
        quantised: &Checkpoint,
    ) -> anyhow::Result<BTreeMap<String, f64>> {
        let is_integer =
            |precision: Precision| matches!(precision, Precision::Int8 | Precision::Int4);
        let tensors: Vec<_> = quantised
            .tensors
            .iter()
            .filter(|(_, tensor)| is_integer(tensor.precision()))
            .collect();
        let progress = Progress::new(tensors.len() as u64, "tensors");
        let plain = self.bits_per_byte(source)?;
        let mut alone = BTreeMap::new();
        for (name, tensor) in tensors {
            let mut one = source.clone();
            one.tensors.insert(name.clone(), tensor.clone());
            alone.insert(name.clone(), self.bits_per_byte(&one)? - plain);
            progress.advance(1);
        }
        Ok(alone)
    }

    /// With the native engine, as in use: integer products read inputs of 8 bits.
    pub(crate) fn bits_per_byte(&self, checkpoint: &Checkpoint) -> anyhow::Result<f64> {
        let model = Model::from_checkpoint(checkpoint)?;
        let (count, never) = (self.documents.bytes.len(), AtomicBool::new(false));
        let bits = self
            .documents
            .bits_per_byte(&model, self.end_of_text, count, &never);
        let bits = bits.context("the text has bytes")?;
        ensure!(
            bits.is_finite(),
            "the likelihood of the text is {bits}: the weights are finite but too large to compute \
             with; use another checkpoint"
        );
        Ok(bits)
    }
}
