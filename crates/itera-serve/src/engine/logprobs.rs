//! What the model thought of the tokens of an answer.

use itera_core::{
    sampling::log_softmax_at,
    tokenizer::{END_OF_TEXT, Tokenizer},
};

/// The most alternatives that may be asked for.
pub(crate) const MAX_TOP: usize = 5;

/// Natural logarithms of probabilities, a value of each list for each token. Nothing predicts the end-of-text
/// that a text starts with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Logprobs {
    pub(crate) tokens: Vec<String>,
    pub(crate) token_logprobs: Vec<Option<f64>>,
    pub(crate) top_logprobs: Vec<Option<Vec<(String, f64)>>>,
    /// Characters of the answer before the token.
    pub(crate) text_offset: Vec<usize>,
}

impl Logprobs {
    /// Adds the end-of-text that a text starts with.
    pub(super) fn push_start(&mut self) {
        self.tokens.push(END_OF_TEXT.to_owned());
        self.token_logprobs.push(None);
        self.top_logprobs.push(None);
        self.text_offset.push(0);
    }

    /// Adds `token`, which `logits` predicted, at a place in the text.
    pub(super) fn push(
        &mut self,
        tokenizer: &Tokenizer,
        token: u32,
        logits: &[f32],
        top: usize,
        offset: usize,
    ) {
        self.tokens.push(name(tokenizer, token));
        let own = log_softmax_at(logits, token as usize);
        self.token_logprobs.push(Some(own));
        let ids = if top == 0 { 0 } else { logits.len() as u32 };
        let mut order: Vec<u32> = (0..ids).collect();
        let by_logit = |a: &u32, b: &u32| {
            let (a, b) = (*a as usize, *b as usize);
            logits[b].total_cmp(&logits[a]).then(a.cmp(&b))
        };
        if top < order.len() {
            order.select_nth_unstable_by(top, by_logit);
        }
        order.truncate(top);
        order.sort_unstable_by(by_logit);
        let alternatives = order.into_iter().map(|id| {
            // The normaliser is the same for all.
            let difference = f64::from(logits[id as usize]) - f64::from(logits[token as usize]);
            (name(tokenizer, id), own + difference)
        });
        self.top_logprobs.push(Some(alternatives.collect()));
        self.text_offset.push(offset);
    }
}

/// A token as text, or `bytes:\xe2\x82` where it is only a part of a character.
fn name(tokenizer: &Tokenizer, token: u32) -> String {
    use std::fmt::Write as _;
    if token == tokenizer.end_of_text() {
        return END_OF_TEXT.to_owned();
    }
    let bytes = tokenizer.token_bytes(token);
    std::str::from_utf8(bytes).map_or_else(
        |_| {
            let mut name = "bytes:".to_owned();
            for byte in bytes {
                // Writing to a string cannot fail.
                let _ = write!(name, "\\x{byte:02x}");
            }
            name
        },
        str::to_owned,
    )
}
