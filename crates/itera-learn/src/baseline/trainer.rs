//! Training of the baseline: the lanes, optimiser and schedule of [`crate::trainer`], without
//! anything carried from segment to segment.

use std::sync::Arc;

use burn::module::Module as _;
use itera_data::{LaneOptions, Lanes, LanesError, Segment, TokenSet};

use super::{Transformer, TransformerConfig};
use crate::{
    Backend,
    learner::{self, Learner},
    loss,
    model::Tokens,
    optimizer,
    trainer::{StepReport, TrainConfig},
};

/// A run in progress.
pub struct Trainer {
    learner: Learner<Transformer>,
    lanes: Lanes,
    step: u64,
    config: TrainConfig,
}

/// Trains a model from random parameters to the end of the schedule. It comes back without
/// autodiff, ready to score. Documents are tokenised, without end-of-text.
///
/// # Errors
/// When the documents do not fill one segment.
///
/// # Panics
/// As [`Trainer::new`].
pub fn train(
    model: &TransformerConfig,
    config: TrainConfig,
    documents: impl Into<Arc<TokenSet>>,
    end_of_text: u32,
    backend: Backend,
    mut on_step: impl FnMut(&StepReport),
) -> Result<Transformer, LanesError> {
    let mut trainer = Trainer::new(model, config, documents, end_of_text, backend)?;
    while !trainer.is_done() {
        on_step(&trainer.step());
    }
    Ok(trainer.trained())
}

impl Trainer {
    /// A run at its start. What the config says of
    /// a router is of no concern here.
    ///
    /// # Errors
    /// When the documents do not fill one segment.
    ///
    /// # Panics
    /// If sequences are longer than the context, sizes do not divide, replicas do not divide the
    /// batch, or the config asks for rounded weights, a teacher, an average or dropout, which the
    /// baseline has not.
    pub fn new(
        model: &TransformerConfig,
        config: TrainConfig,
        documents: impl Into<Arc<TokenSet>>,
        end_of_text: u32,
        backend: Backend,
    ) -> Result<Self, LanesError> {
        assert!(
            model.trains_with(&config),
            "beyond the context, or with what the baseline has not"
        );
        assert!(config.batch.is_multiple_of(config.replicas), "uneven parts");
        let options = LaneOptions {
            end_of_text,
            batch: config.batch,
            length: config.length,
            seed: config.seed,
        };
        let lanes = Lanes::new(documents, options)?;
        let model = Transformer::new(model, config.seed, &backend.device().autodiff());
        // All its matrices decay, and all but the embedding are projections.
        let matrices = model.decaying();
        let optimizer = optimizer::of_groups(&config.optimizer, matrices.clone(), matrices);
        Ok(Self {
            learner: Learner { model, optimizer },
            lanes,
            step: 0,
            config,
        })
    }

    /// The model as trained so far.
    pub const fn model(&self) -> &Transformer {
        &self.learner.model
    }

    /// The same without autodiff: for scoring, where no backward pass would take up the graph.
    pub fn trained(&self) -> Transformer {
        self.learner.model.valid()
    }

    /// Steps done.
    pub const fn step_count(&self) -> u64 {
        self.step
    }

    /// Whether the schedule has come to its end.
    pub const fn is_done(&self) -> bool {
        self.step >= self.config.schedule.steps
    }

    /// One step: read a segment, update the parameters.
    pub fn step(&mut self) -> StepReport {
        let segment = self.lanes.next_segment();
        let learning_rate = self.config.schedule.rate(self.step);
        let (gradient, losses) = learner::gradients(
            &self.learner.model,
            self.parts(&segment),
            |model, (tokens, targets)| {
                let loss = loss::cross_entropy(model.forward(&tokens), targets);
                let value = loss::scalar(&loss);
                (loss, value)
            },
        );
        let count = losses.len() as f32;
        let clip_norm = self.config.optimizer.clip_norm;
        let gradient_norm = self
            .learner
            .update(gradient, 1.0 / count, clip_norm, learning_rate);
        self.step += 1;
        StepReport {
            step: self.step,
            epoch: segment.epoch,
            cross_entropy: losses.iter().sum::<f32>() / count,
            balance: 0.0,
            gradient_norm,
            learning_rate,
            tokens: segment.inputs.len(),
            expert_load: Vec::new(),
        }
    }

    /// The tokens and targets that each replica reads.
    fn parts(&self, segment: &Segment) -> Vec<(Tokens, Arc<[u32]>)> {
        let batch = self.config.batch / self.config.replicas;
        let rows = batch * self.config.length;
        let part = |replica: usize| {
            let range = replica * rows..(replica + 1) * rows;
            let tokens = Tokens {
                batch,
                length: self.config.length,
                inputs: segment.inputs[range.clone()].to_vec(),
                resets: segment.resets[range.clone()].into(),
            };
            (tokens, segment.targets[range].into())
        };
        (0..self.config.replicas).map(part).collect()
    }
}
