//! However long a piece of text is, its tokens take a bounded share of memory.

use allocation_counter::measure;
use itera_core::tokenizer::{BpeTokenizer, Tokenizer};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// Bytes in one piece: just above a power of two, where growing buffers are at their worst.
const LEN: usize = (1 << 20) + 2;

/// Bytes of memory for each byte of the text, to encode it and to learn merges from it.
const MOST: u64 = 8;
const MOST_TO_TRAIN: u64 = 16;

fn check(text: &[u8]) {
    assert_eq!(text.len(), LEN);
    let sample = text.chunks(1000).take(20);
    let tokenizer = Tokenizer::Bpe(BpeTokenizer::train(sample, 600).unwrap());
    let mut ids = Vec::new();
    within(MOST, || tokenizer.encode_into(text, &mut ids).unwrap());
    let ids: Vec<u32> = ids.into_iter().map(u32::from).collect();
    assert_eq!(tokenizer.decode(&ids), text);
    assert!(ids.len() < LEN, "nothing was joined");
}

/// Checks that `work` takes at most so many bytes of memory for each byte of the text.
fn within(most: u64, work: impl FnOnce()) {
    let taken = measure(work).bytes_max as f64 / LEN as f64;
    assert!(taken <= most as f64, "{taken} bytes for each byte");
}

/// The same for a text that is one piece, also when merges are learnt from it.
fn check_piece(text: &[u8]) {
    check(text);
    within(MOST_TO_TRAIN, || {
        BpeTokenizer::train([text].into_iter(), 600).unwrap();
    });
}

#[test]
fn one_letter_repeated() {
    check_piece(&vec![b'a'; LEN]);
}

#[test]
fn a_chromosome() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let base = |_| b"ACGT"[rng.next_u32() as usize % 4];
    check_piece(&(0..LEN).map(base).collect::<Vec<_>>());
}

#[test]
fn pieces_that_do_not_repeat() {
    // Every word is another, so that a cache of pieces without a bound would hold them all.
    let words = (0..LEN as u32).flat_map(|i| format!(" {}", letters(i)).into_bytes());
    check(&words.take(LEN).collect::<Vec<_>>());
}

/// A number in letters.
fn letters(mut number: u32) -> String {
    let mut word = String::new();
    while number > 0 || word.is_empty() {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}
