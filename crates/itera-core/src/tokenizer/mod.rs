//! Tokenizers: text as bytes to token ids and back.
//!
//! Three kinds, chosen per checkpoint: plain bytes, the characters of a corpus, and byte-level BPE.
//! Each has one end-of-text token, which starts every document and which no text can produce:
//! [`Tokenizer::encode`] treats a literal `<|endoftext|>` in the text like any other text.
//!
//! Text is `&[u8]`, since corpora and prompts hold invalid UTF-8 now and then and because
//! bits-per-byte figures need every byte accounted for.

mod bpe;
mod bytes;
mod characters;
mod classes;
mod json;
mod pieces;
#[cfg(feature = "std")]
mod train;

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use serde_json::Value;
use thiserror::Error;

pub use bpe::BpeTokenizer;
pub use bytes::BytesTokenizer;
pub use characters::CharTokenizer;

/// How the end-of-text token is written in tokenizer files and at the separators of corpora.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The kinds of tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenizerKind {
    /// One token per byte.
    Bytes,
    /// One token per Unicode character of the training corpus.
    Char,
    /// Byte-level byte-pair encoding.
    Bpe,
}

impl TokenizerKind {
    /// Every kind, simplest first.
    pub const ALL: [Self; 3] = [Self::Bytes, Self::Char, Self::Bpe];

    /// The name used on command lines and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Char => "char",
            Self::Bpe => "bpe",
        }
    }
}

impl fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TokenizerKind {
    type Err = TokenizerError;

    fn from_str(name: &str) -> Result<Self, TokenizerError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| TokenizerError::UnknownKind(name.to_owned()))
    }
}

/// Why a tokenizer could not be made, or could not encode a text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TokenizerError {
    /// The text to encode is not UTF-8 and the tokenizer works on characters.
    #[error(
        "byte {offset} of the text is not valid UTF-8, which the char tokenizer needs; \
         the tokenizers `bytes` and `bpe` accept any bytes"
    )]
    NotUtf8 {
        /// Bytes before the first invalid one.
        offset: usize,
    },
    /// A training document is not UTF-8 and the tokenizer works on characters.
    #[error(
        "byte {offset} of document {document} (counted from 0) is not valid UTF-8, which the char \
         tokenizer needs; the tokenizers `bytes` and `bpe` accept any bytes"
    )]
    DocumentNotUtf8 {
        /// Documents before this one.
        document: usize,
        /// Bytes of the document before the first invalid one.
        offset: usize,
    },
    /// The training documents hold no character at all.
    #[error("the training text is empty, so that it has no alphabet for a char tokenizer")]
    EmptyAlphabet,
    /// The training documents hold too many characters.
    #[error(
        "the training text has {characters} different characters, a char tokenizer at most {}; use \
         `bytes` or `bpe`",
        CharTokenizer::MAX_ALPHABET
    )]
    LargeAlphabet {
        /// Different characters of the text.
        characters: usize,
    },
    /// A vocabulary size that a BPE tokenizer cannot have.
    #[error(
        "a bpe vocabulary of {requested} entries was asked for, expected {} to {} (256 bytes, the \
         end-of-text token and the merges)",
        BpeTokenizer::MIN_VOCAB_SIZE,
        BpeTokenizer::MAX_VOCAB_SIZE
    )]
    VocabSize {
        /// The size asked for.
        requested: usize,
    },
    /// A file has a merge that does not join two tokens into a new one.
    #[error(
        "merge {at} joins the tokens {} and {}, expected two of lower ids whose bytes together are new",
        pair.0, pair.1
    )]
    Merge {
        /// Merges before it.
        at: usize,
        /// The two ids.
        pair: (u32, u32),
    },
    /// No tokenizer has this name.
    #[error("no tokenizer is called `{0}`; tokenizers are bytes, char, bpe")]
    UnknownKind(String),
    /// A tokenizer file is too long, is not JSON, or has a key twice.
    #[error("tokenizer JSON: {0}")]
    Syntax(String),
    /// A tokenizer file holds something else than this crate writes.
    #[error("tokenizer JSON: `{path}` is {found}, expected {expected}")]
    Json {
        /// JSON pointer of the offending value; empty for the whole document.
        path: String,
        /// A value that would have been accepted.
        expected: String,
        /// The value in the file, shortened; `absent` where there is none.
        found: String,
    },
}

