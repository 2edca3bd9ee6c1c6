//! The training loss: next-token cross-entropy and two terms that keep the router healthy.

use std::sync::Arc;

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::{
    fused::{CrossEntropy, Distilled},
    host,
    model::{self, Output, paper},
    predictions::Predictions,
};

/// Weights of the router's terms, each averaged over the layers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RouterLoss {
    /// Load balancing: `E sum_e f_e P_e` with `f` the share of visits and `P` the mean
    /// probability of each expert (Switch Transformer, equation 4). It is 1 when balanced.
    pub balance: f32,
    /// `mean(logsumexp(router)²)` (ST-MoE, equation 5).
    pub z: f32,
}

impl Default for RouterLoss {
    fn default() -> Self {
        Self {
            balance: 0.01,
            z: 1e-3,
        }
    }
}

/// Loss of a segment, and its parts for the log, without gradient. All are `[1]`, left on the device, since
/// reading them would wait for a card.
pub(crate) struct Loss {
    /// The sum that is minimised.
    pub total: Tensor<1>,
    /// Mean cross-entropy in nats per token.
    pub cross_entropy: Tensor<1>,
    /// Load-balancing term, averaged over the layers; 0 for a dense model.
    pub balance: Tensor<1>,
}

/// What teachers predict for the rows of a segment.
pub(crate) struct Distillation {
    /// Their weight against the targets', above 0 and at most 1.
    pub weight: f32,
    /// One for each row.
    pub predictions: Arc<Predictions>,
}

/// Loss of `output` against `targets [rows]`: their cross-entropy, or with teachers
/// [`Distilled`].
pub(crate) fn loss(
    output: Output,
    targets: Arc<[u32]>,
    weights: RouterLoss,
    taught: Option<Distillation>,
) -> Loss {
    let Output {
        logits,
        router,
        visits,
    } = output;
    let (mut total, cross_entropy) = match taught {
        None => {
            let total = cross_entropy(logits, targets);
            (total.clone(), total.detach())
        }
        Some(taught) => distilled(logits, targets, taught),
    };
    let layers = router.len().max(1) as f32;
    let mut balance = Tensor::zeros([1], &total.device());
    for (logits, visits) in router.into_iter().zip(visits) {
        let term = balance_term(logits.clone(), visits);
        balance = balance + term.clone().detach() / layers;
        total = total + term * (weights.balance / layers) + z_term(logits) * (weights.z / layers);
    }
    Loss {
        total,
        cross_entropy,
        balance,
    }
}

/// `mean_i(logsumexp(logits_i) - logits_i[target_i])` in nats, `[1]`.
///
/// # Shapes
/// `logits [rows, vocab_size]`, `targets [rows]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Arc<[u32]>) -> Tensor<1> {
    if !host::holds(&logits.device()) {
        return plain_cross_entropy(logits, &targets);
    }
    let (mean, _) = host::apply(CrossEntropy { targets }, [logits.into_dispatch()]);
    Tensor::from_dispatch(mean)
}

/// [`cross_entropy`] in plain tensor operations.
fn plain_cross_entropy(logits: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let hot = hot(&logits, targets);
    let log_p = activation::log_softmax(logits, 1);
    (log_p * hot).sum() / -(rows as f32)
}

/// One at the target of each row of `logits`, zero elsewhere.
fn hot(logits: &Tensor<2>, targets: &[u32]) -> Tensor<2> {
    let [_, vocab_size] = logits.dims();
    paper::one_hot(model::indices(targets, &logits.device()), vocab_size)
}

/// The loss of [`Distilled`], and the cross-entropy without gradient; `[1]` each.
fn distilled(
    logits: Tensor<2>,
    targets: Arc<[u32]>,
    taught: Distillation,
) -> (Tensor<1>, Tensor<1>) {
    let device = logits.device();
    if !host::holds(&device) {
        return plain_distilled(logits, &targets, &taught);
    }
    let operator = Distilled {
        targets,
        predictions: taught.predictions,
        weight: taught.weight,
    };
    let (loss, found) = host::apply(operator, [logits.into_dispatch()]);
    let cross_entropy = Tensor::from_floats([found.cross_entropy], &device);
    (Tensor::from_dispatch(loss), cross_entropy)
}

/// [`distilled`] in plain tensor operations.
fn plain_distilled(
    logits: Tensor<2>,
    targets: &[u32],
    taught: &Distillation,
) -> (Tensor<1>, Tensor<1>) {
    let [rows, _] = logits.dims();
    let q = dense(&taught.predictions, &logits);
    let hot = hot(&logits, targets);
    let log_p = activation::log_softmax(logits, 1);
    let cross_entropy = (log_p.clone() * hot).sum() / -(rows as f32);
    let from_teachers = (log_p * q).sum() / -(rows as f32);
    let loss = cross_entropy.clone() * (1.0 - taught.weight) + from_teachers * taught.weight;
    (loss, cross_entropy.detach())
}

