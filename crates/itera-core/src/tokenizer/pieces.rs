//! Splits text into the pieces that BPE never merges across, as GPT-2 does:
//!
//! ```text
//! 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! ```
//!
//! The pattern needs one character of look-ahead and no more, so that a few functions replace a
//! regular expression engine.

use super::classes::Class;

/// The endings that stay apart from the word before them; no one is a prefix of another.
const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// The pieces of `text`; joined they are `text` again, and none is empty.
///
/// Every maximal invalid UTF-8 sequence is a piece, and the text ends before it as far as the
/// pattern is concerned.
pub(super) fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.utf8_chunks().flat_map(|chunk| {
        let invalid = Some(chunk.invalid()).filter(|bytes| !bytes.is_empty());
        valid_pieces(chunk.valid())
            .map(str::as_bytes)
            .chain(invalid)
    })
}

/// The pieces of valid text.
fn valid_pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let (piece, after) = rest.split_at(first_piece_len(rest)?);
        rest = after;
        Some(piece)
    })
}

/// Bytes of the first piece of `text`; none if `text` is empty.
fn first_piece_len(text: &str) -> Option<usize> {
    let mut chars = text.chars();
    let first = chars.next()?;
    let class = Class::of(first);
    if class != Class::Space {
        return Some(contraction_len(text).unwrap_or_else(|| run_len(text, class)));
    }
    // One space goes with what follows it: ` ?\p{L}+` and its siblings.
    let second = chars.next().map(Class::of);
    if let Some(second) = second.filter(|&second| first == ' ' && second != Class::Space) {
        return Some(1 + run_len(&text[1..], second));
    }
    let run = run_len(text, Class::Space);
    if run == text.len() || second != Some(Class::Space) {
        return Some(run);
    }
    // `\s+(?!\S)`: the last space of the run is left for the piece after it.
    let last = text[..run].chars().next_back()?;
    Some(run - last.len_utf8())
}

/// Bytes of the contraction that `text` starts with.
fn contraction_len(text: &str) -> Option<usize> {
    if !text.starts_with('\'') {
        return None;
    }
    CONTRACTIONS
        .iter()
        .find(|ending| text.starts_with(**ending))
        .map(|ending| ending.len())
}

/// Bytes until the first character of `text` that is not of `class`.
fn run_len(text: &str, class: Class) -> usize {
    text.find(|c| Class::of(c) != class).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &[u8]) -> Vec<String> {
        pieces(text)
            .map(|piece| piece.escape_ascii().to_string())
            .collect()
    }

    fn split_str(text: &str) -> Vec<&str> {
        valid_pieces(text).collect()
    }

    // Every expectation was produced by the `ByteLevel` pre-tokenizer of Hugging Face.
    #[test]
    fn words_take_one_space_and_shed_their_contraction() {
        assert_eq!(
            split_str("Once  upon a time"),
            ["Once", " ", " upon", " a", " time"]
        );
        assert_eq!(
            split_str("it's we'll I'D"),
            ["it", "'s", " we", "'ll", " I", "'", "D"]
        );
        assert_eq!(
            split_str("'tis 'twas !'s"),
            ["'t", "is", " '", "twas", " !'", "s"]
        );
        assert_eq!(
            split_str("x1,000.5!?"),
            ["x", "1", ",", "000", ".", "5", "!?"]
        );
    }

    #[test]
    fn white_space_runs_leave_their_last_character() {
        assert_eq!(split_str("a \n\n b\n"), ["a", " \n\n", " b", "\n"]);
        assert_eq!(split_str("a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(
            split_str("a\u{a0}b \u{3000}c"),
            ["a", "\u{a0}", "b", " ", "\u{3000}", "c"]
        );
        assert_eq!(split_str("  \t"), ["  \t"]);
        assert_eq!(split_str(""), Vec::<&str>::new());
    }

    #[test]
    fn other_scripts_split_by_category() {
        assert_eq!(
            split_str("naïve e\u{301}a"),
            ["naïve", " e", "\u{301}", "a"]
        );
        assert_eq!(split_str("हिन्दी"), ["ह", "ि", "न", "्", "द", "ी"]);
        assert_eq!(split_str("日本語 🦀🦀½Ⅷ"), ["日本語", " 🦀🦀", "½Ⅷ"]);
    }

    #[test]
    fn invalid_utf8_stands_alone() {
        assert_eq!(split(b"ab\xff\xfe c"), ["ab", "\\xff", "\\xfe", " c"]);
        assert_eq!(split(b"a \xe2\x82b"), ["a", " ", "\\xe2\\x82", "b"]);
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_text(text: Vec<u8>) {
            let parts: Vec<&[u8]> = pieces(&text).collect();
            prop_assert!(parts.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(parts.concat(), text);
        }

        #[test]
        fn pieces_of_strings_join_to_the_string(text in "[ a-c'stl\n\u{a0}é1½🦀.]*") {
            prop_assert_eq!(split_str(&text).concat(), text);
        }
    }
}
