//! What tokenizers do with text: exact ids, nothing lost, clear refusals.

use std::time::Instant;

use itera_core::tokenizer::{
    BpeTokenizer, BytesTokenizer, CharTokenizer, END_OF_TEXT, Tokenizer, TokenizerError,
    TokenizerKind,
};
use proptest::prelude::*;

/// Trained on by every test here.
const STORY: &str = "\
Once upon a time there was a little girl. She's the girl who had the little red ball.
\"It's the ball,\" the little girl said. Then the café naïvely said it again and again.
";

/// A text whose ids Hugging Face `tokenizers` 0.23.3 gave as well.
const UNUSUAL: &str = "the  girl's café\u{a0}said\n\n 3½ 🦀 e\u{301}<|endoftext|> हि";

fn bpe(vocab_size: usize) -> Tokenizer {
    Tokenizer::Bpe(BpeTokenizer::train([STORY.as_bytes()].into_iter(), vocab_size).unwrap())
}

fn char() -> Tokenizer {
    Tokenizer::Char(CharTokenizer::train(STORY.lines().map(str::as_bytes)).unwrap())
}

fn bytes() -> Tokenizer {
    Tokenizer::Bytes(BytesTokenizer::new())
}

#[test]
fn bytes_are_their_own_ids() {
    let tokenizer = bytes();
    assert_eq!(tokenizer.encode(b"\x00a\xff").unwrap(), [0, 97, 255]);
    assert_eq!(
        (tokenizer.vocab_size(), tokenizer.end_of_text()),
        (257, 256)
    );
}

#[test]
fn merges_come_in_order_of_frequency_then_of_ids() {
    let tokenizer = bpe(270);
    let learned: Vec<&str> = (257..270)
        .map(|id| str::from_utf8(tokenizer.token_bytes(id)).unwrap())
        .collect();
    let expected = [
        "he", " t", " the", " a", "ai", "it", " g", " l", "ir", "le", "tle", "ittle", " gir",
    ];
    assert_eq!(learned, expected);
}

#[test]
fn bpe_gives_the_ids_of_hugging_face() {
    let tokenizer = bpe(290);
    let expected = [
        116, 257, 32, 271, 275, 32, 99, 97, 102, 195, 169, 194, 160, 115, 280, 10, 10, 32, 51, 194,
        189, 32, 240, 159, 166, 128, 32, 101, 204, 129, 60, 124, 101, 110, 100, 111, 102, 116, 101,
        120, 116, 124, 62, 32, 224, 164, 185, 224, 164, 191,
    ];
    assert_eq!(tokenizer.encode(UNUSUAL.as_bytes()).unwrap(), expected);
}

#[test]
fn char_ids_follow_code_points() {
    let documents = [&b"ba"[..], "é b".as_bytes(), "\u{fffd}".as_bytes()];
    let tokenizer = Tokenizer::Char(CharTokenizer::train(documents.into_iter()).unwrap());
    // ' ', 'a', 'b', 'é', unknown, end-of-text
    assert_eq!((tokenizer.vocab_size(), tokenizer.end_of_text()), (6, 5));
    let ids = tokenizer.encode("aé bx\u{fffd}".as_bytes()).unwrap();
    assert_eq!(ids, [1, 3, 0, 2, 4, 4]);
    assert_eq!(tokenizer.decode(&ids), "aé b\u{fffd}\u{fffd}".as_bytes());
}

#[test]
fn bpe_stops_where_no_pair_repeats() {
    let tokenizer = BpeTokenizer::train([&b"abab abc"[..]].into_iter(), 2048).unwrap();
    assert_eq!(tokenizer.merges(), [(97, 98)]);
    assert_eq!(
        BpeTokenizer::train(std::iter::empty(), 300)
            .unwrap()
            .vocab_size(),
        257
    );
}

#[test]
fn documents_do_not_join() {
    let apart = BpeTokenizer::train([&b"a"[..], b"b", b"a", b"b"].into_iter(), 300).unwrap();
    assert_eq!(apart.merges(), []);
}

