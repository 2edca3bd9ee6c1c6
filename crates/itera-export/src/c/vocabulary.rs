//! The tokenizer in C and its constants.

use itera_core::tokenizer::Tokenizer;

use super::array;

const BYTES: &str = include_str!("bytes.c");
const CHAR: &str = include_str!("char.c");
const BPE: &str = include_str!("bpe.c");
const UTF8: &str = include_str!("utf8.c");

/// What C needs of a tokenizer.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    pub(super) code: String,
    /// Bytes of its constants, but for the classes of characters.
    pub(super) bytes: usize,
    pub(super) end_of_text: usize,
    /// Bytes of the longest token.
    pub(super) longest: usize,
}

impl Vocabulary {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let (code, bytes) = match tokenizer {
            Tokenizer::Bpe(bpe) if !bpe.merges().is_empty() => {
                let merges = bpe.merges();
                let pairs = merges
                    .iter()
                    .map(|(left, right)| format!("{{{left}, {right}}}"));
                let merged = array("uint16_t merges[][2]", pairs);
                let count = "#define MERGES (sizeof merges / sizeof merges[0])\n";
                let code = format!("{merged}{count}\n{UTF8}\n{BPE}");
                (code, 4 * merges.len())
            }
            Tokenizer::Char(chars) => {
                let alphabet = chars.alphabet();
                let codes = alphabet.iter().map(|c| u32::from(*c).to_string());
                let code = array("uint32_t alphabet[]", codes);
                (format!("{code}\n{UTF8}\n{CHAR}"), 4 * alphabet.len())
            }
            // Without merges, too, a token is a byte.
            Tokenizer::Bytes(_) | Tokenizer::Bpe(_) => (BYTES.to_owned(), 0),
        };
        let ids = 0..tokenizer.vocab_size() as u32;
        let longest = ids.map(|id| tokenizer.token_bytes(id).len()).max();
        Self {
            code,
            bytes,
            end_of_text: tokenizer.end_of_text() as usize,
            longest: longest.unwrap_or(1),
        }
    }
}
