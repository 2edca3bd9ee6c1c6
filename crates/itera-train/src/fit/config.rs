//! What shapes a training run, as it is typed, recorded and typed again.

mod command;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, ensure};
use clap::ValueEnum;
use itera_core::{
    checkpoint::Precision,
    config::{ModelConfig, Preset},
    quant::Precisions,
};
use itera_data::Dataset;
use itera_learn::{
    Backend, Decay, MatrixOptimizer, OptimizerConfig, RouterLoss, Schedule, SettingError,
    trainer::TrainConfig,
};
use serde::Serialize;

use self::command::{as_typed, as_typed_if_any, by_name};
use super::size::{SizeArg, model_config};
use crate::{
    args::{TensorArg, utf8_path},
    tokenizer::TokenizerSource,
};

/// Steps of the warm-up by default, in a long run.
const WARMUP: u64 = 200;

/// Highest learning rate by default, in a run for floats and in one for integers.
const RATE: f64 = 4e-3;
const RATE_FOR_INTEGERS: f64 = 0.1;

/// Weight decay by default in a run for floats. In one for integers there is none: at the learning rates of steps that are
/// measured in integers it would shrink the weights to few of them.
const WEIGHT_DECAY: f32 = 0.05;

/// Weight of the teachers by default.
const DISTILL: f32 = 0.9;

/// Evaluations of a whole run by default.
const EVALUATIONS: u64 = 20;

/// Decay of the mean of the gradient.
const BETA_1: f32 = 0.9;

/// More tokens in a step are a typing error.
const MAX_SEGMENT: usize = 1 << 18;

