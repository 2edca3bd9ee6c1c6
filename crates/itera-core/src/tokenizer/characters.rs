//! One token per Unicode character: the alphabet is what a corpus holds, everything else becomes
//! the unknown token.

use alloc::{boxed::Box, collections::BTreeSet, string::ToString, vec::Vec};

use super::TokenizerError;

/// What an unknown character decodes to, and the name of the unknown token in tokenizer files.
pub(super) const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// Ids are the alphabet in the order of code points, then the unknown token, then end-of-text.
///
/// U+FFFD itself never enters the alphabet: it is what the unknown token stands for, so that it
/// survives encoding and decoding all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharTokenizer {
    /// Sorted; the index is the id.
    alphabet: Vec<char>,
    /// UTF-8 of each character and of the unknown token, by id.
    utf8: Vec<Box<[u8]>>,
}

impl CharTokenizer {
    /// Characters of the largest alphabet: with unknown and end-of-text, ids are 16 bits.
    pub const MAX_ALPHABET: usize = (1 << 16) - 2;

    /// Takes the alphabet of `documents`.
    ///
    /// # Errors
    /// [`TokenizerError::DocumentNotUtf8`], [`TokenizerError::EmptyAlphabet`] where there is no
    /// character but perhaps U+FFFD, or [`TokenizerError::LargeAlphabet`].
    pub fn train<'a>(documents: impl Iterator<Item = &'a [u8]>) -> Result<Self, TokenizerError> {
        let mut alphabet = BTreeSet::new();
        for (document, text) in documents.enumerate() {
            let text = str::from_utf8(text).map_err(|error| TokenizerError::DocumentNotUtf8 {
                document,
                offset: error.valid_up_to(),
            })?;
            alphabet.extend(text.chars());
        }
        let len = alphabet.len();
        Self::from_alphabet(alphabet).ok_or(match len {
            0 | 1 => TokenizerError::EmptyAlphabet,
            _ => TokenizerError::LargeAlphabet { characters: len },
        })
    }

    /// The tokenizer of an alphabet; none if nothing but U+FFFD is in it, or more than
    /// [`Self::MAX_ALPHABET`] characters are.
    pub(super) fn from_alphabet(mut alphabet: BTreeSet<char>) -> Option<Self> {
        alphabet.remove(&UNKNOWN);
        if alphabet.is_empty() || alphabet.len() > Self::MAX_ALPHABET {
            return None;
        }
        let utf8 = |c: &char| c.to_string().into_bytes().into();
        let utf8 = alphabet.iter().chain([&UNKNOWN]).map(utf8).collect();
        Some(Self {
            alphabet: Vec::from_iter(alphabet),
            utf8,
        })
    }

    /// The characters with a token of their own, in the order of their ids.
    pub fn alphabet(&self) -> &[char] {
        &self.alphabet
    }

    /// Id of the token for every character outside the alphabet.
    pub fn unknown(&self) -> u32 {
        self.alphabet.len() as u32
    }

    pub(super) fn end_of_text(&self) -> u32 {
        self.unknown() + 1
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.alphabet.len() + 2
    }

    pub(super) fn encode_into(
        &self,
        text: &[u8],
        ids: &mut Vec<u16>,
    ) -> Result<(), TokenizerError> {
        let text = str::from_utf8(text).map_err(|error| TokenizerError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        let unknown = self.unknown() as u16;
        let id = |c| {
            self.alphabet
                .binary_search(&c)
                .map_or(unknown, |id| id as u16)
        };
        ids.extend(text.chars().map(id));
        Ok(())
    }

    pub(super) fn token_bytes(&self, id: u32) -> &[u8] {
        self.utf8.get(id as usize).map_or(&[], |utf8| utf8)
    }
}
