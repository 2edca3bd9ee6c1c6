//! Tokens to text that may be shown: whole characters, and nothing that a stop text takes back.

use itera_core::text::unfinished;

/// The answer as it grows.
#[derive(Debug)]
pub(super) struct TextBuilder {
    stop: Vec<Vec<u8>>,
    /// Bytes that are not text yet: an unfinished character, or what may be the start of a stop text.
    held: Vec<u8>,
    /// All text so far; a client that adds up the pieces has the same.
    text: String,
    /// Where the text begins that no piece has brought yet.
    shown: usize,
}

impl TextBuilder {
    pub(super) fn new(stop: Vec<String>) -> Self {
        Self {
            stop: stop.into_iter().map(String::into_bytes).collect(),
            held: Vec::new(),
            text: String::new(),
            shown: 0,
        }
    }

    /// Adds text that no stop text is looked for in: a prompt that is repeated. Returns its bytes as text.
    pub(super) fn begin_with(&mut self, prompt: &[u8]) -> usize {
        self.text.push_str(&String::from_utf8_lossy(prompt));
        self.text.len()
    }

    /// Adds the bytes of a token; true if they complete a stop text, which ends the answer before it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        self.held.extend_from_slice(bytes);
        // Bytes before `held` are no start of a stop text, or they would have been held.
        let ends = self.stop.iter().filter_map(|stop| find(&self.held, stop));
        if let Some(at) = ends.min() {
            self.held.truncate(at);
            self.finish();
            return true;
        }
        let free = self.held.len() - self.may_become_stop();
        let whole = free - unfinished(&self.held[..free]);
        self.release(whole);
        false
    }

    /// No more tokens: what was held is text.
    pub(super) fn finish(&mut self) {
        self.release(self.held.len());
    }

    /// The text since the last call.
    pub(super) fn piece(&mut self) -> String {
        let piece = self.text[self.shown..].to_owned();
        self.shown = self.text.len();
        piece
    }

    /// Characters of all text, with held bytes counted as they would be shown now.
    pub(super) fn characters(&self) -> usize {
        self.text.chars().count() + String::from_utf8_lossy(&self.held).chars().count()
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn release(&mut self, bytes: usize) {
        let text = String::from_utf8_lossy(&self.held[..bytes]);
        self.text.push_str(&text);
        self.held.drain(..bytes);
    }

    /// Length of the longest end of `held` that a stop text begins with.
    fn may_become_stop(&self) -> usize {
        let longest = |stop: &Vec<u8>| {
            let most = self.held.len().min(stop.len() - 1);
            let fits = |&len: &usize| self.held.ends_with(&stop[..len]);
            (1..=most).rev().find(fits).unwrap_or(0)
        };
        self.stop.iter().map(longest).max().unwrap_or(0)
    }
}

/// Where `needle`, which is not empty, begins in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(stop: &[&str], tokens: &[&[u8]]) -> (Vec<String>, bool) {
        let mut text = TextBuilder::new(stop.iter().map(|s| (*s).to_owned()).collect());
        let mut pieces = Vec::new();
        let mut stopped = false;
        for token in tokens {
            stopped = text.push(token);
            pieces.push(text.piece());
            if stopped {
                break;
            }
        }
        text.finish();
        pieces.push(text.piece());
        assert_eq!(pieces.concat(), text.into_text());
        (pieces, stopped)
    }

    #[test]
    fn characters_are_shown_when_they_are_whole() {
        let (shown, _) = pieces(&[], &[b"a\xc3", b"\xa9", b"\xf0\x9f", b"\x98", b"\x80!"]);
        assert_eq!(shown, ["a", "é", "", "", "😀!", ""]);
    }

    #[test]
    fn bytes_that_are_no_text_become_replacement_characters() {
        let (shown, _) = pieces(&[], &[b"\xff\xc3", b"a\xe2\x82"]);
        assert_eq!(shown, ["\u{fffd}", "\u{fffd}a", "\u{fffd}"]);
    }

    #[test]
    fn a_stop_text_is_never_shown_even_if_tokens_divide_it() {
        let (shown, stopped) = pieces(&["\n\n", "END"], &[b"one\n", b"two E", b"N", b"D three"]);
        assert!(stopped);
        assert_eq!(shown, ["one", "\ntwo ", "", "", ""]);
        let (shown, stopped) = pieces(&["END"], &[b"E", b"N", b"EN", b"x"]);
        assert!(!stopped);
        assert_eq!(shown, ["", "", "EN", "ENx", ""]);
    }
}
