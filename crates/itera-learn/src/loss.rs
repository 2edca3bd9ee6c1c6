//! The training loss: next-token cross-entropy and two terms that keep the router healthy.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, activation};

use crate::{
    fused::{CrossEntropy, Objective, Term},
    host,
    model::Output,
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

/// Loss of a segment, and its parts for the log.
pub(crate) struct Loss {
    /// What is minimised, `[1]`.
    pub total: Tensor<1>,
    /// Mean cross-entropy in nats per token.
    pub cross_entropy: f32,
    /// Load-balancing term, averaged over the layers.
    pub balance: f32,
}

/// What a teacher says of the rows of a segment.
pub(crate) struct Lesson {
    /// Its weight against that of the targets, above 0 and at most 1.
    pub weight: f32,
    /// Its logits, `[rows, vocab_size]`.
    pub logits: Arc<[f32]>,
}

/// Loss of `output` against `targets [rows]`: their cross-entropy, or with a lesson
/// `(1 - w) cross-entropy + w KL(teacher || model)`.
pub(crate) fn loss(
    output: Output,
    targets: Arc<[u32]>,
    weights: RouterLoss,
    lesson: Option<Lesson>,
) -> Loss {
    let Output {
        logits,
        router,
        visits,
    } = output;
    let (mut total, cross_entropy) = match lesson {
        None => {
            let total = cross_entropy(logits, targets);
            let value = scalar(&total);
            (total, value)
        }
        Some(lesson) => {
            let plain = cross_entropy(logits.clone().detach(), Arc::clone(&targets));
            (distilled(logits, &targets, lesson), scalar(&plain))
        }
    };
    let layers = router.len().max(1) as f32;
    let mut balance = 0.0;
    for (logits, visits) in router.into_iter().zip(&visits) {
        let term = balance_term(logits.clone(), visits);
        balance += scalar(&term) / layers;
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
    let (mean, _) = host::apply(CrossEntropy { targets }, [logits.into_dispatch()]);
    Tensor::from_dispatch(mean)
}

/// `mean_i((1 - w) cross-entropy_i + w KL(teacher_i || model_i))` in nats, `[1]`.
fn distilled(logits: Tensor<2>, targets: &[u32], lesson: Lesson) -> Tensor<1> {
    let share = 1.0 / targets.len() as f32;
    let term = |target: &u32| Term {
        target: *target,
        likelihood: (1.0 - lesson.weight) * share,
        unlikelihood: 0.0,
        divergence: lesson.weight * share,
    };
    let objective = Objective {
        terms: targets.iter().map(term).collect(),
        reference: lesson.logits,
    };
    let (sum, _) = host::apply(objective, [logits.into_dispatch()]);
    Tensor::from_dispatch(sum)
}

/// `E sum_e f_e P_e`; the gradient flows through `P` alone.
fn balance_term(logits: Tensor<2>, visits: &[usize]) -> Tensor<1> {
    let device = logits.device();
    let n_experts = visits.len();
    let total = visits.iter().sum::<usize>() as f32;
    let share = visits
        .iter()
        .map(|visits| n_experts as f32 * *visits as f32 / total);
    let share = TensorData::new(share.collect::<Vec<f32>>(), [1, n_experts]);
    let probability = activation::softmax(logits, 1).mean_dim(0); // [1, n_experts]
    (probability * Tensor::<2>::from_data(share, &device)).sum()
}

/// `mean(logsumexp²)` over the rows.
fn z_term(logits: Tensor<2>) -> Tensor<1> {
    let max = logits.clone().max_dim(1).detach(); // [rows, 1]
    let log_sum = (logits - max.clone()).exp().sum_dim(1).log() + max;
    (log_sum.clone() * log_sum).mean()
}

pub(crate) fn scalar(tensor: &Tensor<1>) -> f32 {
    tensor
        .clone()
        .detach()
        .into_data()
        .try_into_vec::<f32>()
        .expect("losses are f32")[0]
}
