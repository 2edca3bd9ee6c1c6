//! What is done to the logits before a token is drawn: penalties, biases, and tokens that may not come.

use std::collections::HashMap;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Adjustments {
    /// Logits of tokens of the prompt and the answer are divided by this if positive, else multiplied (Keskar et
    /// al. 2019); 1 for nothing.
    pub(crate) repetition_penalty: f32,
    /// Taken off the logit of each token that was written (OpenAI).
    pub(crate) presence_penalty: f32,
    /// The same for each time that it was written.
    pub(crate) frequency_penalty: f32,
    /// Added to logits of these tokens.
    pub(crate) bias: Vec<(u32, f32)>,
    /// Only tokens with at least this share of the probability of the likeliest one; 0 for all.
    pub(crate) min_p: f32,
    /// The text does not end before so many tokens.
    pub(crate) min_tokens: usize,
    /// The text does not end by itself.
    pub(crate) ignores_end: bool,
}

impl Default for Adjustments {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            bias: Vec::new(),
            min_p: 0.0,
            min_tokens: 0,
            ignores_end: false,
        }
    }
}

/// The adjustments of one request on its way.
#[derive(Debug)]
pub(super) struct Adjuster {
    asked: Adjustments,
    temperature: f32,
    end_of_text: u32,
    /// How often each token of prompt and answer was written in the answer.
    written: HashMap<u32, u32>,
    adjusted: Vec<f32>,
}

impl Adjuster {
    /// The adjuster of a request with this prompt; none where nothing is asked for.
    pub(super) fn new(
        asked: &Adjustments,
        temperature: f32,
        end_of_text: u32,
        prompt: &[u32],
    ) -> Option<Self> {
        (*asked != Adjustments::default()).then(|| Self {
            asked: asked.clone(),
            temperature,
            end_of_text,
            written: prompt.iter().map(|&token| (token, 0)).collect(),
            adjusted: Vec::new(),
        })
    }

    /// The logits to draw token number `tokens` of the answer from, which counts from 0.
    pub(super) fn adjust(&mut self, logits: &[f32], tokens: usize) -> &[f32] {
        self.adjusted.clear();
        self.adjusted.extend_from_slice(logits);
        for (&token, &count) in &self.written {
            let logit = &mut self.adjusted[token as usize];
            let penalty = self.asked.repetition_penalty;
            *logit = if *logit > 0.0 {
                *logit / penalty
            } else {
                *logit * penalty
            };
            if count > 0 {
                *logit -= self.asked.presence_penalty + self.asked.frequency_penalty * count as f32;
            }
        }
        for &(token, bias) in &self.asked.bias {
            self.adjusted[token as usize] += bias;
        }
        if self.asked.ignores_end || tokens < self.asked.min_tokens {
            self.adjusted[self.end_of_text as usize] = f32::NEG_INFINITY;
        }
        if self.asked.min_p > 0.0 && self.temperature > 0.0 {
            // exp((logit - max) / temperature) >= min_p
            let max = self
                .adjusted
                .iter()
                .copied()
                .fold(f32::NEG_INFINITY, f32::max);
            let least = max + self.temperature * self.asked.min_p.ln();
            for logit in self.adjusted.iter_mut().filter(|logit| **logit < least) {
                *logit = f32::NEG_INFINITY;
            }
        }
        &self.adjusted
    }

    /// A token was written.
    pub(super) fn note(&mut self, token: u32) {
        *self.written.entry(token).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(asked: &Adjustments, written: &[u32]) -> Vec<f32> {
        let mut adjuster = Adjuster::new(asked, 1.0, 3, &[0]).unwrap();
        for token in written {
            adjuster.note(*token);
        }
        adjuster
            .adjust(&[2.0, -1.0, 0.5, 1.0], written.len())
            .to_vec()
    }

    #[test]
    fn nothing_asked_for_is_nothing_done() {
        assert!(Adjuster::new(&Adjustments::default(), 1.0, 3, &[0]).is_none());
    }

    #[test]
    fn penalties_are_those_of_their_authors() {
        let asked = Adjustments {
            repetition_penalty: 2.0,
            presence_penalty: 0.25,
            frequency_penalty: 0.5,
            ..Adjustments::default()
        };
        // The prompt's token 0 is divided, the written token 1 multiplied and penalised twice.
        assert_eq!(adjusted(&asked, &[1, 1]), [1.0, -3.25, 0.5, 1.0]);
    }

    #[test]
    fn the_end_waits_and_unlikely_tokens_never_come() {
        let waits = Adjustments {
            min_tokens: 2,
            ..Adjustments::default()
        };
        assert_eq!(adjusted(&waits, &[1])[3..], [f32::NEG_INFINITY]);
        assert_eq!(adjusted(&waits, &[1, 1])[3..], [1.0]);
        let likely = Adjustments {
            min_p: 0.3,
            bias: vec![(1, 2.5)],
            ..Adjustments::default()
        };
        // exp(0.5 - 2) is 0.22, exp(1 - 2) is 0.37.
        assert_eq!(adjusted(&likely, &[]), [2.0, 1.5, f32::NEG_INFINITY, 1.0]);
    }
}
