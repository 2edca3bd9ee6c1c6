//! The common part of all training loops: a model that learns, gradients from several threads, one update.

use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};
use itera_core::config::TensorRole;

use crate::{
    model::{Carry, Dropout, LanguageModel, Output, Tokens},
    optimizer::{self, Gradient, OptimizerConfig},
};

/// A model that can be trained: ours, or the transformer that it is compared with.
pub trait Learns: Module + Sync {
    /// The state that a batch of sequences carries from one segment to the next.
    type Carry: Clone + Send + Sync;

    /// Where the parameters live.
    fn device(&self) -> Device;

    /// Names of the parameters that decay: matrices but the embedding.
    fn decaying(&self) -> Vec<String>;

    /// Names of the large matrices, for which there is an optimiser of their own.
    fn projections(&self) -> Vec<String>;

    /// A carry of `batch` sequences that has read nothing.
    fn new_carry(&self, batch: usize) -> Self::Carry;

    /// Logits after every token; `carry` moves on to the end of the segment, without gradient.
    fn read(&self, tokens: &Tokens, carry: &mut Self::Carry, dropout: &mut Dropout) -> Output;
}

impl Learns for LanguageModel {
    type Carry = Carry;

    fn device(&self) -> Device {
        self.device()
    }

    fn decaying(&self) -> Vec<String> {
        self.named(|role| match role {
            TensorRole::Projection | TensorRole::Router => true,
            TensorRole::Embedding | TensorRole::Conv | TensorRole::Dynamics | TensorRole::Norm => {
                false
            }
        })
    }

    fn projections(&self) -> Vec<String> {
        self.named(|role| role == TensorRole::Projection)
    }

    fn new_carry(&self, batch: usize) -> Carry {
        self.new_carry(batch)
    }

    fn read(&self, tokens: &Tokens, carry: &mut Carry, dropout: &mut Dropout) -> Output {
        self.forward_dropping(tokens, carry, dropout)
    }
}

impl LanguageModel {
    fn named(&self, is_one: impl Fn(TensorRole) -> bool) -> Vec<String> {
        let specs = self.config().tensors().into_iter();
        let specs = specs.filter(|spec| is_one(spec.role));
        specs.map(|spec| spec.name).collect()
    }
}

/// Parameters, and the optimiser that moves them.
pub(crate) struct Learner<M = LanguageModel> {
    pub(crate) model: M,
    pub(crate) optimizer: ModuleOptimizer,
}

impl<M: Learns> Learner<M> {
    /// A learner whose optimiser has seen nothing yet.
    pub(crate) fn new(model: M, optimizer: &OptimizerConfig) -> Self {
        let optimizer = optimizer::new(optimizer, model.decaying(), model.projections());
        Self { model, optimizer }
    }

    /// Moves the parameters along `gradient`, which is multiplied by `factor` and then clipped.
    /// Returns its L2 norm before clipping.
    pub(crate) fn update(
        &mut self,
        mut gradient: Gradient,
        factor: f32,
        clip_norm: f32,
        learning_rate: f64,
    ) -> f32 {
        let norm = gradient.scale_and_clip(factor, clip_norm);
        let grads = gradient.into_params(&self.model.device());
        self.model = self
            .optimizer
            .step(learning_rate, self.model.clone(), grads);
        norm
    }
}

/// Sum over `parts` of the gradient of `objective`, and what else it returns. Each part has an
/// autodiff graph of its own, and a thread of its own where there are several; sums are in the order of
/// the parts.
///
/// # Panics
/// If there are no parts.
pub(crate) fn gradients<M: Learns, P: Send, T: Send>(
    model: &M,
    mut parts: Vec<P>,
    objective: impl Fn(&M, P) -> (Tensor<1>, T) + Sync,
) -> (Gradient, Vec<T>) {
    let work = |part: P| {
        // A fork has leaves of its own, so that the graphs stay apart.
        let model = model.clone().fork(&model.device());
        let (loss, rest) = objective(&model, part);
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        (Gradient::collect(&model, grads), rest)
    };
    // CUDA streams are per thread, and a new one each step is slow: a single part runs here.
    if let [_] = parts[..] {
        let (gradient, rest) = work(parts.remove(0));
        return (gradient, vec![rest]);
    }
    let shares: Vec<(Gradient, T)> = std::thread::scope(|scope| {
        let work = &work;
        let threads = parts
            .into_iter()
            .map(|part| scope.spawn(move || work(part)));
        let threads: Vec<_> = threads.collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, (Gradient, T)>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let mut shares = shares.into_iter();
    let (mut gradient, first) = shares.next().expect("there is at least one part");
    let mut rest = vec![first];
    for (share, next) in shares {
        gradient.add(&share);
        rest.push(next);
    }
    (gradient, rest)
}
