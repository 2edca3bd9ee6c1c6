//! Byte-level byte-pair encoding: starts from bytes, joins the pairs that training found frequent,
//! in the order in which training found them. Loses nothing, invalid UTF-8 included.

use alloc::{boxed::Box, collections::BinaryHeap, vec, vec::Vec};
use core::{cmp::Reverse, ops::Range};

use hashbrown::{HashMap, HashSet};

use super::{TokenizerError, pieces::pieces};

/// The most bytes of all merged tokens: each merge could double the longest.
const MAX_BYTES: usize = 1 << 19;

/// Two neighbouring token ids.
pub(super) type Pair = (u32, u32);

/// Ids 0 to 255 are the bytes, 256 is end-of-text, 257 and up are merges in training order, which
/// is also their priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpeTokenizer {
    /// The pair that id `FIRST_MERGE + i` stands for.
    merges: Vec<Pair>,
    /// The same, looked up the other way.
    merged: HashMap<Pair, u32>,
    /// Tokens that a piece of their bytes becomes: most words of a text that the vocabulary was made for.
    whole: HashMap<Box<[u8]>, u16>,
    /// Bytes of each token, by id; none for end-of-text.
    bytes: Vec<Box<[u8]>>,
}

impl BpeTokenizer {
    /// Id of the end-of-text token.
    pub const END_OF_TEXT: u32 = 256;
    /// Entries of a vocabulary without merges.
    pub const MIN_VOCAB_SIZE: usize = 257;
    /// The largest vocabulary; a bigger embedding would not leave room for a model.
    pub const MAX_VOCAB_SIZE: usize = 2048;
    /// Id of the first merge.
    pub(super) const FIRST_MERGE: u32 = 257;

    /// The 256 bytes and end-of-text.
    pub(super) fn without_merges() -> Self {
        let end_of_text = Box::default();
        let bytes = (0..=u8::MAX)
            .map(|byte| Box::from([byte]))
            .chain([end_of_text])
            .collect();
        Self {
            merges: Vec::new(),
            merged: HashMap::default(),
            whole: HashMap::default(),
            bytes,
        }
    }

    /// The tokenizer of these pairs, the ids of which begin at 257.
    ///
    /// # Errors
    /// An id of a pair is end-of-text or not defined yet, the bytes of a pair are a token already, or there are more
    /// tokens or longer ones than a tokenizer may have.
    pub fn from_merges(pairs: impl IntoIterator<Item = Pair>) -> Result<Self, TokenizerError> {
        let mut tokenizer = Self::without_merges();
        let mut bytes = 0;
        let mut known: HashSet<Box<[u8]>> = tokenizer.bytes.iter().cloned().collect();
        for (at, pair) in pairs.into_iter().enumerate() {
            let exists = |id| id != Self::END_OF_TEXT && (id as usize) < tokenizer.vocab_size();
            let may_be = exists(pair.0) && exists(pair.1);
            if !may_be || tokenizer.vocab_size() == Self::MAX_VOCAB_SIZE {
                return Err(TokenizerError::Merge { at, pair });
            }
            tokenizer.push_merge(pair);
            let token = tokenizer.bytes.last().cloned().unwrap_or_default();
            bytes += token.len();
            if bytes > MAX_BYTES || !known.insert(token) {
                return Err(TokenizerError::Merge { at, pair });
            }
        }
        Ok(tokenizer)
    }

    /// Gives the next id to `pair`, whose ids must exist.
    pub(super) fn push_merge(&mut self, pair: Pair) {
        let joined = [self.token_bytes(pair.0), self.token_bytes(pair.1)].concat();
        let id = self.bytes.len() as u32;
        self.merged.insert(pair, id);
        self.bytes.push(joined.clone().into());
        self.merges.push(pair);
        // Other merges of the same bytes may come before it; those behind it cannot.
        let mut ids = Vec::new();
        self.merge_by_queue(&joined, &mut ids, &mut BinaryHeap::new());
        if ids == [id as u16] {
            self.whole.insert(joined.into(), id as u16);
        }
    }

    /// The pairs behind the ids from 257 on.
    pub fn merges(&self) -> &[(u32, u32)] {
        &self.merges
    }

