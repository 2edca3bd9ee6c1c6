//! Scores of the feedback and of the guard documents, by the native engine.

use itera_core::{
    checkpoint::Checkpoint,
    model::{Model, bits_per_byte},
};

use super::{AdaptError, Example, GuardDocument, Probe};

/// Lower bound of `1 - p`, as in training.
const LEAST_COMPLEMENT: f64 = 1e-5;

/// Weights ready to be judged.
pub(super) struct Judge {
    model: Model,
    end_of_text: u32,
}

impl Judge {
    pub(super) fn new(checkpoint: &Checkpoint) -> Result<Self, AdaptError> {
        Ok(Self {
            model: Model::from_checkpoint(checkpoint)?,
            end_of_text: checkpoint.tokenizer.end_of_text(),
        })
    }

    /// Bits per byte of documents, each from a fresh state.
    pub(super) fn bits_per_byte(&self, documents: &[GuardDocument]) -> f64 {
        let bytes: u64 = documents.iter().map(|document| document.bytes).sum();
        let tokens: Vec<&[u32]> = documents
            .iter()
            .map(|document| &document.tokens[..])
            .collect();
        let mut nats = 0.0;
        self.each(&tokens, |_, _, next| nats += next);
        bits_per_byte(nats, bytes as f64)
    }

    /// Loss of the feedback, a weighted mean in nats per output token.
    pub(super) fn feedback_loss(&self, examples: &[Example], unlikelihood: f64) -> f64 {
        let texts: Vec<Vec<u32>> = examples
            .iter()
            .map(|example| [&example.prompt[..], &example.output].concat())
            .collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut loss = 0.0;
        self.each(&texts, |text, position, nats| {
            let example = &examples[text];
            if position < example.prompt.len() {
                return;
            }
            loss += example.weight
                * if example.verdict.is_wanted() {
                    nats
                } else {
                    // 1 - p = -expm1(ln p).
                    -unlikelihood * (-(-nats).exp_m1()).max(LEAST_COMPLEMENT).ln()
                };
        });
        let weight = |example: &Example| example.weight * example.output.len() as f64;
        loss / examples.iter().map(weight).sum::<f64>()
    }

    /// Nats of a token of each probe behind its prompt, the mean over the probe.
    pub(super) fn probes(&self, probes: &[Probe]) -> Vec<f64> {
        let texts: Vec<Vec<u32>> = probes
            .iter()
            .map(|probe| [&probe.prompt[..], &probe.text].concat())
            .collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut sums = vec![0.0; probes.len()];
        self.each(&texts, |text, position, nats| {
            if position >= probes[text].prompt.len() {
                sums[text] += nats;
            }
        });
        let pairs = sums.iter().zip(probes);
        pairs
            .map(|(sum, probe)| sum / probe.text.len() as f64)
            .collect()
    }

    /// Calls `then(text, position, nats)` for every token of `texts`, text by text in order.
    fn each(&self, texts: &[&[u32]], mut then: impl FnMut(usize, usize, f64)) {
        let mut nats = vec![Vec::new(); texts.len()];
        let mut scorer = self.model.scorer(self.end_of_text);
        scorer.tokens(texts, |text, next| nats[text].push(next));
        for (text, nats) in nats.into_iter().enumerate() {
            let positions = nats.into_iter().enumerate();
            positions.for_each(|(position, nats)| then(text, position, nats));
        }
    }
}
