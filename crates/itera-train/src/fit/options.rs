//! The command line of `fit`, checked.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use itera_core::{config::Preset, quant::Precisions};
use itera_data::Dataset;
use itera_learn::{
    Backend, Decay, MatrixOptimizer, OptimizerConfig, RouterLoss, Schedule, trainer::TrainConfig,
};

use super::{
    paths::Paths,
    size::{SizeArg, model_config},
};
use crate::{
    args::{DecayArg, DenseArg, FitArgs, OptimizerArg},
    tokenizer::TokenizerSource,
};

/// Steps of the warm-up unless told otherwise, in a long run.
const DEFAULT_WARMUP: u64 = 200;

/// Highest learning rate unless told otherwise.
const DEFAULT_RATE: f64 = 4e-3;

/// The same of a run for integers, in integers.
const DEFAULT_RATE_FOR_INTEGERS: f64 = 0.1;

/// Decay of the mean of the gradient.
const BETA_1: f32 = 0.9;

/// More threads than this are a slip of the finger.
const MAX_REPLICAS: usize = 256;

/// Everything about a run that was typed.
#[derive(Debug)]
pub(crate) struct FitOptions {
    pub(crate) dataset: Dataset,
    pub(crate) valid: Option<PathBuf>,
    /// None for the sizes of `init`.
    pub(crate) preset: Option<Preset>,
    pub(crate) sizes: Vec<SizeArg>,
    pub(crate) dense: Option<DenseArg>,
    /// None for that of `init`.
    pub(crate) tokenizer: Option<TokenizerSource>,
    pub(crate) vocab_size: Option<usize>,
    pub(crate) init: Option<String>,
    pub(crate) teacher: Option<String>,
    pub(crate) backend: Backend,
    /// Its number of steps and its warm-up come from `budget` and `warmup`.
    train: TrainConfig,
    warmup: Option<u64>,
    pub(crate) budget: Budget,
    pub(crate) evaluate_every: Option<u64>,
    pub(crate) evaluate_documents: Option<usize>,
    pub(crate) save_every: Duration,
    pub(crate) paths: Paths,
    pub(crate) resume: bool,
    pub(crate) stop_after: Option<u64>,
    pub(crate) quiet: bool,
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Budget {
    Steps(u64),
    Minutes(f64),
}

impl FitOptions {
    /// Checks every argument that can be checked without text, and that the files can be written.
    pub(crate) fn new(args: FitArgs) -> anyhow::Result<Self> {
        let train = train_config(&args)?;
        let budget = match (args.budget.steps, args.budget.minutes) {
            (Some(steps), _) => Budget::Steps(steps),
            (None, minutes) => Budget::Minutes(minutes.unwrap_or_default()),
        };
        let is_positive = match budget {
            Budget::Steps(steps) => steps > 0,
            Budget::Minutes(minutes) => minutes > 0.0 && minutes.is_finite(),
        };
        ensure!(
            is_positive,
            "the run has no step; give more with `--steps` or `--minutes`"
        );
        ensure!(
            args.evaluate_documents != Some(0),
            "`--evaluate-documents` is 0, expected at least 1"
        );
        let save_every = Duration::try_from_secs_f64(60.0 * args.save_every)
            .with_context(|| format!("`--save-every` is {}, expected minutes", args.save_every))?;
        let is_that_of_init = args.init.is_some() && args.vocab_size.is_none();
        let tokenizer = args
            .tokenizer
            .or_else(|| (!is_that_of_init).then_some(TokenizerSource::BPE));
        if let Some(tokenizer) = &tokenizer {
            tokenizer.check_vocab_size(args.vocab_size)?;
            if let (Some(preset), Some(vocab_size)) =
                (args.preset, tokenizer.vocab_size(args.vocab_size))
            {
                model_config(preset, &args.size, args.dense, vocab_size)?;
            }
        }
        let options = Self {
            dataset: args.dataset,
            valid: args.valid,
            preset: args.preset,
            sizes: args.size,
            dense: args.dense,
            tokenizer,
            vocab_size: args.vocab_size,
            init: args.init,
            teacher: args.teacher,
            backend: args.backend,
            train,
            warmup: args.warmup,
            budget,
            evaluate_every: args.evaluate_every,
            evaluate_documents: args.evaluate_documents,
            save_every,
            paths: Paths::new(args.output)?,
            resume: args.resume,
            stop_after: args.stop_after,
            quiet: args.quiet,
        };
        if let Budget::Steps(steps) = budget {
            options.train_config(steps)?;
        }
        Ok(options)
    }