/// Every option that shapes a run. A field here is all that a new one needs on the command line and in
/// the recorded command.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct RunConfig {
    /// wikitext2, tinystories, sample, or a text file.
    #[arg(long, value_name = "NAME|PATH")]
    #[serde(serialize_with = "as_typed")]
    pub(crate) dataset: Dataset,
    /// Text file to evaluate on [default: the validation split; of a single text the last tenth of
    /// its documents].
    #[arg(long, value_name = "PATH", value_parser = utf8_path())]
    pub(crate) valid: Option<PathBuf>,
    /// Size of the model: micro, nano, tiny or test [default: the sizes of --init].
    #[arg(long, required_unless_present = "init")]
    #[serde(serialize_with = "as_typed_if_any")]
    pub(crate) preset: Option<Preset>,
    /// Another size than the preset's, by its name in a checkpoint's config, or routing=chosen, where
    /// the weights of the experts that a token visits sum to one; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "preset")]
    pub(crate) size: Vec<SizeArg>,
    /// Train the model without routing that has as many parameters in all, or per token.
    #[arg(long, value_name = "SIZE", requires = "preset")]
    pub(crate) dense: Option<DenseArg>,
    /// bpe, char, bytes, or a file written by the subcommand `tokenizer` [default: that of --init,
    /// else bpe].
    #[arg(long, value_name = "KIND|FILE.json")]
    #[serde(serialize_with = "as_typed_if_any")]
    pub(crate) tokenizer: Option<TokenizerSource>,
    /// Entries of a bpe vocabulary that is trained for the run; that of an --init of the same text grows to so
    /// many [default: that of --init, else 512].
    #[arg(long, value_name = "N")]
    pub(crate) vocab_size: Option<usize>,
    /// Share of the training documents in which a blank line takes the place of each line end, so that the model
    /// knows both forms; documents with blank lines stay as they are.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) blank_lines: f64,
    /// Seed of the initial parameters and of the order of the documents.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Checkpoint to start from, by name or path, in place of random weights; of the same tokenizer
    /// or a smaller bpe vocabulary and, where --preset is given, of its sizes.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) init: Option<String>,
    /// Burn backend: flex or ndarray, or in a build with the feature `cuda` an NVIDIA card: cuda.
    #[arg(long, default_value = "flex")]
    pub(crate) backend: Backend,
    /// Documents read side by side, a multiple of --replicas.
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Tokens of each of them per step; the state is carried on to the next step.
    #[arg(long, value_name = "N", default_value_t = 256)]
    length: usize,
    /// Threads that share a batch [default: 2, on a card 1].
    #[arg(long, value_name = "N")]
    replicas: Option<usize>,
    /// Highest learning rate; with --quantize in integers, so that it suits large and small weights
    /// [default: 0.004, with --quantize 0.1].
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// Steps until the highest learning rate [default: 200, or a tenth of the steps if that is
    /// less].
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// Shape of the learning rate after the warm-up.
    #[arg(long, default_value = "cosine", value_parser = by_name::<Decay>(&[
        ("cosine", "Half a cosine"),
        ("trapezoid", "Constant, then linear over the last part"),
    ]))]
    decay: Decay,
    /// Learning rate at the end, as a share of the highest.
    #[arg(long, value_name = "X", default_value_t = 0.02)]
    floor: f64,
    /// What moves the projections; everything else is moved by adamw.
    #[arg(long, default_value = "adamw", value_parser = by_name::<MatrixOptimizer>(&[
        ("adamw", "The same"),
        ("muon", "Steps whose singular values are all alike"),
    ]))]
    optimizer: MatrixOptimizer,
    /// Weight decay of the projections, per unit of learning rate [default: 0.05, with --quantize 0].
    #[arg(long, value_name = "X")]
    weight_decay: Option<f32>,
    /// Second moment of the optimiser: how much of the old is kept at each step.
    #[arg(long, value_name = "X", default_value_t = 0.99)]
    beta_2: f32,
    /// Gradients of a larger norm are scaled down to this one.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    clip: f32,
    /// Probability that an output of a layer is dropped on its way to the residual stream.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    dropout: f32,
    /// Make the result an exponential average of the weights over the steps, of which each step keeps
    /// this share, for example 0.999.
    #[arg(long, value_name = "X")]
    average: Option<f32>,
    /// Weight of the loss that balances the experts.
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    balance: f32,
    /// Weight of the loss that keeps the router's logits small.
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    z_loss: f32,
    /// Checkpoint to learn from beside the text, by name or path; of the same tokenizer. It may be
    /// larger, or with --quantize the very model that is trained on. May be repeated: the mean of the
    /// teachers' probabilities counts. They read the whole text before the first step, and the run keeps
    /// 64 bytes of memory for each token.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) teacher: Vec<String>,
    /// Weight of what the teachers predict against what the text says, above 0 and at most 1
    /// [default: 0.9].
    #[arg(long, value_name = "X", requires = "teacher")]
    distill: Option<f32>,
    /// Train for integer weights: each step draws the weights to multiples of their scales, ever
    /// harder; evaluations see them rounded. The scales of an --init of such integers stay as they
    /// are. The checkpoint holds what the integers stand for; `quantize --method search
    /// --calibration-tokens 0` makes the file of integers.
    #[arg(long, value_name = "PRECISION", value_parser = by_name::<Precision>(&[
        ("int8", "8-bit integers"),
        ("int4", "4-bit integers"),
    ]))]
    quantize: Option<Precision>,
    /// Another precision for one tensor of a run with --quantize; may be repeated, and be said to
    /// `quantize` too.
    #[arg(long, value_name = "NAME=PRECISION", requires = "quantize")]
    tensor: Vec<TensorArg>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) budget: Budget,
    /// Steps between two evaluations, 0 for none at all [default: a twentieth of the run].
    #[arg(long, value_name = "N")]
    pub(crate) evaluate_every: Option<u64>,
    /// Documents of an evaluation during the run [default: about 100 kB of them]; the last
    /// evaluation reads all.
    #[arg(long, value_name = "N")]
    pub(crate) evaluate_documents: Option<usize>,
}

/// How long to train.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[group(required = true, multiple = false)]
pub(crate) struct Budget {
    /// Optimiser steps.
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,
    /// Minutes of training, evaluations not counted. The number of steps is fixed at the start,
    /// from the speed of a few trial steps.
    #[arg(long, value_name = "M")]
    pub(crate) minutes: Option<f64>,
}

/// What the dense twin has in common with the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DenseArg {
    /// The number of all parameters.
    Total,
    /// The number of parameters that one token visits.
    Active,
}

