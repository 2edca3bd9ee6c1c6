//! Byte-level byte-pair encoding: starts from bytes, joins the pairs that training found frequent,
//! in the order in which training found them. Loses nothing, invalid UTF-8 included.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    mem,
    ops::Range,
};

use super::pieces::pieces;

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
            merged: HashMap::new(),
            bytes,
        }
    }

    /// Gives the next id to `pair`, whose ids must exist.
    pub(super) fn push_merge(&mut self, pair: Pair) {
        let joined = [self.token_bytes(pair.0), self.token_bytes(pair.1)].concat();
        self.merged.insert(pair, self.bytes.len() as u32);
        self.bytes.push(joined.into());
        self.merges.push(pair);
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

    /// Appends the tokens of `text`. Pieces repeat, so most are merged once and then copied.
    pub(super) fn encode_into(&self, text: &[u8], ids: &mut Vec<u16>) {
        let mut seen: HashMap<&[u8], Range<usize>> = HashMap::new();
        let mut merging = Merging::new(self);
        for piece in pieces(text).flat_map(|piece| piece.chunks(MAX_PIECE)) {
            if let &[byte] = piece {
                ids.push(u16::from(byte));
            } else if let Some(range) = seen.get(piece) {
                ids.extend_from_within(range.clone());
            } else {
                let start = ids.len();
                merging.run(piece, ids);
                if seen.len() == MAX_SEEN {
                    seen.clear();
                }
                seen.insert(piece, start..ids.len());
            }
        }
    }
}

/// Distinct pieces that are remembered: some megabytes.
const MAX_SEEN: usize = 1 << 16;

/// Bytes that are merged together: places are 32 bits.
const MAX_PIECE: usize = u32::MAX as usize;

/// Marks the first byte of a token; ids are smaller.
const START: u16 = 1 << 15;

/// Places that a merge keeps memory for between pieces.
const KEPT_PLACES: usize = 256;

/// Merges one piece after another, each in n log n steps and, however long it is, in some 12 bytes
/// of memory for each of its own.
///
/// A piece has an element per byte, its tokens standing at their first and last bytes, so that both
/// neighbours of a token are found from its own place. A merge makes pairs of later merges only: so all
/// places of a merge are known when its turn comes.
struct Merging<'t> {
    tokenizer: &'t BpeTokenizer,
    /// For each merge, the first bytes of pairs that it may join, noted when the pair came to be.
    places: Vec<Vec<u32>>,
    /// The merges that have places, first learned first.
    ready: BinaryHeap<Reverse<usize>>,
}

impl<'t> Merging<'t> {
    fn new(tokenizer: &'t BpeTokenizer) -> Self {
        Self {
            tokenizer,
            places: vec![Vec::new(); tokenizer.merges.len()],
            ready: BinaryHeap::new(),
        }
    }

    /// Appends the tokens of `piece` to `ids`.
    fn run(&mut self, piece: &[u8], ids: &mut Vec<u16>) {
        let begin = ids.len();
        ids.extend(piece.iter().map(|&byte| START | u16::from(byte)));
        let tokens = &mut ids[begin..];
        for at in 0..tokens.len() {
            self.note(tokens, at);
        }
        while let Some(Reverse(merge)) = self.ready.pop() {
            let mut places = mem::take(&mut self.places[merge]);
            places.sort_unstable();
            for at in places.drain(..) {
                // Stale if either token has changed since.
                if self.pair(tokens, at as usize) == Some(self.tokenizer.merges[merge]) {
                    self.join(tokens, at as usize, merge);
                }
            }
            places.shrink_to(KEPT_PLACES);
            self.places[merge] = places;
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

    /// Puts the token of a merge in place of the two from `at` on.
    fn join(&mut self, tokens: &mut [u16], at: usize, merge: usize) {
        let middle = at + self.len(tokens[at]);
        let last = middle + self.len(tokens[middle]) - 1;
        let id = BpeTokenizer::FIRST_MERGE as u16 + merge as u16;
        tokens[middle] &= !START;
        tokens[at] = START | id;
        tokens[last] = id;
        if at > 0 {
            self.note(tokens, at - self.len(tokens[at - 1]));
        }
        self.note(tokens, at);
    }

    /// Notes that the token at `at` may be joined with the one after it, if there is a merge for them.
    fn note(&mut self, tokens: &[u16], at: usize) {
        let pair = self.pair(tokens, at);
        let Some(id) = pair.and_then(|pair| self.tokenizer.merged.get(&pair)) else {
            return;
        };
        let merge = (id - BpeTokenizer::FIRST_MERGE) as usize;
        if self.places[merge].is_empty() {
            self.ready.push(Reverse(merge));
        }
        self.places[merge].push(at as u32);
    }

    /// The token that begins at `at` and the one after it.
    fn pair(&self, tokens: &[u16], at: usize) -> Option<Pair> {
        let left = tokens[at];
        if left & START == 0 {
            return None;
        }
        let right = tokens.get(at + self.len(left))?;
        Some([left, *right].map(|token| u32::from(token & !START)).into())
    }

    /// Bytes of a token.
    fn len(&self, token: u16) -> usize {
        self.tokenizer.bytes[usize::from(token & !START)].len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: every merge in turn, everywhere, from left to right.
    fn encode_by_definition(tokenizer: &BpeTokenizer, piece: &[u8]) -> Vec<u32> {
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
        ids
    }

    proptest! {
        #[test]
        fn queue_equals_merging_in_turn(text in "[ab]{0,80}", piece in "[abc]{0,80}") {
            let tokenizer = BpeTokenizer::train([text.as_bytes()].into_iter(), 280).unwrap();
            let expected = encode_by_definition(&tokenizer, piece.as_bytes());
            let mut ids = Vec::new();
            tokenizer.encode_into(piece.as_bytes(), &mut ids);
            let ids: Vec<u32> = ids.into_iter().map(u32::from).collect();
            prop_assert_eq!(ids, expected);
        }
    }
}
