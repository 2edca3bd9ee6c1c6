//! An adaptation from the first check to the receipt.

use std::{ops::ControlFlow, sync::Arc, time::Instant};

use burn::tensor::Tensor;
use itera_core::checkpoint::Checkpoint;
use itera_data::{Domain, rng};
use rand_chacha::ChaCha8Rng;

use super::{
    AdaptConfig, AdaptError, Adaptation, Material, Step,
    rows::{self, Row},
    verdict::Trial,
};
use crate::{
    Backend, Decay, Schedule,
    fused::{Objective, Term},
    host,
    learner::{self, Learner},
    loss,
    model::{LanguageModel, Tokens},
};

/// Share of the steps in which the learning rate rises.
const WARMUP: usize = 10;

/// Learning rate at the end, as a share of the highest.
const FLOOR: f64 = 0.1;

/// See [`super::adapt`].
pub(super) fn run(
    base: &Checkpoint,
    current: &Checkpoint,
    material: Material<'_>,
    config: &AdaptConfig,
    progress: &mut dyn FnMut(Step) -> ControlFlow<()>,
) -> Result<Adaptation, AdaptError> {
    let started = Instant::now();
    config.validate()?;
    base.validate()?;
    current.validate()?;
    if base.config != current.config || base.tokenizer != current.tokenizer {
        return Err(AdaptError::OtherModel);
    }
    material.validate(&base.config)?;
    let trial = Trial::new(base, current, material, config)?;
    let candidate = train(base, current, material, config, progress)?;
    let mut adaptation = trial.judge(candidate.as_ref())?;
    adaptation.receipt.seconds = started.elapsed().as_secs_f64();
    Ok(adaptation)
}

/// The candidate; `None` if its weights are no longer finite.
fn train(
    base: &Checkpoint,
    current: &Checkpoint,
    material: Material<'_>,
    config: &AdaptConfig,
    progress: &mut dyn FnMut(Step) -> ControlFlow<()>,
) -> Result<Option<Checkpoint>, AdaptError> {
    let device = Backend::default().device();
    let start = LanguageModel::from_checkpoint(current, &device.clone().autodiff())?;
    let mut learner = Learner::new(start, &config.optimizer);
    let teacher = (config.kl_weight > 0.0)
        .then(|| LanguageModel::from_checkpoint(base, &device))
        .transpose()?;
    let schedule = Schedule {
        peak: config.learning_rate,
        floor: FLOOR,
        warmup: config.steps.div_ceil(WARMUP) as u64,
        steps: config.steps as u64,
        decay: Decay::Cosine,
    };
    let mut feed = Feed::new(material, config, base.tokenizer.end_of_text());
    for step in 0..config.steps {
        let batches = feed.next();
        let (gradient, losses) = learner::gradients(&learner.model, batches, |model, batch| {
            objective(model, teacher.as_ref(), &batch)
        });
        let loss = losses.iter().sum::<f32>();
        if !loss.is_finite() {
            return Ok(None);
        }
        let rate = schedule.rate(step as u64);
        learner.update(gradient, 1.0, config.optimizer.clip_norm, rate);
        let done = Step {
            step: step + 1,
            steps: config.steps,
            loss,
        };
        if progress(done).is_break() {
            return Err(AdaptError::Stopped { steps: step + 1 });
        }
    }
    let candidate = learner
        .model
        .to_checkpoint(&current.tokenizer, current.training.clone());
    Ok(candidate.validate().is_ok().then_some(candidate))
}

/// The input of one replica in a step.
struct Batch {
    tokens: Tokens,
    terms: Arc<[Term]>,
}

/// Loss of a batch, as a tensor and as a number.
fn objective(
    model: &LanguageModel,
    teacher: Option<&LanguageModel>,
    batch: &Batch,
) -> (Tensor<1>, f32) {
    let logits = |model: &LanguageModel| {
        let mut carry = model.new_carry(batch.tokens.batch);
        model.forward(&batch.tokens, &mut carry).logits // [rows, vocab_size]
    };
    let op = Objective {
        terms: batch.terms.clone(),
        reference: teacher.map_or_else(Arc::default, |teacher| loss::reference(logits(teacher))),
    };
    let (loss, _) = host::apply(op, [logits(model).into_dispatch()]);
    let loss = Tensor::<1>::from_dispatch(loss);
    let value = loss::scalar(&loss);
    (loss, value)
}

