//! Byte-level byte-pair encoding: starts from bytes, joins the pairs that training found frequent,
//! in the order in which training found them. Loses nothing, invalid UTF-8 included.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
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

    /// Pieces repeat, so each is merged once per call and copied from then on.
    pub(super) fn encode(&self, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 2);
        let mut seen: HashMap<&[u8], Range<usize>> = HashMap::new();
        let mut merging = Merging::default();
        for piece in pieces(text) {
            if let &[byte] = piece {
                ids.push(u32::from(byte));
            } else if let Some(range) = seen.get(piece) {
                ids.extend_from_within(range.clone());
            } else {
                let start = ids.len();
                merging.run(self, piece, &mut ids);
                seen.insert(piece, start..ids.len());
            }
        }
        ids
    }
}

/// Buffers for merging one piece: a linked list of its symbols, and a queue of the merges that are
/// possible, so that even a piece of megabytes takes n log n steps.
#[derive(Default)]
struct Merging {
    symbols: Vec<Symbol>,
    /// Merged id and index of the left symbol: first learned first, then leftmost.
    queue: BinaryHeap<Reverse<(u32, usize)>>,
}

/// A token of the piece, at the index of its first byte.
#[derive(Clone, Copy)]
struct Symbol {
    /// [`GONE`] once the symbol became part of the one before it.
    id: u32,
    /// Index of the symbol before, `usize::MAX` if there is none.
    previous: usize,
    /// Index of the symbol after, the length of the piece if there is none.
    next: usize,
}

/// Never a token id.
const GONE: u32 = u32::MAX;

impl Merging {
    /// Appends the tokens of `piece` to `ids`.
    fn run(&mut self, tokenizer: &BpeTokenizer, piece: &[u8], ids: &mut Vec<u32>) {
        self.symbols.clear();
        self.symbols
            .extend(piece.iter().enumerate().map(|(at, &byte)| Symbol {
                id: u32::from(byte),
                previous: at.wrapping_sub(1),
                next: at + 1,
            }));
        for at in 0..piece.len() {
            self.offer(tokenizer, at);
        }
        while let Some(Reverse((id, at))) = self.queue.pop() {
            // An entry is stale if either symbol has changed since.
            let expected = tokenizer.merges[(id - BpeTokenizer::FIRST_MERGE) as usize];
            if self.pair(at) != Some(expected) {
                continue;
            }
            let Symbol {
                previous,
                next: right,
                ..
            } = self.symbols[at];
            let after = self.symbols[right].next;
            self.symbols[right].id = GONE;
            self.symbols[at] = Symbol {
                id,
                previous,
                next: after,
            };
            if let Some(after) = self.symbols.get_mut(after) {
                after.previous = at;
            }
            self.offer(tokenizer, previous);
            self.offer(tokenizer, at);
        }
        ids.extend(
            self.symbols
                .iter()
                .map(|symbol| symbol.id)
                .filter(|&id| id != GONE),
        );
    }

    /// The symbol at index `at` and the one after it.
    fn pair(&self, at: usize) -> Option<Pair> {
        let left = self.symbols.get(at)?;
        Some((left.id, self.symbols.get(left.next)?.id))
    }

    /// Queues the merge of the symbol at index `at` with the one after it, if there is one.
    fn offer(&mut self, tokenizer: &BpeTokenizer, at: usize) {
        let id = self.pair(at).and_then(|pair| tokenizer.merged.get(&pair));
        self.queue.extend(id.map(|&id| Reverse((id, at))));
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
            prop_assert_eq!(tokenizer.encode(piece.as_bytes()), expected);
        }
    }
}
