//! Dynamic evaluation (Krause et al. 2017): a text is scored segment by segment, and the weights
//! learn from each segment once it is scored, never before.
//!
//! An update is one step of the optimiser on the mean likelihood of the segment, then a pull
//! towards the weights of the checkpoint (their equation 5, the same for all parameters). The
//! optimiser's running mean of squared gradients replaces the one that the paper collects on training
//! text.

use std::sync::Arc;

use burn::module::Module as _;
use itera_core::checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};

use crate::{
    Backend, OptimizerConfig,
    learner::{self, Learner},
    loss,
    model::{
        Carry, ConvertError, LanguageModel,
        convert::{self, Values},
    },
    scoring::{before, likelihood},
};

/// How a text is learnt from while it is scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DynamicConfig {
    /// Learning rate of every update; 0 leaves the weights as they are.
    pub learning_rate: f64,
    /// Share of the way back to the weights of the checkpoint that each update goes, 0 to 1.
    pub pull: f64,
}

/// The optimiser of the updates; the pull takes the place of weight decay.
fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    }
}

/// A reader whose weights move with what it reads.
pub struct DynamicScorer {
    learner: Learner,
    carry: Carry,
    config: DynamicConfig,
    /// Weights of the checkpoint, if updates pull back to them.
    home: Option<Values>,
    updates: u64,
}

impl DynamicScorer {
    /// A reader that has read nothing and has the weights of a checkpoint.
    ///
    /// # Errors
    /// When the checkpoint breaks its own format.
    pub fn new(checkpoint: &Checkpoint, config: DynamicConfig) -> Result<Self, ConvertError> {
        let device = Backend::default().device().autodiff();
        let model = LanguageModel::from_checkpoint(checkpoint, &device)?;
        let home = (config.pull > 0.0).then(|| convert::values(&model));
        Ok(Self {
            carry: model.new_carry(1),
            learner: Learner::new(model, &optimizer()),
            config,
            home,
            updates: 0,
        })
    }

    /// Forgets everything read, as where a document starts; the weights stay as they are.
    pub fn reset(&mut self) {
        self.carry = self.learner.model.new_carry(1);
    }

    /// Updates of the weights so far.
    pub const fn updates(&self) -> u64 {
        self.updates
    }

    /// The weights as they are now.
    pub const fn model(&self) -> &LanguageModel {
        &self.learner.model
    }

    /// Negative log-likelihood in nats of each of `segment`, given `context` and everything read
    /// before, by the weights as they are.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`, or the segment is empty.
    pub fn score(&mut self, context: u32, segment: &[u32]) -> Vec<f64> {
        // Without autodiff: Burn keeps a graph until a backward pass consumes it, and none follows.
        let model = self.learner.model.valid();
        let output = model.forward(&before(context, segment), &mut self.carry);
        likelihood(output.logits, segment)
    }

    /// The same, and then one update of the weights on this segment.
    ///
    /// # Panics
    /// As [`DynamicScorer::score`].
    pub fn score_then_learn(&mut self, context: u32, segment: &[u32]) -> Vec<f64> {
        let targets: Arc<[u32]> = segment.into();
        let inputs = before(context, segment);
        let (gradient, mut read) =
            learner::gradients(&self.learner.model, vec![&self.carry], |model, carry| {
                let mut carry = carry.clone();
                let logits = model.forward(&inputs, &mut carry).logits;
                let nats = likelihood(logits.clone().detach(), segment);
                (loss::cross_entropy(logits, targets.clone()), (nats, carry))
            });
        let (nats, carry) = read.swap_remove(0);
        self.carry = carry;
        let clip_norm = optimizer().clip_norm;
        self.learner
            .update(gradient, 1.0, clip_norm, self.config.learning_rate);
        self.pull_home();
        self.updates += 1;
        nats
    }

    /// `w += pull (home - w)` for every parameter.
    fn pull_home(&mut self) {
        let Some(home) = &self.home else {
            return;
        };
        let mut now = convert::values(&self.learner.model);
        for (name, now) in &mut now {
            for (now, home) in now.iter_mut().zip(&home[name]) {
                *now += self.config.pull as f32 * (home - *now);
            }
        }
        self.learner.model = self.learner.model.clone().with_parameters(now);
    }
}