#[test]
fn sizes_outside_the_range_are_refused() {
    for requested in [0, 256, 2049, usize::MAX] {
        let refused = BpeTokenizer::train([STORY.as_bytes()].into_iter(), requested);
        assert_eq!(refused, Err(TokenizerError::VocabSize { requested }));
    }
}

#[test]
fn char_refuses_what_is_not_utf8_and_says_where() {
    let refused = CharTokenizer::train([&b"fine"[..], b"caf\xe9"].into_iter());
    assert_eq!(
        refused,
        Err(TokenizerError::DocumentNotUtf8 {
            document: 1,
            offset: 3
        })
    );
    let refused = char().encode(b"Once\xff").unwrap_err();
    assert_eq!(refused, TokenizerError::NotUtf8 { offset: 4 });
    assert!(
        refused
            .to_string()
            .starts_with("byte 4 of the text is not valid UTF-8")
    );
    let refused = CharTokenizer::train([&b""[..]].into_iter());
    assert_eq!(refused, Err(TokenizerError::EmptyAlphabet));
}

#[test]
fn end_of_text_never_comes_from_text_and_decodes_to_nothing() {
    for tokenizer in [bytes(), bpe(300), char()] {
        let end = tokenizer.end_of_text();
        let ids = tokenizer.encode(END_OF_TEXT.as_bytes()).unwrap();
        assert!(
            !ids.is_empty() && !ids.contains(&end),
            "{}",
            tokenizer.kind()
        );
        assert_eq!(tokenizer.token_bytes(end), b"");
        let outside = tokenizer.vocab_size() as u32;
        let girl = tokenizer.encode(b"girl").unwrap();
        let marked = [&[end], &girl[..], &[outside, u32::MAX]].concat();
        assert_eq!(tokenizer.decode(&marked), b"girl");
    }
}

#[test]
fn kinds_are_read_by_name() {
    for kind in TokenizerKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert_eq!(
        "BPE".parse::<TokenizerKind>(),
        Err(TokenizerError::UnknownKind("BPE".to_owned()))
    );
    let lossless = [bytes(), char(), bpe(300)].map(|tokenizer| tokenizer.is_lossless());
    assert_eq!(lossless, [true, false, true]);
}

/// Merging by repeated passes over the piece would take 64 times as long.
#[test]
fn a_piece_eight_times_as_long_takes_about_eight_times_as_long() {
    let text = "ab".repeat(80_000);
    let tokenizer =
        Tokenizer::Bpe(BpeTokenizer::train([text.as_bytes()].into_iter(), 300).unwrap());
    let fastest = |text: &str| {
        let encode = || {
            let started = Instant::now();
            let ids = tokenizer.encode(text.as_bytes()).unwrap();
            assert!(ids.len() < 100, "{}", ids.len());
            assert_eq!(tokenizer.decode(&ids), text.as_bytes());
            started.elapsed()
        };
        (0..5).map(|_| encode()).min().unwrap()
    };
    let (short, long) = (fastest(&text[..20_000]), fastest(&text));
    assert!(long < 30 * short, "{short:?} and {long:?}");
}

proptest! {
    #[test]
    fn lossless_tokenizers_return_any_bytes(text: Vec<u8>) {
        for tokenizer in [bytes(), bpe(300)] {
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            prop_assert!(!ids.contains(&tokenizer.end_of_text()));
            prop_assert_eq!(tokenizer.decode(&ids), &text[..]);
        }
    }

    #[test]
    fn lossless_tokenizers_return_any_string(text in "(the|girl|[ 's\n]|\\PC|.){0,40}") {
        for tokenizer in [bytes(), bpe(300)] {
            let ids = tokenizer.encode(text.as_bytes()).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids), text.as_bytes());
        }
    }

    #[test]
    fn char_returns_its_alphabet_and_replaces_the_rest(text in "[a-z é]{0,40}") {
        let tokenizer = char();
        let ids = tokenizer.encode(text.as_bytes()).unwrap();
        let expected: String =
            text.chars().map(|c| if STORY.contains(c) { c } else { '\u{fffd}' }).collect();
        prop_assert_eq!(ids.len(), text.chars().count());
        prop_assert_eq!(tokenizer.decode(&ids), expected.as_bytes());
    }
}