    /// Entries of the vocabulary, bytes and end-of-text included.
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn token_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], |bytes| bytes)
    }

    /// Appends the tokens of `text`. Most pieces are tokens; the others repeat, so that each is merged once and
    /// then copied.
    pub(super) fn encode_into(&self, text: &[u8], ids: &mut Vec<u16>) {
        let mut seen: HashMap<&[u8], Range<usize>> = HashMap::new();
        let mut queue = BinaryHeap::new();
        for piece in pieces(text) {
            if let &[byte] = piece {
                ids.push(u16::from(byte));
            } else if let Some(&id) = self.whole.get(piece) {
                ids.push(id);
            } else if let Some(range) = seen.get(piece) {
                ids.extend_from_within(range.clone());
            } else {
                let start = ids.len();
                if piece.len() > LONG {
                    self.merge_in_turn(piece, ids);
                } else {
                    self.merge_by_queue(piece, ids, &mut queue);
                }
                if seen.len() == MAX_SEEN {
                    seen.clear();
                }
                seen.insert(piece, start..ids.len());
            }
        }
    }

    /// Appends the tokens of a long piece: every merge in turn, everywhere, from left to right. Takes
    /// no memory beyond the tokens.
    fn merge_in_turn(&self, piece: &[u8], ids: &mut Vec<u16>) {
        let begin = ids.len();
        ids.extend(piece.iter().map(|&byte| u16::from(byte)));
        let mut counts = vec![0_usize; self.bytes.len()];
        for &byte in piece {
            counts[usize::from(byte)] += 1;
        }
        for (id, pair) in (Self::FIRST_MERGE as u16..).zip(&self.merges) {
            let (left, right) = (pair.0 as u16, pair.1 as u16);
            if counts[usize::from(left)] == 0 || counts[usize::from(right)] == 0 {
                continue;
            }
            let (mut read, mut write) = (begin, begin);
            while read < ids.len() {
                let joins = ids[read] == left && ids.get(read + 1) == Some(&right);
                ids[write] = if joins { id } else { ids[read] };
                read += 1 + usize::from(joins);
                write += 1;
            }
            let joined = ids.len() - write;
            ids.truncate(write);
            counts[usize::from(left)] -= joined;
            counts[usize::from(right)] -= joined;
            counts[usize::from(id)] = joined;
        }
    }

    /// Appends the tokens of a piece in n log n steps: a queue holds the merges that are possible, as
    /// id and place, first learned first, then leftmost.
    ///
    /// Each token stands at its first and last byte, so that both its neighbours are found from its
    /// own place.
    fn merge_by_queue(&self, piece: &[u8], ids: &mut Vec<u16>, queue: &mut Queue) {
        let begin = ids.len();
        ids.extend(piece.iter().map(|&byte| START | u16::from(byte)));
        let tokens = &mut ids[begin..];
        let entry = |pair: Pair, at: usize| {
            let id = self.merged.get(&pair);
            id.map(|&id| Reverse((id, at as u32)))
        };
        let pairs = piece.windows(2).enumerate();
        queue.extend(pairs.filter_map(|(at, pair)| entry((pair[0].into(), pair[1].into()), at)));
        while let Some(Reverse((id, at))) = queue.pop() {
            let at = at as usize;
            // An entry is stale if either token has changed since.
            let expected = self.merges[(id - Self::FIRST_MERGE) as usize];
            if self.pair(tokens, at) != Some(expected) {
                continue;
            }
            let middle = at + self.len(tokens[at]);
            let last = middle + self.len(tokens[middle]) - 1;
            tokens[middle] &= !START;
            tokens[at] = START | id as u16;
            tokens[last] = id as u16;
            let before = at.checked_sub(1).map(|last| at - self.len(tokens[last]));
            for at in before.into_iter().chain([at]) {
                queue.extend(self.pair(tokens, at).and_then(|pair| entry(pair, at)));
            }
        }
        let mut end = begin;
        for at in begin..ids.len() {
            if ids[at] & START != 0 {
                ids[end] = ids[at] & !START;
                end += 1;
            }
        }
        ids.truncate(end);
    }

    /// The token that begins at `at` and the one after it.
    fn pair(&self, tokens: &[u16], at: usize) -> Option<Pair> {
        let left = Some(tokens[at]).filter(|left| left & START != 0)?;
        let right = tokens.get(at + self.len(left))?;
        Some((u32::from(left & !START), u32::from(right & !START)))
    }

    /// Bytes of a token.
    fn len(&self, token: u16) -> usize {
        self.bytes[usize::from(token & !START)].len()
    }
}

/// Bytes of a piece from which on the memory of a queue would count.
const LONG: usize = 1 << 16;

/// Distinct pieces that are remembered: some megabytes.
const MAX_SEEN: usize = 1 << 16;

/// Marks the first byte of a token; ids are smaller.
const START: u16 = 1 << 15;

/// Merges that are possible: id and place of the left token.
type Queue = BinaryHeap<Reverse<(u32, u32)>>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: every merge in turn, everywhere, from left to right.
    fn encode_by_definition(tokenizer: &BpeTokenizer, piece: &[u8]) -> Vec<u16> {
        let mut ids: Vec<u32> = piece.iter().map(|&byte| u32::from(byte)).collect();
        for (&pair, merged) in tokenizer.merges.iter().zip(BpeTokenizer::FIRST_MERGE..) {
            let mut at = 0;
            while at + 1 < ids.len() {
                if (ids[at], ids[at + 1]) == pair {
                    ids.splice(at..at + 2, [merged]);
                }
                at += 1;
            }
        }
        ids.into_iter().map(|id| id as u16).collect()
    }

    proptest! {
        #[test]
        fn both_ways_equal_the_definition(text in "[ab]{0,80}", piece in "[abc]{0,80}") {
            let tokenizer = BpeTokenizer::train([text.as_bytes()].into_iter(), 280).unwrap();
            let expected = encode_by_definition(&tokenizer, piece.as_bytes());
            let (mut ids, mut queue) = (Vec::new(), BinaryHeap::new());
            tokenizer.merge_by_queue(piece.as_bytes(), &mut ids, &mut queue);
            prop_assert_eq!(&ids, &expected);
            // Letters are one piece, which may be a token.
            ids.clear();
            tokenizer.encode_into(piece.as_bytes(), &mut ids);
            prop_assert_eq!(&ids, &expected);
            // Behind what the buffer holds already.
            tokenizer.merge_in_turn(piece.as_bytes(), &mut ids);
            prop_assert_eq!(&ids[expected.len()..], &expected);
        }
    }
}
