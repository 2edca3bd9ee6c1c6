//! The training loop: segments in, parameters out.
//!
//! The batch is split over `replicas`, whose gradients are added in a fixed order. The number of
//! replicas is therefore part of a run's identity, the number of cores is not.

mod config;
mod report;

use std::sync::Arc;

use burn::tensor::Tensor;
use itera_core::{checkpoint::Checkpoint, config::ModelConfig};
use itera_data::{LaneOptions, Lanes, LanesError, Segment, TokenSet};
use thiserror::Error;

use self::report::Figures;
pub use self::{config::TrainConfig, report::StepReport};
use crate::{
    Backend, Predictions,
    average::Average,
    grid::{Grid, RunStep},
    learner::{self, Learner, Learns},
    loss::{self, Distillation, RouterLoss},
    model::{
        Carry, ConvertError, Dropout, LanguageModel, Tokens,
        convert::{values, with_values},
    },
    optimizer::Gradient,
    setting::SettingError,
};

/// Why a run cannot start.
#[derive(Debug, Error)]
pub enum TrainError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The documents do not fill one segment.
    #[error(transparent)]
    Lanes(#[from] LanesError),
}

/// A run in progress.
pub struct Trainer<M: Learns = LanguageModel> {
    pub(crate) learner: Learner<M>,
    pub(crate) lanes: Lanes,
    pub(crate) carries: Vec<M::Carry>,
    /// The average of the weights, for runs that have one.
    pub(crate) average: Option<Average>,
    /// What the teachers of a run predict for its documents.
    predictions: Option<Arc<Predictions>>,
    /// The grid of a run for integers.
    pub(crate) grid: Option<Grid>,
    pub(crate) step: u64,
    pub(crate) config: TrainConfig,
}

/// The input of a replica in a step.
struct Input<C> {
    tokens: Tokens,
    targets: Arc<[u32]>,
    carry: C,
    taught: Option<Distillation>,
    dropout: Dropout,
}

/// The output of a replica beside its gradient.
struct Output<C> {
    figures: Figures,
    carry: C,
}

impl Trainer {
    /// A run of our architecture at its start, which shares `documents` with others.
    ///
    /// # Errors
    /// When a setting is out of its range, or the documents do not fill one segment.
    pub fn new(
        model: &ModelConfig,
        config: TrainConfig,
        documents: impl Into<Arc<TokenSet>>,
        end_of_text: u32,
        backend: Backend,
    ) -> Result<Self, TrainError> {
        let model = LanguageModel::new(model, config.seed, &backend.device().autodiff());
        let mut trainer = Self::of(model, config, documents, end_of_text)?;
        trainer.lay_grid(None);
        Ok(trainer)
    }

    /// Starts from the parameters of a checkpoint instead of random ones. A run for integers keeps the scales of
    /// a checkpoint of such integers.
    ///
    /// # Errors
    /// When the checkpoint breaks its own format.
    ///
    /// # Panics
    /// If the checkpoint has other sizes than the run.
    pub fn start_from(&mut self, checkpoint: &Checkpoint) -> Result<(), ConvertError> {
        assert_eq!(&checkpoint.config, self.model().config(), "sizes differ");
        self.learner.model = LanguageModel::from_checkpoint(checkpoint, &self.model().device())?;
        self.lay_grid(Some(checkpoint));
        Ok(())
    }

    /// Sets what the teachers of a run with [`TrainConfig::distill`] predict for its documents.
    ///
    /// # Panics
    /// If the predictions are those for other documents.
    pub fn teach(&mut self, predictions: impl Into<Arc<Predictions>>) {
        let predictions = predictions.into();
        let positions = self.lanes.documents().positions();
        assert_eq!(predictions.len(), positions, "positions differ");
        self.predictions = Some(predictions);
    }

    /// Takes the path of a card on any device, for tests: the plain tensor operations in place of the
    /// fused operators. A run that has begun starts its lanes from an empty state.
    #[doc(hidden)]
    #[must_use]
    pub fn in_plain_operations(mut self) -> Self {
        let batch = self.config.batch / self.config.replicas;
        let plain = Carry::Plain(self.learner.model.new_paper_state(batch));
        self.carries.fill(plain);
        self
    }

    /// The grid of a run for integers that starts from `checkpoint`.
    fn lay_grid(&mut self, checkpoint: Option<&Checkpoint>) {
        let model = &self.learner.model;
        let precisions = self.config.quantize.as_ref();
        self.grid = precisions.map(|precisions| Grid::new(model, precisions, checkpoint));
    }
}

