//! How much text there is: the denominators of every figure.

use std::{iter::Sum, ops::Add};

use crate::DocumentRule;

/// Sizes of a piece of text; the sizes of documents add up to the sizes of their corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes.
    pub bytes: u64,
    /// Unicode scalar values. Where the text is not UTF-8, each invalid sequence counts as the one
    /// replacement character that a lossy conversion would put there.
    pub chars: u64,
    /// Words: runs of bytes that are not ASCII white space, and for [`DocumentRule::Article`] one more
    /// per line end, as the word-level literature counts.
    pub words: u64,
}

impl Counts {
    /// Counts one text.
    pub fn of(rule: DocumentRule, text: &[u8]) -> Self {
        let chars = text
            .utf8_chunks()
            .map(|chunk| chunk.valid().chars().count() + usize::from(!chunk.invalid().is_empty()))
            .sum::<usize>();
        let separated = text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .count();
        let line_ends = match rule {
            DocumentRule::Article => text.split(|&byte| byte == b'\n').count() - 1,
            _ => 0,
        };
        Self {
            bytes: text.len() as u64,
            chars: chars as u64,
            words: (separated + line_ends) as u64,
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            chars: self.chars + other.chars,
            words: self.words + other.words,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// Offset of the first byte that is not UTF-8; `None` if all of `text` is.
pub fn first_invalid_utf8(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text)
        .err()
        .map(|error| error.valid_up_to())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_wikitext_include_line_ends() {
        let text = " \n = Été = \n".as_bytes();
        let counts = |words| Counts {
            bytes: 14,
            chars: 12,
            words,
        };
        assert_eq!(Counts::of(DocumentRule::Story, text), counts(3));
        assert_eq!(Counts::of(DocumentRule::Article, text), counts(5));
        assert_eq!(Counts::of(DocumentRule::Story, b""), Counts::default());
    }

    #[test]
    fn invalid_utf8_is_found_and_counted_as_a_lossy_conversion_would() {
        let text = b"ab\xff\xfec\xe2\x82";
        assert_eq!(first_invalid_utf8(text), Some(2));
        assert_eq!(first_invalid_utf8("é".as_bytes()), None);
        let lossy = String::from_utf8_lossy(text).chars().count() as u64;
        assert_eq!(Counts::of(DocumentRule::Story, text).chars, lossy);
    }
}
