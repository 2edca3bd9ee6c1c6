//! The implementations of the forward pass that can be scored.

#[cfg(feature = "burn")]
mod burn;

use anyhow::Context as _;
use itera_core::{
    checkpoint::Checkpoint,
    kernels::Kernel,
    model::{Model, Scorer, State, Workspace},
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
    ///
    /// # Errors
    /// The weights cannot be used.
    fn session(&self) -> anyhow::Result<Box<dyn Session + '_>>;
}

/// One reader of one text.
pub(crate) trait Session {
    /// Forgets everything read.
    fn reset(&mut self);

    /// Negative log-likelihood in nats of each of `tokens`, given `context`, the tokens before it
    /// and everything read before. Reads `context` and all tokens but the last, so that a call with
    /// the last token as context goes on.
    fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64>;

    /// Negative log-likelihood in nats of each of these documents, summed token by token, each from
    /// a fresh state after `end_of_text`.
    fn documents(&mut self, documents: &[&[u32]], end_of_text: u32) -> Vec<f64> {
        let score = |tokens: &&[u32]| {
            self.reset();
            self.score(end_of_text, tokens).iter().sum()
        };
        documents.iter().map(score).collect()
    }

    /// Reads tokens that are not scored.
    fn read(&mut self, context: u32, tokens: &[u32]) {
        self.score(context, tokens);
    }

    /// What weights that stay, without n-grams, make of the tokens read since the last call, where the session has others.
    fn take_static_nats(&mut self) -> Option<f64> {
        None
    }
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

    fn session(&self) -> anyhow::Result<Box<dyn Session + '_>> {
        Ok(Box::new(NativeSession {
            model: self,
            state: self.new_state(),
            work: self.new_workspace(),
            scorer: None,
        }))
    }
}

/// A session of the native engine.
struct NativeSession<'m> {
    model: &'m Model,
    state: State,
    work: Workspace,
    /// For documents together.
    scorer: Option<Scorer<'m>>,
}

impl Session for NativeSession<'_> {
    fn reset(&mut self) {
        self.state.reset();
    }

    fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64> {
        self.model
            .score(&mut self.state, &mut self.work, context, tokens)
    }

    /// All documents together, so that a weight is read once for tokens of several.
    fn documents(&mut self, documents: &[&[u32]], end_of_text: u32) -> Vec<f64> {
        let scorer = self
            .scorer
            .get_or_insert_with(|| self.model.scorer(end_of_text));
        scorer.documents(documents)
    }
}
