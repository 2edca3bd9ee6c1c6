//! The command that repeats a run.

use itera_learn::{Decay, MatrixOptimizer, trainer::TrainConfig};

use super::options::FitOptions;
use crate::{TOOL, args::DenseArg};

impl FitOptions {
    /// The command that repeats the run, with every option that shapes it and with the number of
    /// steps in place of minutes.
    pub(crate) fn command(&self, train: &TrainConfig, evaluate_every: u64) -> Vec<String> {
        let TrainConfig {
            schedule,
            optimizer,
            router,
            ..
        } = train;
        let mut words = vec![TOOL.to_owned(), "fit".to_owned()];
        let mut add = |option: &str, value: &dyn ToString| {
            words.extend([format!("--{option}"), value.to_string()]);
        };
        add("dataset", &self.dataset);
        if let Some(valid) = &self.valid {
            add("valid", &valid.display());
        }
        if let Some(preset) = self.preset {
            add("preset", &preset);
        }
        for size in &self.sizes {
            add("size", size);
        }
        if let Some(dense) = self.dense {
            add("dense", &dense.name());
        }
        if let Some(tokenizer) = &self.tokenizer {
            add("tokenizer", tokenizer);
        }
        if let Some(vocab_size) = self.vocab_size {
            add("vocab-size", &vocab_size);
        }
        if let Some(init) = &self.init {
            add("init", init);
        }
        add("seed", &train.seed);
        add("backend", &self.backend);
        add("batch", &train.batch);
        add("length", &train.length);
        add("replicas", &train.replicas);
        add("learning-rate", &schedule.peak);
        add("warmup", &schedule.warmup);
        add("decay", &decay_name(schedule.decay));
        add("floor", &schedule.floor);
        add("optimizer", &optimizer_name(optimizer.matrices));
        add("weight-decay", &optimizer.weight_decay);
        add("beta-2", &optimizer.beta_2);
        add("clip", &optimizer.clip_norm);
        if train.dropout > 0.0 {
            add("dropout", &train.dropout);
        }
        if let Some(average) = train.average {
            add("average", &average);
        }
        add("balance", &router.balance);
        add("z-loss", &router.z);
        if let (Some(teacher), Some(weight)) = (&self.teacher, train.distill) {
            add("teacher", teacher);
            add("distill", &weight);
        }
        if let Some(precisions) = &train.quantize {
            add("quantize", &precisions.usual);
            for (name, precision) in &precisions.overrides {
                add("tensor", &format_args!("{name}={precision}"));
            }
        }
        add("steps", &schedule.steps);
        add("evaluate-every", &evaluate_every);
        if let Some(documents) = self.evaluate_documents {
            add("evaluate-documents", &documents);
        }
        add("output", &self.paths.checkpoint.display());
        words
    }
}

impl DenseArg {
    /// The name on command lines.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Active => "active",
        }
    }
}

const fn decay_name(decay: Decay) -> &'static str {
    match decay {
        Decay::Cosine => "cosine",
        Decay::Trapezoid => "trapezoid",
    }
}

const fn optimizer_name(matrices: MatrixOptimizer) -> &'static str {
    match matrices {
        MatrixOptimizer::AdamW => "adamw",
        MatrixOptimizer::Muon => "muon",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Args, args::Command, fit::options::tests::options};

    /// The command of these arguments gives the same command.
    fn repeats(typed: &str) {
        let first = options(typed).unwrap();
        let command = first.command(&first.train_config(50).unwrap(), 7);
        let args = match Args::try_parse_from(&command).unwrap().command {
            Command::Fit(args) => *args,
            other => panic!("{other:?}"),
        };
        let again = FitOptions::new(args).unwrap();
        let config = again.train_config(50).unwrap();
        assert_eq!(config, first.train_config(50).unwrap());
        assert_eq!(again.evaluate_every, Some(7));
        assert_eq!(again.command(&config, 7), command);
    }

    #[test]
    fn the_command_repeats_the_run() {
        repeats(
            "--steps 50 --vocab-size 300 --decay trapezoid --dense active --clip 0.5 --init x \
             --size d_state=16 --size routing=chosen --optimizer muon --dropout 0.1 --average 0.99",
        );
        repeats(
            "--steps 50 --init x --teacher x --quantize int4 --tensor embedding.weight=int8 \
             --tensor final_norm.weight=fp32",
        );
    }
}