impl RunConfig {
    /// Checks all that can be checked without the text, and decides on the tokenizer.
    pub(crate) fn checked(mut self) -> anyhow::Result<Self> {
        self.check()?;
        let is_that_of_init = self.init.is_some() && self.vocab_size.is_none();
        if self.tokenizer.is_none() && !is_that_of_init {
            self.tokenizer = Some(TokenizerSource::BPE);
        }
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.check_vocab_size(self.vocab_size)?;
            if let (Some(_), Some(vocab_size)) =
                (self.preset, tokenizer.vocab_size(self.vocab_size))
            {
                self.model_config(vocab_size)?;
            }
        }
        // Of a run of so many minutes the steps are not known yet.
        self.train_config(self.budget.steps.unwrap_or(u64::MAX))?;
        Ok(self)
    }

    /// What the trainer does not check.
    fn check(&self) -> anyhow::Result<()> {
        let Self { batch, length, .. } = *self;
        let Budget { steps, minutes } = self.budget;
        let (replicas, blank_lines) = (self.replicas(), self.blank_lines);
        ensure!(
            steps != Some(0) && minutes.is_none_or(|m| m > 0.0 && m.is_finite()),
            "the run has no step; give more with `--steps` or `--minutes`"
        );
        ensure!(
            self.evaluate_documents != Some(0),
            "`--evaluate-documents` is 0, expected at least 1"
        );
        ensure!(
            (0.0..=1.0).contains(&blank_lines),
            "`--blank-lines` is {blank_lines}, expected from 0 to 1"
        );
        ensure!(
            self.backend.is_host() || replicas == 1,
            "`--replicas` is {replicas}, but a card reads the whole batch at once; leave it out"
        );
        ensure!(
            batch.saturating_mul(length) <= MAX_SEGMENT,
            "`--batch` {batch} times `--length` {length} are more than {MAX_SEGMENT} tokens a step; give less"
        );
        ensure!(
            self.quantize.is_none() || self.optimizer == MatrixOptimizer::AdamW,
            "`--quantize` measures the steps of adamw in integers; leave out `--optimizer`"
        );
        Ok(())
    }

    /// Sizes of the model for a vocabulary.
    pub(crate) fn model_config(&self, vocab_size: usize) -> anyhow::Result<ModelConfig> {
        let preset = self
            .preset
            .context("the size of the model is missing; give it with `--preset`")?;
        model_config(preset, &self.size, self.dense, vocab_size)
    }

    fn replicas(&self) -> usize {
        let usual = if self.backend.is_host() { 2 } else { 1 };
        self.replicas.unwrap_or(usual)
    }

    fn rate(&self) -> f64 {
        self.learning_rate.unwrap_or(match self.quantize {
            None => RATE,
            Some(_) => RATE_FOR_INTEGERS,
        })
    }

    fn weight_decay(&self) -> f32 {
        self.weight_decay.unwrap_or(match self.quantize {
            None => WEIGHT_DECAY,
            Some(_) => 0.0,
        })
    }

    fn warmup(&self, steps: u64) -> u64 {
        self.warmup.unwrap_or(WARMUP.min(steps / 10))
    }

    fn distill(&self) -> Option<f32> {
        let has_teacher = !self.teacher.is_empty();
        has_teacher.then(|| self.distill.unwrap_or(DISTILL))
    }

    /// Steps between two evaluations of a run of `steps` steps; 0 for none.
    pub(crate) fn evaluate_every(&self, steps: u64) -> u64 {
        self.evaluate_every.unwrap_or(steps.div_ceil(EVALUATIONS))
    }

    /// Precisions that are trained for, if any are.
    pub(crate) fn precisions(&self) -> Option<Precisions> {
        Some(Precisions {
            usual: self.quantize?,
            overrides: TensorArg::overrides(&self.tensor),
        })
    }

    /// What the trainer needs for a run of `steps` steps.
    pub(crate) fn train_config(&self, steps: u64) -> anyhow::Result<TrainConfig> {
        let config = TrainConfig {
            batch: self.batch,
            length: self.length,
            replicas: self.replicas(),
            seed: self.seed,
            schedule: Schedule {
                peak: self.rate(),
                floor: self.floor,
                warmup: self.warmup(steps),
                steps,
                decay: self.decay,
            },
            optimizer: OptimizerConfig {
                beta_1: BETA_1,
                beta_2: self.beta_2,
                weight_decay: self.weight_decay(),
                clip_norm: self.clip,
                matrices: self.optimizer,
            },
            router: RouterLoss {
                balance: self.balance,
                z: self.z_loss,
            },
            quantize: self.precisions(),
            distill: self.distill(),
            average: self.average,
            dropout: self.dropout,
        };
        config.validate().map_err(by_option)?;
        Ok(config)
    }
}

/// The message about a setting of the trainer, by the name of its option.
fn by_option(error: SettingError) -> anyhow::Error {
    let SettingError {
        setting,
        found,
        expected,
    } = error;
    let option = match setting.rsplit('.').next().unwrap_or(setting) {
        "peak" => "learning-rate".to_owned(),
        "clip_norm" => "clip".to_owned(),
        "z" => "z-loss".to_owned(),
        name => name.replace('_', "-"),
    };
    anyhow!("`--{option}` is {found}, expected {expected}")
}

#[cfg(test)]
mod tests;
