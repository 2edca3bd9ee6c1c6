//! Settings of an adaptation, and the rule that moves its learning rate.

use itera_core::checkpoint::Precision;
use serde::{Deserialize, Serialize};

use super::AdaptError;
use crate::{
    OptimizerConfig,
    setting::{ensure, ensure_counts, ensure_shared},
};

/// Below this share of accepted answers the learning rate rises.
const LOW_ACCURACY: f64 = 0.5;

/// Above this share of accepted answers it falls.
const HIGH_ACCURACY: f64 = 0.8;

/// How much it rises or falls at a time.
const RATE_FACTOR: f64 = 1.5;

/// How to learn from feedback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptConfig {
    /// Highest learning rate of the adaptation, from `min_learning_rate` to `max_learning_rate`.
    pub learning_rate: f64,
    /// The lowest that [`recent_accuracy_rate`] goes.
    pub min_learning_rate: f64,
    /// The highest that [`recent_accuracy_rate`] goes.
    pub max_learning_rate: f64,
    /// Updates of the weights.
    pub steps: usize,
    /// Rows of feedback in a step; a multiple of `replicas`. As many rows of replay go with them if
    /// there is replay text.
    pub batch: usize,
    /// Tokens in a row; several short examples share one, long ones are divided.
    pub length: usize,
    /// Weight of the divergence from the base weights' predictions, mean over the tokens.
    pub kl_weight: f64,
    /// Weight of the unlikelihood of rejected outputs, beside the likelihood of accepted ones.
    pub unlikelihood_weight: f64,
    /// Weight of the likelihood of replayed base text, mean over its tokens.
    pub replay_weight: f64,
    /// The largest permitted rise of the guard documents' bits per byte above the base weights' own, as
    /// a share of them.
    pub max_guard_rise: f64,
    /// The largest permitted factor by which the probability of a token of a probe, the geometric mean over
    /// the probe, may rise above the base weights' own.
    pub max_probe_factor: f64,
    /// Round the candidate to this precision, int8 or int4, and judge the rounded one.
    pub quantize: Option<Precision>,
    /// Seed of the order of examples and of the choice of replay.
    pub seed: u64,
    /// Threads that share a step. Their number is part of the result, the number of cores is not.
    pub replicas: usize,
    /// Optimiser, which starts afresh with every adaptation.
    pub optimizer: OptimizerConfig,
}

impl Default for AdaptConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            min_learning_rate: 1e-7,
            max_learning_rate: 1e-4,
            steps: 32,
            batch: 4,
            length: 128,
            kl_weight: 8.0,
            unlikelihood_weight: 0.5,
            replay_weight: 0.5,
            max_guard_rise: 0.01,
            max_probe_factor: 2.0,
            quantize: None,
            seed: 0,
            replicas: 1,
            optimizer: OptimizerConfig {
                weight_decay: 0.0,
                ..OptimizerConfig::default()
            },
        }
    }
}

impl AdaptConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`AdaptError::Setting`] for the first field that is out of its range.
    pub fn validate(&self) -> Result<(), AdaptError> {
        let (min, max) = (self.min_learning_rate, self.max_learning_rate);
        let rates = min > 0.0 && min <= max && max <= 1.0;
        ensure(
            rates,
            "min_learning_rate",
            min,
            "above 0, at most `max_learning_rate`, and that at most 1",
        )?;
        let rate = (min..=max).contains(&self.learning_rate);
        let range = format!("{min} to {max}, the range of the settings");
        ensure(rate, "learning_rate", self.learning_rate, range)?;
        ensure_counts([
            ("steps", self.steps, 100_000),
            ("replicas", self.replicas, 64),
            ("batch", self.batch, 1024),
            ("length", self.length, 4096),
        ])?;
        ensure_shared(self.batch, self.replicas)?;
        for (setting, value) in [
            ("kl_weight", self.kl_weight),
            ("unlikelihood_weight", self.unlikelihood_weight),
            ("replay_weight", self.replay_weight),
            ("max_guard_rise", self.max_guard_rise),
        ] {
            let fits = value.is_finite() && value >= 0.0;
            ensure(fits, setting, value, "a number of at least 0")?;
        }
        let fits = self.max_probe_factor.is_finite() && self.max_probe_factor >= 1.0;
        let found = self.max_probe_factor;
        ensure(fits, "max_probe_factor", found, "a number of at least 1")?;
        self.optimizer.validate()?;
        let integers = self.quantize.is_none_or(|to| to.max_integer().is_some());
        let found = self.quantize.map_or("none", Precision::name);
        ensure(integers, "quantize", found, "int8 or int4, or none")?;
        Ok(())
    }
}

/// The learning rate of the next adaptation, given the share of recent answers that were accepted,
/// 0 to 1, and the learning rate so far: 1.5 times that if fewer than half of the answers were
/// accepted, that over 1.5 if more than 80 % were, and always in the range of `config`.
pub fn recent_accuracy_rate(config: &AdaptConfig, recent_accuracy: f64, current: f64) -> f64 {
    let rate = if recent_accuracy < LOW_ACCURACY {
        current * RATE_FACTOR
    } else if recent_accuracy > HIGH_ACCURACY {
        current / RATE_FACTOR
    } else {
        current
    };
    // Not `clamp`, which panics where the range is empty.
    rate.max(config.min_learning_rate)
        .min(config.max_learning_rate)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "unchanged and clamped values are exact")]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        AdaptConfig::default().validate().unwrap();
    }

    #[test]
    fn the_rate_follows_accuracy_within_its_range() {
        let config = AdaptConfig::default();
        let next = |accuracy, current| recent_accuracy_rate(&config, accuracy, current);
        assert!(next(0.49, 1e-5) > 1e-5);
        assert_eq!(next(0.5, 1e-5), 1e-5);
        assert_eq!(next(0.8, 1e-5), 1e-5);
        assert!(next(0.81, 1e-5) < 1e-5);
        assert_eq!(next(f64::NAN, 1e-5), 1e-5);
        assert_eq!(next(0.0, 1.0), config.max_learning_rate);
        assert_eq!(next(1.0, 0.0), config.min_learning_rate);
    }

    type Break = fn(&mut AdaptConfig);

    #[test]
    fn what_is_out_of_range_is_named() {
        let cases: [(&str, Break); 14] = [
            ("min_learning_rate", |c| c.min_learning_rate = 0.0),
            ("min_learning_rate", |c| c.max_learning_rate = f64::NAN),
            ("learning_rate", |c| c.learning_rate = 2.0),
            ("learning_rate", |c| c.learning_rate = f64::NAN),
            ("steps", |c| c.steps = 0),
            ("batch", |c| (c.batch, c.replicas) = (3, 2)),
            ("kl_weight", |c| c.kl_weight = -1.0),
            ("max_guard_rise", |c| c.max_guard_rise = f64::INFINITY),
            ("max_probe_factor", |c| c.max_probe_factor = 0.5),
            ("optimizer.beta_1", |c| c.optimizer.beta_1 = 1.0),
            ("optimizer.beta_2", |c| c.optimizer.beta_2 = f32::NAN),
            ("optimizer.weight_decay", |c| {
                c.optimizer.weight_decay = -0.1;
            }),
            ("optimizer.clip_norm", |c| c.optimizer.clip_norm = 0.0),
            ("quantize", |c| c.quantize = Some(Precision::Fp16)),
        ];
        for (name, change) in cases {
            let mut config = AdaptConfig::default();
            change(&mut config);
            let error = config.validate().unwrap_err();
            assert!(
                matches!(&error, AdaptError::Setting(error) if error.setting == name),
                "{name}: {error}"
            );
        }
    }
}
