//! The implementations of the forward pass that can be scored.

#[cfg(feature = "burn")]
mod burn;

use anyhow::Context as _;
use itera_core::{
    checkpoint::Checkpoint,
    kernels::Kernel,
    model::{Model, State, Workspace},
};

use crate::args::EngineArg;

/// A model ready to score; any number of threads may open sessions.
pub(crate) trait Engine: Sync {
    /// The name in results.
    fn name(&self) -> &'static str;

    /// Instruction set, where the engine has a choice.
    fn kernel(&self) -> Option<Kernel> {
        None
    }

    /// A reader that has read nothing.
    fn session(&self) -> Box<dyn Session + '_>;

    /// Negative log-likelihood in nats of each of these documents, summed token by token, each from
    /// a fresh state after `end_of_text`.
    fn documents(&self, documents: &[&[u32]], end_of_text: u32) -> Vec<f64> {
        let mut session = self.session();
        let score = |tokens: &&[u32]| {
            session.reset();
            session.score(end_of_text, tokens).iter().sum()
        };
        documents.iter().map(score).collect()
    }
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
    kernel: Kernel,
) -> anyhow::Result<Box<dyn Engine + Send>> {
    match kind {
        EngineArg::Native => {
            let model = Model::with_kernel(checkpoint, kernel);
            Ok(Box::new(model.context("cannot use the checkpoint")?))
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

    fn kernel(&self) -> Option<Kernel> {
        Some(Self::kernel(self))
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(NativeSession {
            model: self,
            state: self.new_state(),
            work: self.new_workspace(),
        })
    }

    /// All documents together, so that a weight is read once for tokens of several.
    fn documents(&self, documents: &[&[u32]], end_of_text: u32) -> Vec<f64> {
        self.scorer(end_of_text).documents(documents)
    }
}

/// A session of the native engine.
struct NativeSession<'m> {
    model: &'m Model,
    state: State,
    work: Workspace,
}

impl Session for NativeSession<'_> {
    fn reset(&mut self) {
        self.state.reset();
    }

    fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64> {
        self.model
            .score(&mut self.state, &mut self.work, context, tokens)
    }
}
