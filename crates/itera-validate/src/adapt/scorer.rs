//! The pass over the text.

use anyhow::Context as _;
use itera_core::checkpoint::Checkpoint;
use itera_learn::dynamic::{DynamicConfig, DynamicScorer};
use itera_record::{AdaptationProtocol, ProtocolKind};

use super::Adapted;
use crate::selection::{Documents, widen};

/// Two readers side by side.
struct Pair {
    moving: DynamicScorer,
    staying: DynamicScorer,
}

/// Scores the documents in their order. The first token after an end-of-text token is predicted from
/// that; in the protocol `stream` the end-of-text tokens between documents are read, but neither
/// scored nor learnt from.
pub(super) fn run(
    checkpoint: &Checkpoint,
    (kind, adaptation): (ProtocolKind, &AdaptationProtocol),
    documents: &Documents,
    on_tokens: &dyn Fn(usize),
) -> anyhow::Result<Adapted> {
    let config = DynamicConfig {
        learning_rate: adaptation.learning_rate,
        pull: adaptation.pull,
        ..DynamicConfig::default()
    };
    let open = || DynamicScorer::new(checkpoint, config).context("cannot use the checkpoint");
    let mut pair = Pair {
        moving: open()?,
        staying: open()?,
    };
    let end_of_text = checkpoint.tokenizer.end_of_text();
    let segment = adaptation.segment_tokens as usize;
    let (mut nll_nats, mut static_nll_nats) = (Vec::new(), Vec::new());
    let mut last = None;
    for document in documents.tokens.iter() {
        pair.begin(kind, last, end_of_text);
        let (mut nats, mut static_nats, mut previous) = (0.0, 0.0, end_of_text);
        for tokens in document.chunks(segment) {
            let tokens: Vec<u32> = widen(tokens).collect();
            let (moving, staying) = pair.read(previous, &tokens);
            for (moving, staying) in moving.iter().zip(&staying) {
                nats += moving;
                static_nats += staying;
            }
            previous = tokens[tokens.len() - 1];
            on_tokens(tokens.len());
        }
        nll_nats.push(nats);
        static_nll_nats.push(static_nats);
        last = document.last().map(|&id| u32::from(id));
    }
    Ok(Adapted {
        nll_nats,
        static_nll_nats,
        updates: pair.moving.updates(),
    })
}

impl Pair {
    /// Gets ready for a document; `last` is the last token of the one before.
    fn begin(&mut self, kind: ProtocolKind, last: Option<u32>, end_of_text: u32) {
        for reader in [&mut self.moving, &mut self.staying] {
            match (kind, last) {
                (ProtocolKind::Stream, Some(last)) => {
                    reader.score(last, &[end_of_text]);
                }
                _ => reader.reset(),
            }
        }
    }

    /// Likelihood of a segment by both, each on a thread of its own; then the moving weights learn.
    fn read(&mut self, previous: u32, tokens: &[u32]) -> (Vec<f64>, Vec<f64>) {
        let Self { moving, staying } = self;
        rayon::join(
            || moving.score_then_learn(previous, tokens),
            || staying.score(previous, tokens),
        )
    }
}
