//! Initial parameters, the same on every machine for the same seed.

use burn::{
    module::{Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use itera_core::config::ModelConfig;
use itera_data::{Domain, rng};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::{Block, Conv, Gain, LanguageModel, Mixer, Moe, Shared, Weight};

/// Standard deviation of the embedding.
pub(crate) const EMBEDDING_STD: f32 = 0.05;

/// Range of the initial step sizes (Mamba, section 3.6): log-uniform between these.
const DT_RANGE: (f32, f32) = (1e-3, 1e-1);

/// Range of the initial `-A` (Mamba-2's module): uniform between these.
const A_RANGE: (f32, f32) = (1.0, 16.0);

/// A leaf of the autodiff graph, where there is one.
pub(super) fn trainable<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.device().is_autodiff() {
        tensor.require_grad()
    } else {
        tensor
    }
}

/// Draws parameters one after the other and numbers them in the order of the checkpoint.
pub(crate) struct Source<'a> {
    rng: ChaCha8Rng,
    device: &'a Device,
    next_id: u64,
}

impl LanguageModel {
    /// A model with random parameters.
    ///
    /// Projections are uniform with variance `1 / columns`, those that write to the residual
    /// stream scaled down by `sqrt(2 * n_layers)` (GPT-2); `A`, `dt` and `D` as in Mamba-2.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let mut source = Source::new(seed, device);
        let embedding = source.normal([config.vocab_size, config.d_model], EMBEDDING_STD);
        Self {
            embedding: Weight { weight: embedding },
            layers: (0..config.n_layers).map(|_| source.block(config)).collect(),
            final_norm: source.gain(config.d_model),
            config: config.clone(),
        }
    }
}

impl<'a> Source<'a> {
    pub(crate) fn new(seed: u64, device: &'a Device) -> Self {
        Self {
            rng: rng(seed, Domain::Initialisation, 0),
            device,
            next_id: 1,
        }
    }

    fn param<const D: usize>(&mut self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device);
        let id = ParamId::from(self.next_id);
        self.next_id += 1;
        Param::initialized(id, trainable(tensor))
    }

    fn uniform<const D: usize>(
        &mut self,
        shape: [usize; D],
        low: f32,
        high: f32,
        map: impl Fn(f32) -> f32,
    ) -> Param<Tensor<D>> {
        let len = shape.iter().product();
        let values = (0..len)
            .map(|_| map(low + (high - low) * self.rng.random::<f32>()))
            .collect();
        self.param(values, shape)
    }

    /// Normal by the Box-Muller transform.
    pub(crate) fn normal<const D: usize>(
        &mut self,
        shape: [usize; D],
        std: f32,
    ) -> Param<Tensor<D>> {
        let len = shape.iter().product();
        let mut draw = || {
            let radius = (-2.0 * (1.0 - self.rng.random::<f32>()).ln()).sqrt();
            std * radius * (std::f32::consts::TAU * self.rng.random::<f32>()).cos()
        };
        let values = (0..len).map(|_| draw()).collect();
        self.param(values, shape)
    }

    /// Uniform with variance `scale² / columns`.
    pub(crate) fn projection<const D: usize>(
        &mut self,
        shape: [usize; D],
        scale: f32,
    ) -> Param<Tensor<D>> {
        let bound = scale * (3.0 / shape[D - 1] as f32).sqrt();
        self.uniform(shape, -bound, bound, |value| value)
    }

    fn constant(&mut self, len: usize, value: f32) -> Param<Tensor<1>> {
        self.param(vec![value; len], [len])
    }

    pub(crate) fn gain(&mut self, len: usize) -> Gain {
        Gain {
            weight: self.constant(len, 1.0),
        }
    }

    fn block(&mut self, config: &ModelConfig) -> Block {
        let residual = 1.0 / (2.0 * config.n_layers as f32).sqrt();
        let (d_model, heads) = (config.d_model, config.n_heads());
        let channels = config.d_conv_channels();
        Block {
            mixer_norm: self.gain(d_model),
            mixer: Mixer {
                in_proj: Weight {
                    weight: self.projection([config.d_in_proj(), d_model], 1.0),
                },
                conv: Conv {
                    weight: self.projection([channels, config.d_conv], 0.577),
                    bias: self.constant(channels, 0.0),
                },
                dt_bias: self.uniform([heads], DT_RANGE.0.ln(), DT_RANGE.1.ln(), |log_dt| {
                    // The inverse of softplus.
                    let dt = log_dt.exp();
                    dt + (-(-dt).exp_m1()).ln()
                }),
                a_log: self.uniform([heads], A_RANGE.0, A_RANGE.1, f32::ln),
                d: self.constant(heads, 1.0),
                norm: self.gain(config.d_inner),
                out_proj: Weight {
                    weight: self.projection([d_model, config.d_inner], residual),
                },
            },
            moe_norm: self.gain(d_model),
            moe: self.experts(config, residual),
        }
    }

    fn experts(&mut self, config: &ModelConfig, residual: f32) -> Moe {
        let (d_model, experts, width) = (config.d_model, config.n_experts, config.d_expert);
        Moe {
            router: (experts > 1).then(|| Weight {
                weight: self.projection([experts, d_model], 0.5),
            }),
            w_in: self.projection([experts, 2 * width, d_model], 1.0),
            w_out: self.projection([experts, d_model, width], residual),
            shared: (config.d_shared > 0).then(|| Shared {
                w_in: self.projection([2 * config.d_shared, d_model], 1.0),
                w_out: self.projection([d_model, config.d_shared], residual),
            }),
        }
    }
}
