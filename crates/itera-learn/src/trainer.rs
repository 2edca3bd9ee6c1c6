//! The training loop: segments in, parameters out.
//!
//! The batch is split over `replicas`; each runs forward and backward on its own thread with its
//! own autodiff graph, and their gradients are added in a fixed order. The number of replicas is
//! therefore part of a run's identity, the number of cores is not.

use std::sync::Arc;

use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer},
};
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    config::ModelConfig,
};
use itera_data::{LaneOptions, Lanes, LanesError, Segment};
use serde::{Deserialize, Serialize};

use crate::{
    Backend,
    loss::{self, RouterLoss},
    model::{Carry, ConvertError, LanguageModel, Tokens},
    optimizer::{self, Gradient, OptimizerConfig},
    schedule::Schedule,
};

/// Everything that defines a run, beside the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Sequences per step; a multiple of `replicas`.
    pub batch: usize,
    /// Tokens of each sequence per step; longer documents go on in the next step.
    pub length: usize,
    /// Threads that share the batch.
    pub replicas: usize,
    /// Seed of initial parameters and of the order of documents.
    pub seed: u64,
    /// Learning rate.
    pub schedule: Schedule,
    /// Optimiser.
    pub optimizer: OptimizerConfig,
    /// Router terms of the loss.
    pub router: RouterLoss,
    /// Precision that the model is trained for: every step sees the weights rounded to it, and its
    /// gradient moves the weights that were rounded (the straight-through estimator, Bengio et al.
    /// 2013).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Precision>,
}

/// What one step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Passes over the data, counted from 0.
    pub epoch: u64,
    /// Mean cross-entropy in nats per token.
    pub cross_entropy: f32,
    /// Load-balancing term; 1 when balanced, 0 for a dense model.
    pub balance: f32,
    /// L2 norm of the gradient before clipping.
    pub gradient_norm: f32,
    /// Learning rate.
    pub learning_rate: f64,
    /// Tokens read by the step.
    pub tokens: usize,
    /// Per layer, the share of visits of each expert; empty for a dense model.
    pub expert_load: Vec<Vec<f64>>,
}

/// A run in progress.
pub struct Trainer {
    pub(crate) model: LanguageModel,
    pub(crate) optimizer: ModuleOptimizer,
    pub(crate) lanes: Lanes,
    pub(crate) carries: Vec<Carry>,
    pub(crate) step: u64,
    pub(crate) config: TrainConfig,
}

/// What a replica brings back from a step.
struct Share {
    gradient: Gradient,
    cross_entropy: f32,
    balance: f32,
    visits: Vec<Vec<usize>>,
    carry: Carry,
}

impl Trainer {
    /// A run at its start. `documents` are tokenised, without end-of-text.
    ///
    /// # Errors
    /// When the documents do not fill one segment.
    pub fn new(
        model: &ModelConfig,
        config: TrainConfig,
        documents: Vec<Vec<u32>>,
        end_of_text: u32,
        backend: Backend,
    ) -> Result<Self, LanesError> {
        let options = LaneOptions {
            end_of_text,
            batch: config.batch,
            length: config.length,
            seed: config.seed,
        };
        let lanes = Lanes::new(documents, options)?;
        let optimizer = optimizer::new(&config.optimizer, model);
        let model = LanguageModel::new(model, config.seed, &backend.device().autodiff());
        let carry = model.new_carry(config.batch / config.replicas);
        let carries = vec![carry; config.replicas];
        Ok(Self {
            model,
            optimizer,
            lanes,
            carries,
            step: 0,
            config,
        })
    }

    /// Starts from the parameters of a checkpoint instead of random ones.
    ///
    /// # Errors
    /// When the checkpoint breaks its own format.
    ///
    /// # Panics
    /// If the checkpoint has other sizes than the run.
    pub fn start_from(&mut self, checkpoint: &Checkpoint) -> Result<(), ConvertError> {
        assert_eq!(&checkpoint.config, self.model.config(), "sizes differ");
        self.model = LanguageModel::from_checkpoint(checkpoint, &self.model.device())?;
        Ok(())
    }