impl<M: Learns> Trainer<M> {
    /// A run of any architecture at its start, in floats and without a teacher.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub(crate) fn of(
        model: M,
        config: TrainConfig,
        documents: impl Into<Arc<TokenSet>>,
        end_of_text: u32,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let options = LaneOptions {
            end_of_text,
            batch: config.batch,
            length: config.length,
            seed: config.seed,
        };
        let carry = model.new_carry(config.batch / config.replicas);
        Ok(Self {
            lanes: Lanes::new(documents, options)?,
            carries: vec![carry; config.replicas],
            learner: Learner::new(model, &config.optimizer),
            average: config.average.map(Average::new),
            predictions: None,
            grid: None,
            step: 0,
            config,
        })
    }

    /// The model that steps move.
    pub const fn model(&self) -> &M {
        &self.learner.model
    }

    /// The result so far: the model that steps move, or the average over its steps; in a run for
    /// integers, with its weights rounded to them. It comes without autodiff.
    pub fn result(&self) -> M {
        let average = self.average.as_ref().filter(|_| self.step > 0);
        let mut result = average.map_or_else(|| values(self.model()), |a| a.values.clone());
        if let Some(grid) = &self.grid {
            grid.scales.round(&mut result);
        }
        with_values(self.model().valid(), result)
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
    ///
    /// # Panics
    /// If the run has [`TrainConfig::distill`] and [`Trainer::teach`] was not called.
    pub fn step(&mut self) -> StepReport {
        let segment = self.lanes.next_segment();
        let learning_rate = self.config.schedule.rate(self.step);
        let router = self.config.router;
        let inputs = self.inputs(&segment);
        let (gradient, outputs) = learner::gradients(self.model(), inputs, |model, input| {
            objective(model, input, router)
        });
        let factor = 1.0 / outputs.len() as f32;
        let gradient_norm = self.update(gradient, factor, learning_rate);
        self.step += 1;
        if let Some(average) = &mut self.average {
            average.add(self.step, &self.learner.model);
        }
        let figures = self.keep(outputs);
        let mut report = StepReport {
            step: self.step,
            epoch: segment.epoch,
            cross_entropy: 0.0,
            balance: 0.0,
            gradient_norm,
            learning_rate,
            tokens: segment.inputs.len(),
            expert_load: Vec::new(),
        };
        Figures::read(figures, &mut report);
        report
    }

    /// Moves the parameters along `gradient`, times `factor`; in a run for integers, on their grid.
    /// Returns the norm of the gradient.
    fn update(&mut self, gradient: Gradient, factor: f32, learning_rate: f64) -> f32 {
        let optimizer = &self.config.optimizer;
        let learner = &mut self.learner;
        let Some(grid) = &mut self.grid else {
            return learner.update(gradient, factor, optimizer.clip_norm, learning_rate);
        };
        let (before, by_name) = (values(&learner.model), gradient.by_name());
        let norm = learner.update(gradient, factor, optimizer.clip_norm, learning_rate);
        let mut after = values(&learner.model);
        let step = RunStep {
            step: self.step + 1,
            steps: self.config.schedule.steps,
            learning_rate: learning_rate as f32,
        };
        grid.step(&before, &by_name, &mut after, optimizer, step);
        learner.model = with_values(learner.model.clone(), after);
        norm
    }

    /// The part of the segment that each replica reads.
    fn inputs(&self, segment: &Segment) -> Vec<Input<M::Carry>> {
        let batch = self.config.batch / self.config.replicas;
        let rows = batch * self.config.length;
        let input = |(replica, carry): (usize, &M::Carry)| {
            let range = replica * rows..(replica + 1) * rows;
            let tokens = Tokens {
                batch,
                length: self.config.length,
                inputs: segment.inputs[range.clone()].to_vec(),
                resets: segment.resets[range.clone()].into(),
            };
            Input {
                tokens,
                taught: self.taught(&segment.positions[range.clone()]),
                targets: segment.targets[range].into(),
                carry: carry.clone(),
                dropout: self.dropout(replica),
            }
        };
        self.carries.iter().enumerate().map(input).collect()
    }

    /// In a run with teachers, what they predict at these positions.
    fn taught(&self, positions: &[usize]) -> Option<Distillation> {
        let weight = self.config.distill?;
        let predictions = self.predictions.as_ref();
        let predictions = predictions.expect("a run with `distill` has predictions");
        Some(Distillation {
            weight,
            predictions: predictions.at(positions).into(),
        })
    }

    fn dropout(&self, replica: usize) -> Dropout {
        let stream = self.step * self.config.replicas as u64 + replica as u64;
        Dropout::new(self.config.dropout, self.config.seed, stream)
    }

    /// Keeps the carries of the replicas for the next step, and returns their figures.
    fn keep(&mut self, outputs: Vec<Output<M::Carry>>) -> Vec<Figures> {
        let mut figures = Vec::with_capacity(outputs.len());
        for (replica, output) in outputs.into_iter().enumerate() {
            self.carries[replica] = output.carry;
            figures.push(output.figures);
        }
        figures
    }
}

/// Loss of one replica, and what it returns.
fn objective<M: Learns>(
    model: &M,
    input: Input<M::Carry>,
    router: RouterLoss,
) -> (Tensor<1>, Output<M::Carry>) {
    let Input {
        tokens,
        targets,
        mut carry,
        taught,
        mut dropout,
    } = input;
    let output = model.read(&tokens, &mut carry, &mut dropout);
    let visits = output.visits.clone();
    let loss = loss::loss(output, targets, router, taught);
    let figures = Figures {
        cross_entropy: loss.cross_entropy,
        balance: loss.balance,
        visits,
    };
    (loss.total, Output { figures, carry })
}