/// A tokenizer of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// One token per byte.
    Bytes(BytesTokenizer),
    /// One token per character.
    Char(CharTokenizer),
    /// Byte-level BPE.
    Bpe(BpeTokenizer),
}

impl Tokenizer {
    /// The tokens of `text`. The end-of-text token is never among them, whatever the text holds.
    ///
    /// # Errors
    /// [`TokenizerError::NotUtf8`] from the char tokenizer; the others accept any bytes.
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 2);
        self.encode_into(text, &mut ids)?;
        Ok(ids.into_iter().map(u32::from).collect())
    }

    /// Appends the tokens of `text` to `ids`. No vocabulary has more than 65,536 entries.
    ///
    /// # Errors
    /// As of [`Self::encode`]; `ids` is as before then.
    pub fn encode_into(&self, text: &[u8], ids: &mut Vec<u16>) -> Result<(), TokenizerError> {
        match self {
            Self::Bytes(_) => BytesTokenizer::encode_into(text, ids),
            Self::Char(tokenizer) => return tokenizer.encode_into(text, ids),
            Self::Bpe(tokenizer) => tokenizer.encode_into(text, ids),
        }
        Ok(())
    }

    /// The text of `tokens`. The end-of-text token and ids outside the vocabulary give nothing.
    pub fn decode(&self, tokens: &[u32]) -> Vec<u8> {
        let mut text = Vec::with_capacity(2 * tokens.len());
        for &id in tokens {
            text.extend_from_slice(self.token_bytes(id));
        }
        text
    }

    /// The bytes of one token; empty for the end-of-text token and for ids outside the vocabulary.
    /// A token of a BPE tokenizer may be a part of a UTF-8 sequence.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        match self {
            Self::Bytes(_) => BytesTokenizer::token_bytes(id),
            Self::Char(tokenizer) => tokenizer.token_bytes(id),
            Self::Bpe(tokenizer) => tokenizer.token_bytes(id),
        }
    }

    /// Ids of the vocabulary, the end-of-text token included; ids run from 0 without gaps.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bytes(_) => BytesTokenizer::VOCAB_SIZE,
            Self::Char(tokenizer) => tokenizer.vocab_size(),
            Self::Bpe(tokenizer) => tokenizer.vocab_size(),
        }
    }

    /// Id of the end-of-text token.
    pub fn end_of_text(&self) -> u32 {
        match self {
            Self::Bytes(_) => BytesTokenizer::END_OF_TEXT,
            Self::Char(tokenizer) => tokenizer.end_of_text(),
            Self::Bpe(_) => BpeTokenizer::END_OF_TEXT,
        }
    }

    /// The kind of this tokenizer.
    pub const fn kind(&self) -> TokenizerKind {
        match self {
            Self::Bytes(_) => TokenizerKind::Bytes,
            Self::Char(_) => TokenizerKind::Char,
            Self::Bpe(_) => TokenizerKind::Bpe,
        }
    }

    /// Whether `decode(encode(text))` is `text` for every text. The char tokenizer loses characters
    /// outside its alphabet.
    pub const fn is_lossless(&self) -> bool {
        !matches!(self, Self::Char(_))
    }

    /// This tokenizer as a Hugging Face `tokenizer.json`, which the `tokenizers` library loads and
    /// which gives the same ids there.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Bytes(_) => json::write_bpe(&BpeTokenizer::without_merges(), false),
            Self::Char(tokenizer) => json::write_char(tokenizer),
            Self::Bpe(tokenizer) => json::write_bpe(tokenizer, true),
        }
    }

    /// The same without the vocabulary of a BPE model, which its merges determine, and with the merges
    /// as one text: some 7 kB less of a header for 512 entries. [`Self::from_json`] reads it, the `tokenizers`
    /// library does not.
    pub fn to_compact_json(&self) -> Value {
        json::compact(self.to_json())
    }

    /// Reads the text of what [`Self::to_json`] or [`Self::to_compact_json`] gave, also after the
    /// `tokenizers` library saved it again.
    ///
    /// # Errors
    /// [`TokenizerError::Syntax`], or [`TokenizerError::Json`] for anything that would make the ids differ
    /// from those that the `tokenizers` library gives: another model, a gap in the ids, a normalizer.
    pub fn from_json(text: &str) -> Result<Self, TokenizerError> {
        json::read(text)
    }
}
