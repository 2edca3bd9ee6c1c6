//! Training for integers: weights are drawn to multiples of their scales, ever harder, until they are
//! such multiples.
//!
//! The gradient is that of the weights as they are, not of rounded ones. After every step each weight
//! is moved towards the nearest integer times its scale, which is the proximal step for a penalty on
//! the absolute distance (`ProxQuant`, Bai et al. 2019). The pull grows with the steps: weights that
//! the text does not hold settle early, and those that are left make good what rounding them did wrong.
//!
//! Steps are measured in integers: what the optimiser moves a weight by is multiplied by its scale,
//! so that large and small weights pass from one integer to the next alike. The scales are searched
//! once and then learn (as in LSQ, Esser et al. 2020): a group's weights are `w = s u`, so that the
//! gradient of `ln |s|` is the sum of `w dL/dw`, which Adam follows.

use std::collections::BTreeMap;

use itera_core::quant::Scales;

use crate::optimizer::OptimizerConfig;

/// The pull at the end of a run, as a share of the learning rate; at its beginning there is none.
const PULL: f32 = 1.0;

/// What stays float learns at this share of the learning rate.
const FLOAT_RATE: f32 = 0.1;

/// The logarithm of a scale learns at this share of the learning rate.
const SCALE_RATE: f32 = 0.02;

/// Values of tensors by name.
type Values = BTreeMap<String, Vec<f32>>;

/// The multiples that the weights are drawn to.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) scales: Scales,
    /// Mean of the gradient of the logarithm of each scale, by the name of the matrix.
    pub(crate) mean: Values,
    /// And of its square.
    pub(crate) square: Values,
}

/// When a step is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Counted from 1.
    pub(crate) step: u64,
    /// Of the run.
    pub(crate) steps: u64,
    pub(crate) learning_rate: f32,
}

impl Grid {
    /// A grid whose scales have not learnt yet.
    pub(crate) fn new(scales: Scales) -> Self {
        let zeros = |values: Vec<f32>| vec![0.0; values.len()];
        let zeros: Values = scales
            .values()
            .into_iter()
            .map(|(name, values)| (name, zeros(values)))
            .collect();
        Self {
            scales,
            mean: zeros.clone(),
            square: zeros,
        }
    }

    /// Turns the optimiser's step, from `before` along `gradient` to `after`, into one on the grid:
    /// measured in integers, with the scales in motion, and followed by the pull.
    pub(crate) fn step(
        &mut self,
        before: &Values,
        gradient: &Values,
        after: &mut Values,
        optimizer: &OptimizerConfig,
        moment: Moment,
    ) {
        let growth = self.growth(before, gradient, optimizer, moment);
        let pull = PULL * moment.learning_rate * moment.step as f32 / moment.steps as f32;
        for matrix in self.scales.matrices_mut() {
            let (before, growth) = (&before[matrix.name()], &growth[matrix.name()]);
            let after = after.get_mut(matrix.name()).expect("all tensors are there");
            let (group, integers) = (matrix.group(), matrix.integers());
            let (low, high) = (f32::from(*integers.start()), f32::from(*integers.end()));
            let groups = before.chunks(group).zip(after.chunks_mut(group));
            for ((before, after), (scale, growth)) in
                groups.zip(matrix.scales.iter_mut().zip(growth))
            {
                // A group of zeros has no grid, and stays.
                if *scale == 0.0 {
                    after.copy_from_slice(before);
                    continue;
                }
                let grown = *scale * growth.exp();
                for (before, after) in before.iter().zip(after) {
                    let at = before / *scale + (*after - before) * scale.signum();
                    let distance = at.round().clamp(low, high) - at;
                    *after = (at + distance.clamp(-pull, pull)) * grown;
                }
                *scale = grown;
            }
        }
        for (name, after) in after {
            if growth.contains_key(name) {
                continue;
            }
            for (after, before) in after.iter_mut().zip(&before[name]) {
                *after = before + FLOAT_RATE * (*after - before);
            }
        }
    }

    /// What Adam (Kingma & Ba 2015, algorithm 1) adds to the logarithm of each scale.
    fn growth(
        &mut self,
        weights: &Values,
        gradient: &Values,
        optimizer: &OptimizerConfig,
        moment: Moment,
    ) -> Values {
        let OptimizerConfig { beta_1, beta_2, .. } = *optimizer;
        let unbiased = |beta: f32| 1.0 - beta.powf(moment.step as f32);
        let (unbiased_1, unbiased_2) = (unbiased(beta_1), unbiased(beta_2));
        let rate = SCALE_RATE * moment.learning_rate;
        let mut growth = Values::new();
        for matrix in self.scales.matrices_mut() {
            let (name, group) = (matrix.name(), matrix.group());
            let groups = weights[name]
                .chunks(group)
                .zip(gradient[name].chunks(group));
            let slopes = groups.map(|(weights, gradient)| {
                weights
                    .iter()
                    .zip(gradient)
                    .map(|(w, g)| w * g)
                    .sum::<f32>()
            });
            let means = self.mean.get_mut(name).expect("every matrix has moments");
            let squares = self.square.get_mut(name).expect("every matrix has moments");
            let moments = means.iter_mut().zip(squares);
            let steps = slopes.zip(moments).map(|(slope, (mean, square))| {
                *mean = beta_1 * *mean + (1.0 - beta_1) * slope;
                *square = beta_2 * *square + (1.0 - beta_2) * slope * slope;
                -rate * (*mean / unbiased_1) / ((*square / unbiased_2).sqrt() + f32::EPSILON)
            });
            growth.insert(name.to_owned(), steps.collect());
        }
        growth
    }
}
