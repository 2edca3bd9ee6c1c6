//! The tokens of the documents that the options select.

use anyhow::{Context as _, bail};
use itera_core::tokenizer::Tokenizer;
use itera_data::{Corpus, Counts, TokenSet};
use itera_record::ScoringProtocol;

use crate::options::Shard;

/// The documents to score, and those that all shards together score.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// To score: all of `everything`, or one shard of it.
    pub(crate) documents: Documents<'a>,
    /// The other shards' documents, for the baselines.
    elsewhere: Documents<'a>,
    /// Bytes of all documents of the text, selected or not.
    pub(crate) dataset_bytes: u64,
}

/// Documents in the order of the text.
#[derive(Debug, Default)]
pub(crate) struct Documents<'a> {
    pub(crate) list: Vec<Document<'a>>,
    /// The tokens of each.
    pub(crate) tokens: TokenSet,
}

/// A document, or the beginning of one where the number of tokens is limited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    /// Position in the text.
    pub(crate) index: usize,
    /// The bytes that its tokens stand for.
    pub(crate) text: &'a [u8],
    pub(crate) counts: Counts,
}

impl<'a> Documents<'a> {
    /// Each document with its tokens.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Document<'a>, &[u16])> {
        self.list.iter().zip(self.tokens.iter())
    }
}

impl<'a> Selection<'a> {
    /// Tokenises the documents of `corpus` and applies the limits, then the shard.
    pub(crate) fn new(
        corpus: &'a Corpus,
        tokenizer: &Tokenizer,
        protocol: &ScoringProtocol,
        shard: Option<Shard>,
    ) -> anyhow::Result<Self> {
        let limit = |limit: Option<u64>| limit.map_or(usize::MAX, |limit| limit as usize);
        let mut tokens_left = limit(protocol.max_tokens);
        let (mut here, mut elsewhere) = (Documents::default(), Documents::default());
        let documents = corpus.documents().take(limit(protocol.limit_documents));
        for (index, (layout, text)) in documents.enumerate() {
            if tokens_left == 0 {
                break;
            }
            let is_here = shard.is_none_or(|shard| shard.contains(index));
            let documents = if is_here { &mut here } else { &mut elsewhere };
            let before = documents.tokens.tokens();
            let mut is_cut = false;
            let encode = |ids: &mut Vec<u16>| {
                tokenizer.encode_into(text, ids)?;
                is_cut = ids.len() - before > tokens_left;
                ids.truncate(before.saturating_add(tokens_left));
                anyhow::Ok(())
            };
            documents.tokens.push_with(encode).with_context(|| {
                format!("cannot read document {} of {}", index + 1, corpus.name)
            })?;
            let tokens = documents.tokens.document(documents.list.len());
            tokens_left -= tokens.len();
            let text = if is_cut {
                beginning(text, tokens, tokenizer)
            } else {
                text
            };
            documents.list.push(Document {
                index,
                text,
                counts: Counts::of(layout, text),
            });
        }
        if let (true, Some(shard)) = (here.list.is_empty(), shard) {
            bail!(
                "shard {} of {} has no document, {} are selected; use fewer shards",
                shard.0,
                corpus.name,
                elsewhere.list.len()
            );
        }
        Ok(Self {
            documents: here,
            elsewhere,
            dataset_bytes: corpus.text_bytes(),
        })
    }

    /// The documents of all shards, in the order of the text.
    pub(crate) fn everything(&self) -> Vec<(&Document<'a>, &[u16])> {
        let mut all: Vec<_> = self.documents.iter().chain(self.elsewhere.iter()).collect();
        all.sort_by_key(|(document, _)| document.index);
        all
    }
}

/// Tokens as models read them.
pub(crate) fn widen(tokens: &[u16]) -> impl ExactSizeIterator<Item = u32> {
    tokens.iter().map(|&id| u32::from(id))
}

/// The bytes of `text` that its first tokens stand for. The unknown token of a character tokenizer
/// stands for one character of any length; all other tokens know their bytes.
fn beginning<'a>(text: &'a [u8], tokens: &[u16], tokenizer: &Tokenizer) -> &'a [u8] {
    let len = if tokenizer.is_lossless() {
        widen(tokens)
            .map(|token| tokenizer.token_bytes(token).len())
            .sum()
    } else {
        let chars = str::from_utf8(text).unwrap_or_default().chars();
        chars.take(tokens.len()).map(char::len_utf8).sum()
    };
    &text[..len]
}

/// How many of `tokens` stand for a character outside the vocabulary.
pub(crate) fn unknown_tokens(tokenizer: &Tokenizer, tokens: &[u16]) -> u64 {
    match tokenizer {
        Tokenizer::Char(characters) => {
            let unknown = characters.unknown();
            widen(tokens).filter(|&token| token == unknown).count() as u64
        }
        Tokenizer::Bytes(_) | Tokenizer::Bpe(_) => 0,
    }
}
