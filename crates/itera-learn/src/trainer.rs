//! The training loop: segments in, parameters out.
//!
//! The batch is split over `replicas`, whose gradients are added in a fixed order. The number of
//! replicas is therefore part of a run's identity, the number of cores is not.

use std::sync::Arc;

use burn::{module::Module as _, tensor::Tensor};
use itera_core::{
    checkpoint::Checkpoint,
    config::ModelConfig,
    quant::{Precisions, Scales},
};
use itera_data::{LaneOptions, Lanes, LanesError, Segment, TokenSet};
use serde::{Deserialize, Serialize};

use crate::{
    Backend,
    average::Average,
    grid::{Grid, Moment},
    learner::{self, Learner},
    loss::{self, Lesson, RouterLoss},
    model::{Carry, ConvertError, Dropout, LanguageModel, Tokens},
    optimizer::{Gradient, OptimizerConfig},
    schedule::Schedule,
    teacher::Teacher,
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
    /// Precisions that the model is trained for. The learning rate is then in integers: what a step of
    /// the optimiser moves a weight by is multiplied by the weight's scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Precisions>,
    /// Weight of what the teacher predicts against what the text says, above 0 and at most 1; `None`
    /// without a teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<f32>,
    /// Share of the result that every step keeps, where the result is an exponential average of the
    /// weights over the steps (Polyak & Juditsky 1992) and not the last weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f32>,
    /// Probability that an output of a mixer or of the experts is dropped on its way to the residual
    /// stream; 0 for none.
    #[serde(default)]
    pub dropout: f32,
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

impl StepReport {
    /// Whether loss and gradient are numbers; once they are not, no later step's are.
    pub const fn is_finite(&self) -> bool {
        self.cross_entropy.is_finite() && self.gradient_norm.is_finite()
    }
}

/// A run in progress.
pub struct Trainer {
    pub(crate) learner: Learner,
    pub(crate) lanes: Lanes,
    pub(crate) carries: Vec<Carry>,
    /// The average of the weights, for runs that have one.
    pub(crate) average: Option<Average>,
    pub(crate) teacher: Option<Teacher>,
    /// What the weights are drawn to, in a run for integers; none before its first step.
    pub(crate) grid: Option<Grid>,
    pub(crate) step: u64,
    pub(crate) config: TrainConfig,
}

/// What a replica reads in a step.
struct Part {
    tokens: Tokens,
    targets: Arc<[u32]>,
    carry: Carry,
    /// That of the teacher.
    teacher: Option<Carry>,
    dropout: Option<Dropout>,
}

/// What a replica brings back from a step.
struct Share {
    /// Mean cross-entropy, load-balancing term, and for every layer the visits of each expert.
    figures: Tensor<1>,
    carry: Carry,
    teacher: Option<Carry>,
}

/// What the replicas' shares say together.
struct Figures {
    cross_entropy: f32,
    balance: f32,
    expert_load: Vec<Vec<f64>>,
}

impl Trainer {
    /// A run at its start, which shares `documents` with others.
    ///
    /// # Errors
    /// When the documents do not fill one segment.
    pub fn new(
        model: &ModelConfig,
        config: TrainConfig,
        documents: impl Into<Arc<TokenSet>>,
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
        let device = backend.device().autodiff();
        let learner = Learner::random(model, config.seed, &config.optimizer, &device);
        let carry = learner.model.new_carry(config.batch / config.replicas);
        let carries = vec![carry; config.replicas];
        let average = config.average.map(Average::new);
        Ok(Self {
            learner,
            lanes,
            carries,
            average,
            teacher: None,
            grid: None,
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
        assert_eq!(&checkpoint.config, self.model().config(), "sizes differ");
        self.learner.model = LanguageModel::from_checkpoint(checkpoint, &self.model().device())?;
        Ok(())
    }

    /// Gives the model an output head of its own in place of the embedding: for a comparison, since the
    /// result has no checkpoint.
    pub fn untie_head(&mut self) {
        let seed = self.config.seed;
        self.learner.model = self.learner.model.clone().with_own_head(seed);
    }

    /// Sets the teacher of a run with [`TrainConfig::distill`].
    ///
    /// # Errors
    /// When the checkpoint breaks its own format.
    ///
    /// # Panics
    /// If the teacher has another number of tokens than the model.
    pub fn teach(&mut self, teacher: &Checkpoint) -> Result<(), ConvertError> {
        let (theirs, own) = (&teacher.config, self.model().config());
        assert_eq!(theirs.vocab_size, own.vocab_size, "vocabularies differ");
        let TrainConfig {
            batch, replicas, ..
        } = self.config;
        let device = self.model().device().inner();
        self.teacher = Some(Teacher::new(teacher, &device, replicas, batch / replicas)?);
        Ok(())
    }

    /// The model that steps move.
    pub const fn model(&self) -> &LanguageModel {
        &self.learner.model
    }

    /// The result so far: the model that steps move, or the average over its steps; in a run for
    /// integers, what its integers stand for. It comes without autodiff.
    pub fn result(&self) -> LanguageModel {
        let average = self.average.as_ref().filter(|_| self.step > 0);
        let mut values = average.map_or_else(|| self.model().values(), |a| a.values.clone());
        if let Some(grid) = &self.grid {
            grid.scales.round(&mut values);
        }
        self.model().valid().with_parameters(values)
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
    /// If the run is to have a teacher and [`Self::teach`] was not called.
    pub fn step(&mut self) -> StepReport {
        let segment = self.lanes.next_segment();
        let learning_rate = self.config.schedule.rate(self.step);
        let router = self.config.router;
        let teacher = self.config.distill.map(|weight| {
            let teacher = self.teacher.as_ref();
            (weight, teacher.expect("a run with `distill` has a teacher"))
        });
        let parts = self.parts(&segment);
        let (gradient, shares) = learner::gradients(self.model(), parts, |model, part| {
            objective(model, part, router, teacher)
        });
        let count = shares.len() as f32;
        let gradient_norm = self.update(gradient, 1.0 / count, learning_rate);
        self.step += 1;
        if let Some(average) = &mut self.average {
            average.add(self.step, &self.learner.model);
        }
        let figures = Figures::of(&shares, self.model().config().n_experts);
        let report = StepReport {
            step: self.step,
            epoch: segment.epoch,
            cross_entropy: figures.cross_entropy,
            balance: figures.balance,
            gradient_norm,
            learning_rate,
            tokens: segment.inputs.len(),
            expert_load: figures.expert_load,
        };
        for (replica, share) in shares.into_iter().enumerate() {
            self.carries[replica] = share.carry;
            if let (Some(teacher), Some(carry)) = (&mut self.teacher, share.teacher) {
                teacher.carries[replica] = carry;
            }
        }
        report
    }

    /// Moves the parameters along `gradient`, times `factor`; in a run for integers, on their grid.
    /// Returns the norm of the gradient.
    fn update(&mut self, gradient: Gradient, factor: f32, learning_rate: f64) -> f32 {
        let config = &self.config;
        let learner = &mut self.learner;
        let clip_norm = config.optimizer.clip_norm;
        let Some(precisions) = &config.quantize else {
            return learner.update(gradient, factor, clip_norm, learning_rate);
        };
        let (before, slopes) = (learner.model.values(), gradient.by_name());
        let norm = learner.update(gradient, factor, clip_norm, learning_rate);
        let mut after = learner.model.values();
        let grid = self.grid.get_or_insert_with(|| {
            let scales = Scales::search(learner.model.config(), &before, precisions);
            Grid::new(scales.expect("the precisions are ones of this model"))
        });
        let moment = Moment {
            step: self.step + 1,
            steps: config.schedule.steps,
            learning_rate: learning_rate as f32,
        };
        grid.step(&before, &slopes, &mut after, &config.optimizer, moment);
        learner.model = learner.model.clone().with_parameters(after);
        norm
    }

    /// The part of the segment that each replica reads.
    fn parts(&self, segment: &Segment) -> Vec<Part> {
        let batch = self.config.batch / self.config.replicas;
        let rows = batch * self.config.length;
        let part = |(replica, carry): (usize, &Carry)| {
            let range = replica * rows..(replica + 1) * rows;
            let tokens = Tokens {
                batch,
                length: self.config.length,
                inputs: segment.inputs[range.clone()].to_vec(),
                resets: segment.resets[range.clone()].into(),
            };
            Part {
                tokens,
                targets: segment.targets[range].into(),
                carry: carry.clone(),
                teacher: self.teacher.as_ref().map(|t| t.carries[replica].clone()),
                dropout: self.dropout(replica),
            }
        };
        self.carries.iter().enumerate().map(part).collect()
    }

    fn dropout(&self, replica: usize) -> Option<Dropout> {
        let TrainConfig {
            dropout,
            seed,
            replicas,
            ..
        } = self.config;
        let stream = self.step * replicas as u64 + replica as u64;
        (dropout > 0.0).then(|| Dropout::new(dropout, seed, stream))
    }
}

/// Loss of one replica's part, and what the report wants of it.
fn objective(
    model: &LanguageModel,
    part: Part,
    router: RouterLoss,
    teacher: Option<(f32, &Teacher)>,
) -> (Tensor<1>, Share) {
    let (mut carry, mut teacher_carry) = (part.carry, part.teacher);
    let output = model.forward_dropping(&part.tokens, &mut carry, part.dropout);
    let visits = output.visits.clone().into_iter();
    let lesson = match (teacher, &mut teacher_carry) {
        (Some((weight, teacher)), Some(carry)) => Some(Lesson {
            weight,
            logits: teacher.logits(&part.tokens, carry),
        }),
        _ => None,
    };
    let loss = loss::loss(output, part.targets, router, lesson);
    let figures = [loss.cross_entropy, loss.balance].into_iter().chain(visits);
    let share = Share {
        figures: Tensor::cat(figures.collect(), 0),
        carry,
        teacher: teacher_carry,
    };
    (loss.total, share)
}

impl Figures {
    /// Means over the replicas, and over all of them the share of the visits of each expert.
    fn of(shares: &[Share], n_experts: usize) -> Self {
        let read = |share: &Share| -> Vec<f32> {
            let figures = share.figures.clone().into_data();
            figures.try_into_vec().expect("figures are f32")
        };
        let all: Vec<Vec<f32>> = shares.iter().map(read).collect();
        let sum = |at: usize| all.iter().map(|figures| figures[at]).sum::<f32>();
        let count = shares.len() as f32;
        let visits: Vec<f64> = (2..all[0].len()).map(|at| f64::from(sum(at))).collect();
        let load = |layer: &[f64]| {
            let total = layer.iter().sum::<f64>().max(1.0);
            layer.iter().map(|visits| visits / total).collect()
        };
        Self {
            cross_entropy: sum(0) / count,
            balance: sum(1) / count,
            expert_load: visits.chunks(n_experts).map(load).collect(),
        }
    }
}
