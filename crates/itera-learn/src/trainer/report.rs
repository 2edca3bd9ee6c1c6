//! The figures of a step.

use burn::tensor::Tensor;

/// The figures of one step.
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
    /// Whether loss and gradient are finite; once one is not, it stays so.
    pub const fn is_finite(&self) -> bool {
        self.cross_entropy.is_finite() && self.gradient_norm.is_finite()
    }
}

/// The figures of one replica, left on the device until all are read.
pub(super) struct Figures {
    /// `[1]` each.
    pub(super) cross_entropy: Tensor<1>,
    pub(super) balance: Tensor<1>,
    /// For every layer the visits of each expert, `[n_experts]`.
    pub(super) visits: Vec<Tensor<1>>,
}

impl Figures {
    /// Reads the figures of all replicas into `report`.
    pub(super) fn read(replicas: Vec<Self>, report: &mut StepReport) {
        let count = replicas.len() as f32;
        let experts = replicas[0].visits.first().map_or(1, |v| v.dims()[0]);
        let all: Vec<Vec<f32>> = replicas.into_iter().map(Self::values).collect();
        let sum = |at: usize| all.iter().map(|figures| figures[at]).sum::<f32>();
        report.cross_entropy = sum(0) / count;
        report.balance = sum(1) / count;
        let visits: Vec<f64> = (2..all[0].len()).map(|at| f64::from(sum(at))).collect();
        let load = |layer: &[f64]| {
            let total = layer.iter().sum::<f64>().max(1.0);
            layer.iter().map(|visits| visits / total).collect()
        };
        report.expert_load = visits.chunks(experts).map(load).collect();
    }

    /// All figures at once, so that a card is waited for once.
    fn values(self) -> Vec<f32> {
        let mut figures = vec![self.cross_entropy, self.balance];
        figures.extend(self.visits);
        let figures = Tensor::cat(figures, 0).into_data();
        figures.try_into_vec().expect("figures are f32")
    }
}
