//! Training for integers: weights are drawn to multiples of their scales, ever harder, until they are
//! such multiples.
//!
//! The gradient is taken at the weights as they are, not at rounded ones. After every step each weight is
//! moved towards the nearest integer times its scale, which is the proximal step for a penalty on
//! the absolute distance (`ProxQuant`, Bai et al. 2019). The pull grows with the steps: weights with
//! small gradients reach their integer early; the others adapt to compensate.
//!
//! Steps are measured in integers: the optimiser's step of a weight is multiplied by its scale,
//! so that large and small weights pass from one integer to the next alike. Weight decay is a share of the
//! weight and has no unit, so that it is not multiplied.
//!
//! Scales that are searched then learn (as in LSQ, Esser et al. 2020): a group's weights are `w = s u`, so
//! that the gradient of `ln |s|` is the sum of `w dL/dw`, which Adam follows. Those of a checkpoint of
//! integers stay as they are: a file that was rounded to fit into few bytes has few different ones.

use std::collections::BTreeSet;

use itera_core::{
    checkpoint::Checkpoint,
    quant::{Precisions, Scales},
};

use crate::{
    learner::Learns as _,
    model::{
        LanguageModel,
        convert::{Values, values},
    },
    optimizer::OptimizerConfig,
};

/// The pull at the end of a run, as a share of the learning rate; it grows from 0.
const PULL: f32 = 1.0;

/// Tensors that stay float learn at this share of the learning rate.
const FLOAT_RATE: f32 = 0.1;

/// The logarithm of a scale that was searched learns at this share of the learning rate.
const SCALE_RATE: f32 = 0.02;

/// The multiples that the weights are drawn to.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) scales: Scales,
    /// The logarithm of a scale learns at this share of the learning rate.
    scale_rate: f32,
    /// Names of the matrices that decay.
    decaying: BTreeSet<String>,
    /// Mean of the gradient of the logarithm of each scale, by the name of the matrix.
    pub(crate) mean: Values,
    /// Mean of the square of that gradient.
    pub(crate) square: Values,
}

/// Place of a step in its run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunStep {
    /// Counted from 1.
    pub(crate) step: u64,
    /// Of the run.
    pub(crate) steps: u64,
    pub(crate) learning_rate: f32,
}

impl Grid {
    /// The grid of a run of `model` for integers: the scales of `start`, where that is a checkpoint of such
    /// integers, or those that fit the weights best.
    ///
    /// # Panics
    /// If the model cannot have these precisions.
    pub(crate) fn new(
        model: &LanguageModel,
        precisions: &Precisions,
        start: Option<&Checkpoint>,
    ) -> Self {
        let stored = start.and_then(|checkpoint| Scales::stored(checkpoint, precisions));
        let scale_rate = if stored.is_some() { 0.0 } else { SCALE_RATE };
        let scales = stored.unwrap_or_else(|| {
            let scales = Scales::search(model.config(), &values(model), precisions);
            scales.expect("the precisions are ones of this model")
        });
        let zeros: Values = scales
            .values()
            .into_iter()
            .map(|(name, values)| (name, vec![0.0; values.len()]))
            .collect();
        Self {
            scales,
            scale_rate,
            decaying: model.decaying().into_iter().collect(),
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
        at: RunStep,
    ) {
        let growth = self.growth(before, gradient, optimizer, at);
        let pull = PULL * at.learning_rate * at.step as f32 / at.steps as f32;
        for matrix in self.scales.matrices_mut() {
            let (before, growth) = (&before[matrix.name()], &growth[matrix.name()]);
            let after = after.get_mut(matrix.name()).expect("all tensors are there");
            let (group, integers) = (matrix.group(), matrix.integers());
            let kept = if self.decaying.contains(matrix.name()) {
                1.0 - at.learning_rate * optimizer.weight_decay
            } else {
                1.0
            };
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
                    let decayed = before * kept;
                    let integer = decayed / *scale + (*after - decayed) * scale.signum();
                    let distance = integer.round().clamp(low, high) - integer;
                    *after = (integer + distance.clamp(-pull, pull)) * grown;
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

    /// The step that Adam (Kingma & Ba 2015, algorithm 1) takes on the logarithm of each scale.
    fn growth(
        &mut self,
        weights: &Values,
        gradient: &Values,
        optimizer: &OptimizerConfig,
        at: RunStep,
    ) -> Values {
        let OptimizerConfig { beta_1, beta_2, .. } = *optimizer;
        let unbiased = |beta: f32| 1.0 - beta.powf(at.step as f32);
        let (unbiased_1, unbiased_2) = (unbiased(beta_1), unbiased(beta_2));
        let rate = self.scale_rate * at.learning_rate;
        let mut growth = Values::new();
        for matrix in self.scales.matrices_mut() {
            let (name, group) = (matrix.name(), matrix.group());
            let groups = weights[name]
                .chunks(group)
                .zip(gradient[name].chunks(group));
            let gradients = groups.map(|(weights, gradient)| {
                let products = weights.iter().zip(gradient).map(|(w, g)| w * g);
                products.sum::<f32>()
            });
            let means = self.mean.get_mut(name).expect("every matrix has moments");
            let squares = self.square.get_mut(name).expect("every matrix has moments");
            let moments = means.iter_mut().zip(squares);
            let steps = gradients.zip(moments).map(|(gradient, (mean, square))| {
                *mean = beta_1 * *mean + (1.0 - beta_1) * gradient;
                *square = beta_2 * *square + (1.0 - beta_2) * gradient * gradient;
                -rate * (*mean / unbiased_1) / ((*square / unbiased_2).sqrt() + f32::EPSILON)
            });
            growth.insert(name.to_owned(), steps.collect());
        }
        growth
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use itera_core::{checkpoint::Precision, config::Preset};

    use super::*;

    /// Without a gradient and a pull, all that moves a weight is its decay: the recorded share of it,
    /// whatever its scale is.
    #[test]
    fn weights_decay_by_the_recorded_share() {
        let config = Preset::Test.config(40);
        let model = LanguageModel::new(&config, 1, &Device::flex());
        let before = values(&model);
        let mut grid = Grid::new(&model, &Precision::Int8.into(), None);
        let optimizer = OptimizerConfig {
            weight_decay: 0.5,
            ..OptimizerConfig::default()
        };
        let at = RunStep {
            step: 1,
            steps: u64::MAX,
            learning_rate: 0.02,
        };
        let kept = 1.0 - 0.5 * 0.02;
        let gradient = before
            .iter()
            .map(|(name, v)| (name.clone(), vec![0.0; v.len()]));
        // As AdamW leaves them.
        let mut after = before.clone();
        for name in model.decaying() {
            let values = after.get_mut(&name).unwrap();
            for value in values.iter_mut() {
                *value *= kept;
            }
        }
        grid.step(&before, &gradient.collect(), &mut after, &optimizer, at);
        for (name, share) in [
            ("layers.0.mixer.in_proj.weight", kept),
            ("layers.1.moe.w_out", kept),
            ("embedding.weight", 1.0),
        ] {
            for (before, after) in before[name].iter().zip(&after[name]) {
                let expected = before * share;
                assert!((after - expected).abs() <= 1e-5 * expected.abs(), "{name}");
            }
        }
    }
}
