//! The training loss: next-token cross-entropy and two terms that keep the router healthy.

use std::sync::Arc;

use burn::tensor::{Tensor, activation};

use crate::{
    fused::{CrossEntropy, Objective, Term},
    host,
    model::{self, Output, paper},
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

/// What a teacher predicts for the rows of a segment.
pub(crate) struct Distillation {
    /// Its weight against the targets', above 0 and at most 1.
    pub weight: f32,
    /// Its logits, `[rows, vocab_size]`, without autodiff.
    pub logits: Tensor<2>,
}

/// Loss of `output` against `targets [rows]`: their cross-entropy, or with a teacher
/// `(1 - w) cross-entropy + w KL(teacher || model)`.
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
        Some(taught) => {
            let plain = cross_entropy(logits.clone().detach(), Arc::clone(&targets));
            (distilled(logits, &targets, taught), plain)
        }
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

/// `mean_i((1 - w) cross-entropy_i + w KL(teacher_i || model_i))` in nats, `[1]`.
fn distilled(logits: Tensor<2>, targets: &[u32], taught: Distillation) -> Tensor<1> {
    if host::holds(&logits.device()) {
        fused_distilled(logits, targets, taught)
    } else {
        plain_distilled(logits, targets, taught)
    }
}

/// [`distilled`] in plain tensor operations.
fn plain_distilled(logits: Tensor<2>, targets: &[u32], taught: Distillation) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let w = taught.weight;
    let log_q = activation::log_softmax(taught.logits, 1);
    let q = log_q.clone().exp();
    let of_teacher = (q.clone() * log_q).sum(); // minus its entropy
    let hot = hot(&logits, targets);
    let log_p = activation::log_softmax(logits, 1);
    let wanted = hot * (1.0 - w) + with_device_of(q * w, &log_p);
    let cross = (log_p.clone() * wanted).sum();
    (with_device_of(of_teacher * w, &log_p) - cross) / rows as f32
}

/// A constant on the autodiff device of `other`, if it has autodiff.
fn with_device_of<const D: usize, const E: usize>(
    constant: Tensor<D>,
    other: &Tensor<E>,
) -> Tensor<D> {
    if other.device().is_autodiff() {
        Tensor::from_inner(constant)
    } else {
        constant
    }
}

/// [`distilled`] by a fused operator.
fn fused_distilled(logits: Tensor<2>, targets: &[u32], taught: Distillation) -> Tensor<1> {
    let share = 1.0 / targets.len() as f32;
    let term = |target: &u32| Term {
        target: *target,
        likelihood: (1.0 - taught.weight) * share,
        unlikelihood: 0.0,
        divergence: taught.weight * share,
    };
    let objective = Objective {
        terms: targets.iter().map(term).collect(),
        reference: reference(taught.logits),
    };
    let (sum, _) = host::apply(objective, [logits.into_dispatch()]);
    Tensor::from_dispatch(sum)
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
    use crate::Backend;

    const ROWS: usize = 5;
    const VOCABULARY: usize = 23;

    fn logits(seed: usize) -> Tensor<2> {
        let value = |i: usize| (((i * 7919 + seed * 104_729) % 1000) as f32 / 125.0) - 4.0;
        let values: Vec<f32> = (0..ROWS * VOCABULARY).map(value).collect();
        let data = TensorData::new(values, [ROWS, VOCABULARY]);
        Tensor::from_data(data, &Backend::Flex.device())
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
        let taught = || Distillation {
            weight: 0.7,
            logits: logits(2),
        };
        for (fused, plain) in [
            (
                of(|logits| cross_entropy(logits, Arc::clone(&targets))),
                of(|logits| plain_cross_entropy(logits, &targets)),
            ),
            (
                of(|logits| fused_distilled(logits, &targets, taught())),
                of(|logits| plain_distilled(logits, &targets, taught())),
            ),
        ] {
            for (fused, plain) in fused.iter().zip(&plain) {
                fused.assert_approx_eq::<f32>(plain, Tolerance::absolute(1e-5));
            }
        }
    }
}
