//! Learns the merges of a BPE tokenizer: counts the distinct pieces once, then keeps the pair
//! counts up to date while pairs are joined, so that each merge only visits the pieces it changes.

use std::{
    cmp::Reverse,
    collections::{HashMap, hash_map::Entry},
};

use super::{
    TokenizerError,
    bpe::{BpeTokenizer, Pair},
    pieces::pieces,
};

/// A pair must occur this often to be worth an entry.
const MIN_COUNT: u64 = 2;

/// A distinct piece of the text.
struct Piece {
    symbols: Vec<u32>,
    /// Occurrences in all documents.
    count: u64,
}

/// Where and how often a pair occurs.
#[derive(Default)]
struct Occurrences {
    count: u64,
    /// Indices of the pieces that hold the pair, or held it once. Ascending without repeats: a pair
    /// comes into being in a single pass over the pieces, for the merge that made its younger
    /// half.
    pieces: Vec<usize>,
}

impl BpeTokenizer {
    /// Learns merges from `documents` until there are `vocab_size` entries, bytes and end-of-text
    /// included. The same documents give the same merges on every machine: ties go to the pair with
    /// the lowest ids.
    ///
    /// The vocabulary is smaller than asked for where no pair occurs twice any more; see
    /// [`Self::vocab_size`].
    ///
    /// # Errors
    /// [`TokenizerError::VocabSize`].
    pub fn train<'a>(
        documents: impl Iterator<Item = &'a [u8]>,
        vocab_size: usize,
    ) -> Result<Self, TokenizerError> {
        if !(Self::MIN_VOCAB_SIZE..=Self::MAX_VOCAB_SIZE).contains(&vocab_size) {
            return Err(TokenizerError::VocabSize {
                requested: vocab_size,
            });
        }
        let mut tokenizer = Self::without_merges();
        for pair in train_merges(documents, vocab_size - Self::MIN_VOCAB_SIZE) {
            tokenizer.push_merge(pair);
        }
        Ok(tokenizer)
    }
}

/// At most `n_merges` pairs, most frequent first, each counted after the ones before it were
/// joined; of equally frequent pairs the one with the lowest ids. Stops where no pair occurs
/// [`MIN_COUNT`] times.
fn train_merges<'a>(documents: impl Iterator<Item = &'a [u8]>, n_merges: usize) -> Vec<Pair> {
    let mut pieces = count_pieces(documents);
    let mut pairs = count_pairs(&pieces);
    let mut merges = Vec::with_capacity(n_merges);
    while merges.len() < n_merges {
        let best = pairs
            .iter()
            .max_by_key(|(pair, found)| (found.count, Reverse(**pair)));
        let Some((&pair, _)) = best.filter(|(_, found)| found.count >= MIN_COUNT) else {
            break;
        };
        let id = BpeTokenizer::FIRST_MERGE + merges.len() as u32;
        join(&mut pieces, &mut pairs, pair, id);
        merges.push(pair);
    }
    merges
}

/// The distinct pieces of at least two bytes.
fn count_pieces<'a>(documents: impl Iterator<Item = &'a [u8]>) -> Vec<Piece> {
    let mut counts: HashMap<&[u8], u64> = HashMap::new();
    for piece in documents.flat_map(pieces).filter(|piece| piece.len() > 1) {
        *counts.entry(piece).or_default() += 1;
    }
    let symbols = |piece: &[u8]| piece.iter().map(|&byte| u32::from(byte)).collect();
    counts
        .into_iter()
        .map(|(piece, count)| Piece {
            symbols: symbols(piece),
            count,
        })
        .collect()
}

fn count_pairs(pieces: &[Piece]) -> HashMap<Pair, Occurrences> {
    let mut pairs = HashMap::new();
    for (at, piece) in pieces.iter().enumerate() {
        for pair in piece.symbols.windows(2) {
            add(&mut pairs, (pair[0], pair[1]), piece.count, at);
        }
    }
    pairs
}

/// Notes `count` more occurrences of `pair`, in the piece with index `at`.
fn add(pairs: &mut HashMap<Pair, Occurrences>, pair: Pair, count: u64, at: usize) {
    let found = pairs.entry(pair).or_default();
    found.count += count;
    if found.pieces.last() != Some(&at) {
        found.pieces.push(at);
    }
}

/// Notes `count` fewer occurrences of `pair`.
fn remove(pairs: &mut HashMap<Pair, Occurrences>, pair: Pair, count: u64) {
    if let Entry::Occupied(mut found) = pairs.entry(pair) {
        found.get_mut().count -= count;
    }
}

/// Replaces `pair` by `id` wherever it occurs, and brings the counts up to date.
fn join(pieces: &mut [Piece], pairs: &mut HashMap<Pair, Occurrences>, pair: Pair, id: u32) {
    let Some(joined) = pairs.remove(&pair) else {
        return;
    };
    for at in joined.pieces {
        let Piece { symbols, count } = &mut pieces[at];
        let (mut read, mut write) = (0, 0);
        while read < symbols.len() {
            let next = symbols.get(read + 1);
            if next.is_none_or(|&next| (symbols[read], next) != pair) {
                symbols[write] = symbols[read];
                read += 1;
            } else {
                if write > 0 {
                    remove(pairs, (symbols[write - 1], pair.0), *count);
                    add(pairs, (symbols[write - 1], id), *count, at);
                }
                if let Some(&after) = symbols.get(read + 2) {
                    remove(pairs, (pair.1, after), *count);
                    add(pairs, (id, after), *count, at);
                }
                symbols[write] = id;
                read += 2;
            }
            write += 1;
        }
        symbols.truncate(write);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: count all pairs anew for each merge.
    fn train_by_definition(documents: &[Vec<u8>], n_merges: usize) -> Vec<Pair> {
        let all = documents.iter().flat_map(|text| pieces(text));
        let mut pieces: Vec<Vec<u32>> = all
            .map(|piece| piece.iter().map(|&byte| u32::from(byte)).collect())
            .collect();
        let mut merges = Vec::new();
        while merges.len() < n_merges {
            let mut counts: HashMap<Pair, u64> = HashMap::new();
            for pair in pieces.iter().flat_map(|piece| piece.windows(2)) {
                *counts.entry((pair[0], pair[1])).or_default() += 1;
            }
            let best = counts
                .into_iter()
                .max_by_key(|&(pair, count)| (count, Reverse(pair)));
            let Some((pair, _)) = best.filter(|&(_, count)| count >= MIN_COUNT) else {
                break;
            };
            let id = BpeTokenizer::FIRST_MERGE + merges.len() as u32;
            for piece in &mut pieces {
                let mut at = 0;
                while at + 1 < piece.len() {
                    if (piece[at], piece[at + 1]) == pair {
                        piece.splice(at..at + 2, [id]);
                    }
                    at += 1;
                }
            }
            merges.push(pair);
        }
        merges
    }

    proptest! {
        #[test]
        fn counts_kept_up_to_date_equal_counts_made_anew(
            texts in prop::collection::vec("[ab]{0,12}|[a-d' ]{0,40}", 0..6),
        ) {
            let texts: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
            let learned = train_merges(texts.iter().map(Vec::as_slice), 24);
            prop_assert_eq!(learned, train_by_definition(&texts, 24));
        }
    }
}