    /// The model as trained so far.
    pub const fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// Steps done.
    pub const fn step_count(&self) -> u64 {
        self.step
    }

    /// Settings of the run.
    pub const fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Whether the schedule has come to its end.
    pub const fn is_done(&self) -> bool {
        self.step >= self.config.schedule.steps
    }

    /// One step: read a segment, update the parameters.
    pub fn step(&mut self) -> StepReport {
        let segment = self.lanes.next_segment();
        let learning_rate = self.config.schedule.rate(self.step);
        let rounded = self.config.quantize.map(|to| self.model.rounded(to));
        let shares = self.shares(rounded.as_ref().unwrap_or(&self.model), &segment);
        let count = shares.len() as f32;

        let mut report = StepReport {
            step: self.step + 1,
            epoch: segment.epoch,
            cross_entropy: shares.iter().map(|share| share.cross_entropy).sum::<f32>() / count,
            balance: shares.iter().map(|share| share.balance).sum::<f32>() / count,
            gradient_norm: 0.0,
            learning_rate,
            tokens: segment.inputs.len(),
            expert_load: expert_load(&shares),
        };
        let mut shares = shares.into_iter();
        let first = shares.next().expect("there is at least one replica");
        let (mut gradient, mut carries) = (first.gradient, vec![first.carry]);
        for share in shares {
            gradient.add(&share.gradient);
            carries.push(share.carry);
        }
        let clip_norm = self.config.optimizer.clip_norm;
        report.gradient_norm = gradient.scale_and_clip(1.0 / count, clip_norm);
        let grads = gradient.into_params(&self.model);
        self.model = self
            .optimizer
            .step(learning_rate, self.model.clone(), grads);
        self.carries = carries;
        self.step += 1;
        report
    }

    /// Forward and backward of every replica, each on its own thread.
    fn shares(&self, model: &LanguageModel, segment: &Segment) -> Vec<Share> {
        let batch = self.config.batch / self.config.replicas;
        let rows = batch * self.config.length;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .carries
                .iter()
                .enumerate()
                .map(|(replica, carry)| {
                    let range = replica * rows..(replica + 1) * rows;
                    let tokens = Tokens {
                        batch,
                        length: self.config.length,
                        inputs: segment.inputs[range.clone()].to_vec(),
                        resets: segment.resets[range.clone()].into(),
                    };
                    let targets: Arc<[u32]> = segment.targets[range].into();
                    scope.spawn(move || self.share(model, &tokens, targets, carry.clone()))
                })
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Share>| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        })
    }

    fn share(
        &self,
        model: &LanguageModel,
        tokens: &Tokens,
        targets: Arc<[u32]>,
        mut carry: Carry,
    ) -> Share {
        // A fork has leaves of its own, so that the replicas' graphs stay apart.
        let model = model.clone().fork(&model.device());
        let output = model.forward(tokens, &mut carry);
        let visits = output.visits.clone();
        let loss = loss::loss(output, targets, self.config.router);
        let grads = GradientsParams::from_grads(loss.total.backward(), &model);
        Share {
            gradient: Gradient::collect(&model, grads),
            cross_entropy: loss.cross_entropy,
            balance: loss.balance,
            visits,
            carry,
        }
    }
}

/// Share of the visits of each expert, per layer, over all replicas.
fn expert_load(shares: &[Share]) -> Vec<Vec<f64>> {
    let layers = shares[0].visits.len();
    let sum = |layer: usize, expert: usize| -> usize {
        shares.iter().map(|share| share.visits[layer][expert]).sum()
    };
    let load = |layer: usize| {
        let visits: Vec<usize> = (0..shares[0].visits[layer].len())
            .map(|expert| sum(layer, expert))
            .collect();
        let total = visits.iter().sum::<usize>().max(1) as f64;
        visits
            .into_iter()
            .map(|visits| visits as f64 / total)
            .collect()
    };
    (0..layers).map(load).collect()
}
