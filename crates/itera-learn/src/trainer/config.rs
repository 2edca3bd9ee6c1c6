//! Settings of a run.

use itera_core::quant::Precisions;
use serde::{Deserialize, Serialize};

use crate::{
    loss::RouterLoss,
    optimizer::OptimizerConfig,
    schedule::Schedule,
    setting::{SettingError, ensure, ensure_counts, ensure_shared},
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
    /// Seed of initial parameters, of the order of documents and of dropout.
    pub seed: u64,
    /// Learning rate.
    pub schedule: Schedule,
    /// Optimiser.
    pub optimizer: OptimizerConfig,
    /// Router terms of the loss.
    pub router: RouterLoss,
    /// Precisions that the model is trained for. The learning rate is then in integers: the step of the
    /// optimiser is multiplied by the scale of each weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Precisions>,
    /// Weight of what teachers predict against the targets of the text, above 0 and at most 1; `None` without
    /// teachers.
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

impl Default for TrainConfig {
    /// A short run in floats, without a teacher.
    fn default() -> Self {
        Self {
            batch: 4,
            length: 24,
            replicas: 1,
            seed: 1,
            schedule: Schedule::default(),
            optimizer: OptimizerConfig::default(),
            router: RouterLoss::default(),
            quantize: None,
            distill: None,
            average: None,
            dropout: 0.0,
        }
    }
}

impl TrainConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), SettingError> {
        ensure_counts([
            ("replicas", self.replicas, 256),
            ("batch", self.batch, 1 << 16),
            ("length", self.length, 1 << 20),
        ])?;
        ensure_shared(self.batch, self.replicas)?;
        self.schedule.validate()?;
        self.optimizer.validate()?;
        let RouterLoss { balance, z } = self.router;
        for (setting, value) in [("router.balance", balance), ("router.z", z)] {
            let fits = (0.0..=10.0).contains(&value);
            ensure(fits, setting, value, "0 to 10")?;
        }
        if let Some(weight) = self.distill {
            let fits = (1e-6..=1.0).contains(&weight);
            ensure(fits, "distill", weight, "above 0, at most 1")?;
        }
        for (setting, share, most) in [
            ("average", self.average.unwrap_or(0.0), 0.999_999),
            ("dropout", self.dropout, 0.99),
        ] {
            let fits = (0.0..=most).contains(&share);
            ensure(fits, setting, share, "from 0 to below 1")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Break = fn(&mut TrainConfig);

    #[test]
    fn settings_out_of_range_are_named() {
        TrainConfig::default().validate().unwrap();
        let cases: [(&str, Break); 14] = [
            ("replicas", |c| c.replicas = 0),
            ("batch", |c| c.batch = 0),
            ("batch", |c| (c.batch, c.replicas) = (3, 2)),
            ("length", |c| c.length = usize::MAX),
            ("schedule.peak", |c| c.schedule.peak = f64::NAN),
            ("schedule.floor", |c| c.schedule.floor = -0.1),
            ("schedule.warmup", |c| {
                c.schedule.warmup = c.schedule.steps + 1;
            }),
            ("optimizer.beta_1", |c| c.optimizer.beta_1 = 1.0),
            ("optimizer.weight_decay", |c| {
                c.optimizer.weight_decay = f32::INFINITY;
            }),
            ("optimizer.clip_norm", |c| c.optimizer.clip_norm = 0.0),
            ("router.z", |c| c.router.z = -1.0),
            ("distill", |c| c.distill = Some(0.0)),
            ("average", |c| c.average = Some(1.0)),
            ("dropout", |c| c.dropout = f32::NAN),
        ];
        for (name, change) in cases {
            let mut config = TrainConfig::default();
            change(&mut config);
            let error = config.validate().unwrap_err();
            assert_eq!(error.setting, name, "{error}");
        }
    }
}
