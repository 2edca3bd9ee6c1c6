//! The weights of a model, unpacked from a checkpoint; read-only afterwards.

use thiserror::Error;

use super::ops::Matrix;
use crate::{
    checkpoint::{Checkpoint, CheckpointError},
    config::ModelConfig,
};

/// Why a checkpoint cannot become a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The checkpoint breaks its own format.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A model ready to run: config and weights. Any number of threads may share it; everything that
/// changes while tokens pass lives in [`State`](super::State).
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) config: ModelConfig,
    pub(super) embedding: Matrix, // [vocab_size, d_model], also the output head
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Vec<f32>, // [d_model]
}

/// One block: mixer and mixture of experts.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) mixer_norm: Vec<f32>,   // [d_model]
    pub(super) in_proj: Matrix,        // [d_in_proj, d_model]: z, x, B, C, dt
    pub(super) conv_weight: Vec<f32>,  // [d_conv, channels], oldest tap first
    pub(super) conv_bias: Vec<f32>,    // [channels]
    pub(super) dt_bias: Vec<f32>,      // [n_heads]
    pub(super) a: Vec<f32>,            // [n_heads], -exp(a_log)
    pub(super) d: Vec<f32>,            // [n_heads]
    pub(super) norm: Vec<f32>,         // [d_inner]
    pub(super) out_proj: Matrix,       // [d_model, d_inner]
    pub(super) moe_norm: Vec<f32>,     // [d_model]
    pub(super) router: Option<Matrix>, // [n_experts, d_model]
    pub(super) experts: Vec<Expert>,
    pub(super) shared: Option<Expert>,
}

/// A SwiGLU feed-forward: `w_out (silu(gate) * up)` with `[gate; up] = w_in u`.
#[derive(Clone, Debug)]
pub(super) struct Expert {
    pub(super) width: usize,
    pub(super) w_in: Matrix,  // [2 * width, d_model]
    pub(super) w_out: Matrix, // [d_model, width]
}

impl Model {
    /// Unpacks a checkpoint, dequantising what is quantised.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] when a tensor is missing or has a wrong shape.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        checkpoint.validate()?;
        let config = checkpoint.config.clone();
        let take = |name: String| checkpoint.tensors[&name].to_f32();
        let layers = (0..config.n_layers).map(|layer| Layer::unpack(&config, layer, &take));
        Ok(Self {
            embedding: Matrix::new(
                config.vocab_size,
                config.d_model,
                take("embedding.weight".into()),
            ),
            layers: layers.collect(),
            final_norm: take("final_norm.weight".into()),
            config,
        })
    }

    /// Sizes of the model.
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }
}

impl Layer {
    fn unpack(config: &ModelConfig, layer: usize, take: &impl Fn(String) -> Vec<f32>) -> Self {
        let get = |part: &str| take(format!("layers.{layer}.{part}"));
        let matrix = |part: &str, rows, cols| Matrix::new(rows, cols, get(part));
        let (d_model, experts) = (config.d_model, config.n_experts);
        let shared = (config.d_shared > 0).then(|| {
            let (w_in, w_out) = (get("moe.shared.w_in"), get("moe.shared.w_out"));
            Expert::new(config.d_shared, d_model, w_in, w_out)
        });
        Self {
            mixer_norm: get("mixer_norm.weight"),
            in_proj: matrix("mixer.in_proj.weight", config.d_in_proj(), d_model),
            conv_weight: transpose(&get("mixer.conv.weight"), config.d_conv),
            conv_bias: get("mixer.conv.bias"),
            dt_bias: get("mixer.dt_bias"),
            a: get("mixer.a_log")
                .into_iter()
                .map(|a_log| -a_log.exp())
                .collect(),
            d: get("mixer.d"),
            norm: get("mixer.norm.weight"),
            out_proj: matrix("mixer.out_proj.weight", d_model, config.d_inner),
            moe_norm: get("moe_norm.weight"),
            router: (experts > 1).then(|| matrix("moe.router.weight", experts, d_model)),
            experts: Expert::unpack_stack(config, &get("moe.w_in"), &get("moe.w_out")),
            shared,
        }
    }
}

impl Expert {
    fn new(width: usize, d_model: usize, w_in: Vec<f32>, w_out: Vec<f32>) -> Self {
        Self {
            width,
            w_in: Matrix::new(2 * width, d_model, w_in),
            w_out: Matrix::new(d_model, width, w_out),
        }
    }

    /// Splits `[n_experts, 2 * d_expert, d_model]` and `[n_experts, d_model, d_expert]`.
    fn unpack_stack(config: &ModelConfig, w_in: &[f32], w_out: &[f32]) -> Vec<Self> {
        let (width, d_model) = (config.d_expert, config.d_model);
        let pairs = w_in
            .chunks_exact(2 * width * d_model)
            .zip(w_out.chunks_exact(d_model * width));
        pairs
            .map(|(w_in, w_out)| Self::new(width, d_model, w_in.to_vec(), w_out.to_vec()))
            .collect()
    }
}

/// `[rows, cols]` to `[cols, rows]`.
fn transpose(values: &[f32], cols: usize) -> Vec<f32> {
    (0..cols)
        .flat_map(|col| values.iter().skip(col).step_by(cols).copied())
        .collect()
}