    /// Those of the integers that are trained for, if any are.
    pub(crate) const fn precisions(&self) -> Option<&Precisions> {
        self.train.quantize.as_ref()
    }

    /// Settings of a run of this many steps.
    pub(crate) fn train_config(&self, steps: u64) -> anyhow::Result<TrainConfig> {
        let warmup = self.warmup.unwrap_or(DEFAULT_WARMUP.min(steps / 10));
        ensure!(
            warmup <= steps,
            "`--warmup` is {warmup}, more than the {steps} steps of the run; give fewer"
        );
        let schedule = Schedule {
            warmup,
            steps,
            ..self.train.schedule
        };
        Ok(TrainConfig {
            schedule,
            ..self.train.clone()
        })
    }
}

/// Settings of a run without its number of steps.
fn train_config(args: &FitArgs) -> anyhow::Result<TrainConfig> {
    let (batch, on_host) = (args.batch, args.backend.is_host());
    let replicas = args.replicas.unwrap_or(if on_host { 2 } else { 1 });
    ensure!(args.length > 0, "`--length` is 0, expected at least 1");
    ensure!(
        (1..=MAX_REPLICAS).contains(&replicas),
        "`--replicas` is {replicas}, expected 1 to {MAX_REPLICAS}"
    );
    ensure!(
        on_host || replicas == 1,
        "`--replicas` is {replicas}, but a card reads the whole batch at once; leave it out"
    );
    ensure!(
        batch > 0 && batch % replicas == 0,
        "`--batch` is {batch}, expected a multiple of the {replicas} replicas"
    );
    ensure!(
        args.quantize.is_none() || args.optimizer == OptimizerArg::Adamw,
        "`--quantize` measures the steps of adamw in integers; leave out `--optimizer`"
    );
    let learning_rate = args.learning_rate.unwrap_or(match args.quantize {
        None => DEFAULT_RATE,
        Some(_) => DEFAULT_RATE_FOR_INTEGERS,
    });
    for (option, value, low, high) in [
        ("--learning-rate", learning_rate, f64::MIN_POSITIVE, 1.0),
        ("--floor", args.floor, 0.0, 1.0),
        ("--weight-decay", args.weight_decay.into(), 0.0, 10.0),
        ("--beta-2", args.beta_2.into(), 0.0, 0.999_999),
        ("--distill", args.distill.into(), 1e-6, 1.0),
        ("--dropout", args.dropout.into(), 0.0, 0.99),
        (
            "--average",
            args.average.unwrap_or_default().into(),
            0.0,
            0.999_999,
        ),
        ("--clip", args.clip.into(), 1e-6, f32::MAX.into()),
        ("--balance", args.balance.into(), 0.0, 10.0),
        ("--z-loss", args.z_loss.into(), 0.0, 10.0),
    ] {
        ensure!(
            (low..=high).contains(&value),
            "`{option}` is {value}, expected a number {}",
            range_words(low, high)
        );
    }
    Ok(TrainConfig {
        batch,
        length: args.length,
        replicas,
        seed: args.seed,
        schedule: Schedule {
            peak: learning_rate,
            floor: args.floor,
            warmup: 0,
            steps: 0,
            decay: match args.decay {
                DecayArg::Cosine => Decay::Cosine,
                DecayArg::Trapezoid => Decay::Trapezoid,
            },
        },
        optimizer: OptimizerConfig {
            beta_1: BETA_1,
            beta_2: args.beta_2,
            weight_decay: args.weight_decay,
            clip_norm: args.clip,
            matrices: match args.optimizer {
                OptimizerArg::Adamw => MatrixOptimizer::AdamW,
                OptimizerArg::Muon => MatrixOptimizer::Muon,
            },
        },
        router: RouterLoss {
            balance: args.balance,
            z: args.z_loss,
        },
        quantize: args.quantize.map(|usual| Precisions {
            usual: usual.precision(),
            overrides: args.tensor.iter().cloned().collect(),
        }),
        distill: args.teacher.as_ref().map(|_| args.distill),
        average: args.average,
        dropout: args.dropout,
    })
}

fn range_words(low: f64, high: f64) -> String {
    match (low, high) {
        (low, high) if low > 0.0 && high > 1e3 => "above 0".to_owned(),
        (low, high) if low > 0.0 => format!("above 0 and at most {high}"),
        (_, high) if high < 1.0 => "from 0 to below 1".to_owned(),
        (_, high) => format!("from 0 to {high}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Args, args::Command};

    /// The options of a `micro` run with these arguments more.
    pub(crate) fn options(more: &str) -> anyhow::Result<FitOptions> {
        let line = format!(
            "itera-train fit --dataset sample --preset micro --output x.safetensors {more}"
        );
        match Args::try_parse_from(line.split_whitespace())?.command {
            Command::Fit(args) => FitOptions::new(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_warm_up_is_bounded_by_a_tenth_of_the_run() {
        let warmup = |line: &str, steps| {
            options(line)
                .unwrap()
                .train_config(steps)
                .unwrap()
                .schedule
                .warmup
        };
        assert_eq!(warmup("--steps 9", 9), 0);
        assert_eq!(warmup("--steps 1000", 1000), 100);
        assert_eq!(warmup("--steps 9000", 9000), 200);
        assert_eq!(warmup("--steps 9 --warmup 9", 9), 9);
        assert_eq!(warmup("--minutes 1 --warmup 7", 50), 7);
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, message) in [
            ("--steps 0", "the run has no step"),
            ("--minutes 0", "the run has no step"),
            ("--steps 5 --minutes 1", "cannot be used with"),
            ("", "required"),
            (
                "--steps 5 --batch 5",
                "expected a multiple of the 2 replicas",
            ),
            ("--steps 5 --replicas 0", "`--replicas` is 0"),
            ("--steps 5 --warmup 6", "more than the 5 steps"),
            (
                "--steps 5 --learning-rate 0",
                "expected a number above 0 and at most 1",
            ),
            (
                "--steps 5 --quantize int4 --optimizer muon",
                "leave out `--optimizer`",
            ),
            (
                "--steps 5 --tensor embedding.weight=int8",
                "required arguments were not provided",
            ),
            (
                "--steps 5 --beta-2 1",
                "expected a number from 0 to below 1",
            ),
            ("--steps 5 --clip 0", "expected a number above 0"),
            (
                "--steps 5 --dropout 1",
                "expected a number from 0 to below 1",
            ),
            (
                "--steps 5 --average 1",
                "expected a number from 0 to below 1",
            ),
            ("--steps 5 --size d_model=80", "more than its budget"),
            ("--steps 5 --size width=9", "there is no size `width`"),
            (
                "--steps 5 --tokenizer char --vocab-size 99",
                "leave it out for `char`",
            ),
            (
                "--steps 5 --tokenizer word",
                "no tokenizer is called `word`",
            ),
            (
                "--steps 5 --vocab-size 200",
                "a bpe vocabulary of 200 entries",
            ),
            (
                "--steps 5 --vocab-size 2048",
                "the largest vocabulary that fits has",
            ),
        ] {
            let error = format!("{:#}", options(line).unwrap_err());
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
