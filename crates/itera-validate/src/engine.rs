//! The implementations of the forward pass that can be scored.

#[cfg(feature = "burn")]
mod burn;

use anyhow::Context as _;
use itera_core::{
    checkpoint::Checkpoint,
    model::{Model, State},
};

use crate::args::EngineArg;

/// A model ready to score; any number of threads may open sessions.
pub(crate) trait Engine: Sync {
    /// The name in results.
    fn name(&self) -> &'static str;

    /// A reader that has read nothing.
    fn session(&self) -> Box<dyn Session + '_>;
}

/// One reader of one text.
pub(crate) trait Session {
    /// Forgets everything read.
    fn reset(&mut self);

    /// Negative log-likelihood in nats of each of `tokens`, given `context`, the tokens before it
    /// and everything read before. Reads `context` and all tokens but the last, so that a call with
    /// the last token as context goes on.
    fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64>;
}

/// The engine of this kind with these weights.
pub(crate) fn open(
    kind: EngineArg,
    checkpoint: &Checkpoint,
) -> anyhow::Result<Box<dyn Engine + Send>> {
    match kind {
        EngineArg::Native => {
            let model = Model::from_checkpoint(checkpoint).context("cannot use the checkpoint")?;
            Ok(Box::new(model))
        }
        #[cfg(feature = "burn")]
        EngineArg::Burn => burn::open(checkpoint),
        #[cfg(not(feature = "burn"))]
        EngineArg::Burn => anyhow::bail!(
            "this build has no burn engine; use `--engine native`, or build with `cargo build \
             --release -p itera-validate --features burn`"
        ),
    }
}

impl Engine for Model {
    fn name(&self) -> &'static str {
        "native"
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(NativeSession {
            model: self,
            state: self.new_state(),
        })
    }
}

/// A session of the native engine.
struct NativeSession<'m> {
    model: &'m Model,
    state: State,
}

impl Session for NativeSession<'_> {
    fn reset(&mut self) {
        self.state.reset();
    }

    fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64> {
        self.model.score(&mut self.state, context, tokens)
    }
}
