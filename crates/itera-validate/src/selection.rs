//! The documents that the options select, read anew for each pass over them.

mod pass;

use anyhow::{Context as _, ensure};
use itera_core::tokenizer::Tokenizer;
use itera_data::records::{Part, RecordError, Source, Survey};
use itera_record::ScoringProtocol;

pub(crate) use self::pass::{Batch, DocumentReader};
use crate::options::Shard;

/// Documents of a text, of which one shard is to be scored.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    source: &'a Source,
    tokenizer: &'a Tokenizer,
    /// The first so many documents of the text.
    pub(crate) documents: u64,
    /// Bytes of these.
    pub(crate) bytes: u64,
    /// Bytes of all documents of the text, selected or not.
    pub(crate) dataset_bytes: u64,
    cut: Option<Cut>,
    shard: Option<Shard>,
}

/// The end of the last document, where the number of tokens is limited.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Position of the document.
    index: u64,
    /// Its tokens, and the bytes that they stand for.
    tokens: usize,
    bytes: usize,
}

impl<'a> Selection<'a> {
    /// Applies the limits, then the shard.
    pub(crate) fn new(
        (source, survey): (&'a Source, &Survey),
        tokenizer: &'a Tokenizer,
        protocol: &ScoringProtocol,
        shard: Option<Shard>,
    ) -> anyhow::Result<Self> {
        let limit = protocol.limit_documents.unwrap_or(u64::MAX);
        let mut selection = Self {
            source,
            tokenizer,
            documents: limit.min(survey.documents),
            bytes: survey.bytes,
            dataset_bytes: survey.bytes,
            cut: None,
            shard,
        };
        if let Some(tokens) = protocol.max_tokens {
            selection.limit_tokens(tokens as usize)?;
        }
        if selection.documents < survey.documents || selection.cut.is_some() {
            let lens = selection.texts()?.map(|text| Ok(text?.len() as u64));
            selection.bytes = lens.sum::<anyhow::Result<_>>()?;
        }
        if let Some(shard) = shard {
            ensure!(
                shard.0.index <= selection.documents,
                "shard {} of {} has no document, {} are selected; use fewer shards",
                shard.0,
                source.name,
                selection.documents
            );
        }
        Ok(selection)
    }

    /// Whether all of the text is selected.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes == self.dataset_bytes
    }

    /// Finds where the last of so many tokens lies.
    fn limit_tokens(&mut self, tokens: usize) -> anyhow::Result<()> {
        let (mut left, mut ids) = (tokens, Vec::new());
        let (mut index, mut of_document) = (0, (0, 0));
        for part in self.source.read()? {
            let part = part?;
            if part.id.is_some() {
                if left == 0 || index == self.documents {
                    break;
                }
                (index, of_document) = (index + 1, (0, 0));
            }
            ids.clear();
            self.encode(index - 1, &part.text, &mut ids)?;
            let (tokens, bytes) = of_document;
            if ids.len() > left {
                let len = len_of(&part.text, &ids[..left], self.tokenizer);
                self.cut = Some(Cut {
                    index: index - 1,
                    tokens: tokens + left,
                    bytes: bytes + len,
                });
                break;
            }
            left -= ids.len();
            of_document = (tokens + ids.len(), bytes + part.text.len());
        }
        self.documents = index;
        Ok(())
    }

    fn encode(&self, index: u64, text: &[u8], ids: &mut Vec<u16>) -> anyhow::Result<()> {
        self.tokenizer
            .encode_into(text, ids)
            .with_context(|| format!("cannot read document {} of {}", index + 1, self.source.name))
    }

    /// The texts of the documents of all shards, long ones in parts.
    pub(crate) fn texts(
        &self,
    ) -> anyhow::Result<impl Iterator<Item = Result<Vec<u8>, RecordError>>> {
        let (mut index, mut left) = (0, usize::MAX);
        let of_selection = move |part: Result<Part, RecordError>| {
            let mut text = match part {
                Err(error) => return Some(Err(error)),
                Ok(part) if part.id.is_some() => {
                    left = self.cut(index).1;
                    index += 1;
                    part.text
                }
                Ok(part) => part.text,
            };
            text.truncate(left);
            left -= text.len();
            (index <= self.documents).then_some(Ok(text))
        };
        Ok(self.source.read()?.map_while(of_selection))
    }

    /// The first tokens of the documents of all shards, one behind the other with an end-of-text token before each.
    pub(crate) fn stream(&self, tokens: usize) -> anyhow::Result<Vec<u32>> {
        let (mut stream, mut ids) = (Vec::new(), Vec::new());
        let (mut index, mut left) = (0, usize::MAX);
        for part in self.source.read()? {
            let part = part?;
            if part.id.is_some() {
                if index == self.documents {
                    break;
                }
                left = self.cut(index).0;
                index += 1;
                stream.push(self.tokenizer.end_of_text());
            }
            ids.clear();
            self.tokenizer.encode_into(&part.text, &mut ids)?;
            ids.truncate(left);
            left -= ids.len();
            stream.extend(widen(&ids));
            if stream.len() >= tokens {
                break;
            }
        }
        stream.truncate(tokens);
        Ok(stream)
    }

    /// The most tokens and bytes of a document.
    fn cut(&self, index: u64) -> (usize, usize) {
        let cut = self.cut.filter(|cut| cut.index == index);
        cut.map_or((usize::MAX, usize::MAX), |cut| (cut.tokens, cut.bytes))
    }

    fn is_own(&self, index: u64) -> bool {
        self.shard.is_none_or(|shard| shard.contains(index))
    }
}

/// Tokens as models read them.
pub(crate) fn widen(tokens: &[u16]) -> impl ExactSizeIterator<Item = u32> {
    tokens.iter().map(|&id| u32::from(id))
}

/// Bytes of `text` that its first tokens stand for. The unknown token of a character tokenizer stands for one
/// character of any length; all other tokens know their bytes.
fn len_of(text: &[u8], tokens: &[u16], tokenizer: &Tokenizer) -> usize {
    if tokenizer.is_lossless() {
        widen(tokens)
            .map(|token| tokenizer.token_bytes(token).len())
            .sum()
    } else {
        let chars = str::from_utf8(text).unwrap_or_default().chars();
        chars.take(tokens.len()).map(char::len_utf8).sum()
    }
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