/// The rows of one step after the other.
struct Feed<'a> {
    config: &'a AdaptConfig,
    end_of_text: u32,
    rng: ChaCha8Rng,
    /// All parts of all examples.
    parts: Vec<Row>,
    /// Rows of this pass over the examples that were not read yet.
    pass: Vec<Row>,
    /// Documents that are not empty.
    replay: Vec<&'a Vec<u32>>,
}

impl<'a> Feed<'a> {
    fn new(material: Material<'a>, config: &'a AdaptConfig, end_of_text: u32) -> Self {
        let examples = material.examples.iter();
        let parts = examples.flat_map(|example| {
            rows::parts(
                example,
                end_of_text,
                config.length,
                config.unlikelihood_weight,
            )
        });
        let replay = material.replay.iter().filter(|text| !text.is_empty());
        Self {
            config,
            end_of_text,
            rng: rng(config.seed, Domain::Feedback, 0),
            parts: parts.collect(),
            pass: Vec::new(),
            replay: replay.collect(),
        }
    }

    /// The batches of the next step, one for each replica.
    fn next(&mut self) -> Vec<Batch> {
        let AdaptConfig { batch, length, .. } = *self.config;
        let mut feedback = Vec::new();
        while feedback.len() < batch {
            if self.pass.is_empty() {
                self.pass = rows::pack(self.parts.clone(), length, &mut self.rng);
            }
            feedback.extend(self.pass.pop());
        }
        let mut replay = Vec::new();
        if !self.replay.is_empty() {
            let draw = |_| rows::replay(&self.replay, self.end_of_text, length, &mut self.rng);
            replay = (0..batch).map(draw).collect();
        }
        self.weigh(&mut feedback, &mut replay);
        let share = batch / self.config.replicas;
        let feedback = feedback.chunks(share);
        let mut replay = replay.chunks(share);
        feedback
            .map(|rows| self.batch(rows.iter().chain(replay.next().unwrap_or_default())))
            .collect()
    }

    /// Divides weights by their sums, so that each term of the loss is a mean over the step.
    fn weigh(&self, feedback: &mut [Row], replay: &mut [Row]) {
        let unlikelihood = (self.config.unlikelihood_weight as f32).max(f32::MIN_POSITIVE);
        let terms = || feedback.iter().flat_map(|row| &row.terms);
        let asked = |term: &Term| term.likelihood + term.unlikelihood / unlikelihood;
        let feedback_sum = terms().map(asked).sum::<f32>().max(f32::MIN_POSITIVE);
        let replayed = || replay.iter().flat_map(|row| &row.terms);
        let divergences = terms().chain(replayed()).map(|term| term.divergence);
        let divergence = self.config.kl_weight as f32 / divergences.sum::<f32>();
        let replay_factor = self.config.replay_weight as f32 / (replayed().count().max(1)) as f32;
        let scale = |row: &mut Row, factor: f32| {
            for term in &mut row.terms {
                term.likelihood *= factor;
                term.unlikelihood *= factor;
                term.divergence *= divergence;
            }
        };
        for row in feedback {
            scale(row, 1.0 / feedback_sum);
        }
        for row in replay {
            scale(row, replay_factor);
        }
    }

    fn batch<'r>(&self, rows: impl Iterator<Item = &'r Row>) -> Batch {
        let mut all = Row::default();
        let mut batch = 0;
        for row in rows {
            let mut row = row.clone();
            row.pad(self.config.length, self.end_of_text);
            all.append(&row);
            batch += 1;
        }
        Batch {
            tokens: Tokens {
                batch,
                length: self.config.length,
                inputs: all.inputs,
                resets: all.resets.into(),
            },
            terms: all.terms.into(),
        }
    }
}
