//! The engine that training uses, for cross-checks of the native one.

use anyhow::Context as _;
use itera_core::checkpoint::Checkpoint;
use itera_learn::{Backend, model::paper::PaperState, scoring::Scorer};

use super::{Engine, Session};

/// The Burn engine with these weights, on its faster backend.
pub(super) fn open(checkpoint: &Checkpoint) -> anyhow::Result<Box<dyn Engine + Send>> {
    let scorer = Scorer::new(checkpoint, Backend::Flex).context("cannot use the checkpoint")?;
    Ok(Box::new(scorer))
}

impl Engine for Scorer {
    fn name(&self) -> &'static str {
        "burn"
    }

    fn session(&self) -> anyhow::Result<Box<dyn Session + '_>> {
        Ok(Box::new(BurnSession {
            scorer: self,
            state: self.new_state(),
        }))
    }
}

struct BurnSession<'s> {
    scorer: &'s Scorer,
    state: PaperState,
}

impl Session for BurnSession<'_> {
    fn reset(&mut self) {
        self.state = self.scorer.new_state();
    }

    fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64> {
        self.scorer.score(&mut self.state, context, tokens)
    }
}
