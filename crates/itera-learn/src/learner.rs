//! What every loop that learns has in common: gradients from several threads, one update.

use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};
use itera_core::config::ModelConfig;

use crate::{
    model::LanguageModel,
    optimizer::{self, Gradient, OptimizerConfig},
};

/// A model that learns: ours, or the baseline that it is compared with.
pub(crate) trait Learnable: Module + Sync {
    /// Where the parameters live.
    fn device(&self) -> Device;
}

impl Learnable for LanguageModel {
    fn device(&self) -> Device {
        self.device()
    }
}

/// Parameters, and the optimiser that moves them.
pub(crate) struct Learner<M = LanguageModel> {
    pub(crate) model: M,
    pub(crate) optimizer: ModuleOptimizer,
}

impl Learner {
    /// A learner whose optimiser has seen nothing yet.
    pub(crate) fn new(model: LanguageModel, optimizer: &OptimizerConfig) -> Self {
        let optimizer = optimizer::new(optimizer, model.config());
        Self { model, optimizer }
    }

    /// One that starts with random parameters on an autodiff `device`.
    pub(crate) fn random(
        config: &ModelConfig,
        seed: u64,
        optimizer: &OptimizerConfig,
        device: &Device,
    ) -> Self {
        Self::new(LanguageModel::new(config, seed, device), optimizer)
    }
}

impl<M: Learnable> Learner<M> {
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
pub(crate) fn gradients<M: Learnable, P: Send, T: Send>(
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
    // A card has a queue for each thread, so a new thread for every step would cost it dear.
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