/// Predictions as a tensor where `logits [rows, vocab_size]` are: the shares of the tokens that are kept, zero elsewhere.
fn dense(predictions: &Predictions, logits: &Tensor<2>) -> Tensor<2> {
    let (shape, device) = (logits.dims(), logits.device());
    let kept = [shape[0], predictions.kept()];
    let likely = predictions.rows().flatten();
    let (tokens, shares): (Vec<i32>, Vec<f32>) = likely
        .map(|likely| (i32::from(likely.token), likely.probability()))
        .unzip();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, kept), &device);
    let shares = Tensor::from_data(TensorData::new(shares, kept), &device);
    Tensor::zeros(shape, &device).scatter(1, tokens, shares, IndexingUpdateOp::Add)
}

/// Logits as a fused operator takes them.
pub(crate) fn reference(logits: Tensor<2>) -> Arc<[f32]> {
    let values = logits.into_data().try_into_vec::<f32>();
    values.expect("logits are f32").into()
}

/// `E sum_e f_e P_e` with `visits [n_experts]`; the gradient flows through `P` alone.
fn balance_term(logits: Tensor<2>, visits: Tensor<1>) -> Tensor<1> {
    let [n_experts] = visits.dims();
    let share = visits.clone() * n_experts as f32 / visits.sum();
    let probability = activation::softmax(logits, 1).mean_dim(0); // [1, n_experts]
    (probability * share.unsqueeze()).sum()
}

/// `mean(logsumexp²)` over the rows.
fn z_term(logits: Tensor<2>) -> Tensor<1> {
    let max = logits.clone().max_dim(1).detach(); // [rows, 1]
    let log_sum = (logits - max.clone()).exp().sum_dim(1).log() + max;
    (log_sum.clone() * log_sum).mean()
}

/// The value of a loss.
pub(crate) fn scalar(tensor: &Tensor<1>) -> f32 {
    tensor
        .clone()
        .detach()
        .into_data()
        .try_into_vec::<f32>()
        .expect("losses are f32")[0]
}

#[cfg(test)]
mod tests {
    use burn::tensor::{TensorData, Tolerance};

    use super::*;
    use crate::{Backend, predictions::keep};

    const ROWS: usize = 5;
    const VOCABULARY: usize = 23;

    fn logits(seed: usize) -> Tensor<2> {
        let value = |i: usize| (((i * 7919 + seed * 104_729) % 1000) as f32 / 125.0) - 4.0;
        let values: Vec<f32> = (0..ROWS * VOCABULARY).map(value).collect();
        let data = TensorData::new(values, [ROWS, VOCABULARY]);
        Tensor::from_data(data, &Backend::Flex.device())
    }

    /// Predictions of a teacher with other logits.
    fn predictions() -> Arc<Predictions> {
        let probabilities = activation::softmax(logits(2), 1).into_data();
        let mut probabilities: Vec<f32> = probabilities.try_into_vec().expect("they are f32");
        let mut predictions = Predictions::new(ROWS, VOCABULARY);
        let kept = predictions.kept();
        let rows = predictions.entries_mut().chunks_exact_mut(kept);
        for (row, probabilities) in rows.zip(probabilities.chunks_exact_mut(VOCABULARY)) {
            keep(probabilities, 0.4, row);
        }
        predictions.into()
    }

    /// A loss and its gradient.
    fn of(loss: impl Fn(Tensor<2>) -> Tensor<1>) -> [TensorData; 2] {
        let logits = Tensor::from_inner(logits(1)).require_grad();
        let loss = loss(logits.clone());
        let grads = loss.backward();
        let grad = logits.grad(&grads).expect("the loss depends on the logits");
        [loss.into_data(), grad.into_data()]
    }

    #[test]
    fn losses_in_plain_operations_are_the_fused_ones() {
        let targets: Arc<[u32]> = [3, 0, 22, 7, 3].into();
        let taught = |weight| Distillation {
            weight,
            predictions: predictions(),
        };
        let fused = |logits, weight| distilled(logits, Arc::clone(&targets), taught(weight));
        let plain = |logits, weight| plain_distilled(logits, &targets, &taught(weight));
        let same = |fused: &TensorData, plain: &TensorData| {
            fused.assert_approx_eq::<f32>(plain, Tolerance::absolute(1e-5));
        };
        for (fused, plain) in [
            (
                of(|logits| cross_entropy(logits, Arc::clone(&targets))),
                of(|logits| plain_cross_entropy(logits, &targets)),
            ),
            (
                of(|logits| fused(logits, 0.7).0),
                of(|logits| plain(logits, 0.7).0),
            ),
            (
                of(|logits| fused(logits, 1.0).0),
                of(|logits| plain(logits, 1.0).0),
            ),
        ] {
            same(&fused[0], &plain[0]);
            same(&fused[1], &plain[1]);
        }
        let by_itself = plain_cross_entropy(logits(1), &targets).into_data();
        same(&fused(logits(1), 0.7).1.into_data(), &by_itself);
        same(&plain(logits(1), 0.7).1.into_data(), &by_itself);
    }
}
