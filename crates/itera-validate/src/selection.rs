//! The tokens of the documents that the options select.

use anyhow::{Context as _, bail};
use itera_core::tokenizer::Tokenizer;
use itera_data::{Corpus, Counts, Layout};
use itera_record::ScoringProtocol;

use crate::options::Shard;

/// The documents to score, and those that all shards together score.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// To score: all of `everything`, or one shard of it.
    pub(crate) documents: Vec<Document<'a>>,
    /// The other shards' documents, for the baselines; in the order of the text.
    pub(crate) elsewhere: Vec<Document<'a>>,
    /// Bytes of all documents of the text, selected or not.
    pub(crate) dataset_bytes: u64,
}

/// A document, or the beginning of one where the number of tokens is limited.
#[derive(Clone, Debug)]
pub(crate) struct Document<'a> {
    /// Position in the text.
    pub(crate) index: usize,
    /// The bytes that `tokens` stand for.
    pub(crate) text: &'a [u8],
    pub(crate) tokens: Vec<u32>,
    pub(crate) counts: Counts,
}

impl<'a> Selection<'a> {
    /// Tokenises the documents of `corpus` and applies the limits, then the shard.
    pub(crate) fn new(
        corpus: &'a Corpus,
        layout: Layout,
        tokenizer: &Tokenizer,
        protocol: &ScoringProtocol,
        shard: Option<Shard>,
    ) -> anyhow::Result<Self> {
        let limit = protocol
            .limit_documents
            .map_or(usize::MAX, |limit| limit as usize);
        let mut tokens_left = protocol
            .max_tokens
            .map_or(usize::MAX, |limit| limit as usize);
        let (mut documents, mut elsewhere) = (Vec::new(), Vec::new());
        for (index, text) in corpus.texts().enumerate().take(limit) {
            if tokens_left == 0 {
                break;
            }
            let mut tokens = tokenizer.encode(text).with_context(|| {
                format!("cannot read document {} of {}", index + 1, corpus.name)
            })?;
            let text = if tokens.len() > tokens_left {
                tokens.truncate(tokens_left);
                beginning(text, &tokens, tokenizer)
            } else {
                text
            };
            tokens_left -= tokens.len();
            let document = Document {
                index,
                text,
                tokens,
                counts: Counts::of(layout, text),
            };
            let here = shard.is_none_or(|shard| shard.contains(index));
            if here { &mut documents } else { &mut elsewhere }.push(document);
        }
        if let (true, Some(shard)) = (documents.is_empty(), shard) {
            bail!(
                "shard {} of {} has no document, {} are selected; use fewer shards",
                shard.0,
                corpus.name,
                elsewhere.len()
            );
        }
        Ok(Self {
            documents,
            elsewhere,
            dataset_bytes: corpus.counts.bytes,
        })
    }

    /// The documents of all shards, in the order of the text.
    pub(crate) fn everything(&self) -> Vec<&Document<'a>> {
        let mut all: Vec<_> = self.documents.iter().chain(&self.elsewhere).collect();
        all.sort_by_key(|document| document.index);
        all
    }
}

/// The bytes of `text` that its first tokens stand for. The unknown token of a character tokenizer
/// stands for one character of any length; all other tokens know their bytes.
fn beginning<'a>(text: &'a [u8], tokens: &[u32], tokenizer: &Tokenizer) -> &'a [u8] {
    let len = if tokenizer.is_lossless() {
        tokens
            .iter()
            .map(|&token| tokenizer.token_bytes(token).len())
            .sum()
    } else {
        let chars = str::from_utf8(text).unwrap_or_default().chars();
        chars.take(tokens.len()).map(char::len_utf8).sum()
    };
    &text[..len]
}

/// How many of `tokens` stand for a character outside the vocabulary.
pub(crate) fn unknown_tokens(tokenizer: &Tokenizer, tokens: &[u32]) -> u64 {
    match tokenizer {
        Tokenizer::Char(characters) => {
            let unknown = characters.unknown();
            tokens.iter().filter(|&&token| token == unknown).count() as u64
        }
        Tokenizer::Bytes(_) | Tokenizer::Bpe(_) => 0,
    }
}
