//! The weights of a model, packed for a kernel from a checkpoint; read-only afterwards.

use alloc::{format, vec::Vec};

use thiserror::Error;

use crate::{
    checkpoint::{Checkpoint, CheckpointError, Tensor},
    config::ModelConfig,
    kernels::{Buffer, Kernel, Matrix, double::exp_f32},
};

/// Why a checkpoint cannot become a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The checkpoint breaks its own format.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A model ready to run: config and weights. Any number of threads may share it; everything that
/// changes while tokens pass lives in [`State`](super::State) and
/// [`Workspace`](super::Workspace).
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) config: ModelConfig,
    pub(super) kernel: Kernel,
    pub(super) embedding: Matrix, // [vocab_size, d_model], also the output head
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Buffer<f32>, // [d_model]
}

/// One block: mixer and mixture of experts.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) mixer_norm: Buffer<f32>,     // [d_model]
    pub(super) in_proj: Matrix,             // [d_in_proj, d_model]: z, x, B, C, dt
    pub(super) conv_weight: Buffer<f32>,    // [d_conv, channels], oldest tap first
    pub(super) conv_bias: Buffer<f32>,      // [channels]
    pub(super) dt_bias: Buffer<f32>,        // [n_heads]
    pub(super) a: Buffer<f32>,              // [n_heads], -exp(a_log)
    pub(super) d: Buffer<f32>,              // [n_heads]
    pub(super) norm: Buffer<f32>,           // [d_inner]
    pub(super) out_proj: Matrix,            // [d_model, d_inner]
    pub(super) moe_norm: Buffer<f32>,       // [d_model]
    pub(super) router: Option<Buffer<f32>>, // [n_experts, d_model]
    pub(super) experts: Vec<Expert>,
    pub(super) shared: Option<Expert>,
}

/// A SwiGLU feed-forward: `w_out (silu(gate) * up)` with `[gate; up] = w_in u`.
#[derive(Clone, Debug)]
pub(super) struct Expert {
    pub(super) w_in: Matrix,  // [2 * width, d_model]
    pub(super) w_out: Matrix, // [d_model, width]
}

impl Model {
    /// Packs a checkpoint for the fastest kernel of this processor. Products are computed in the
    /// precision that the weights are stored in; [`Checkpoint::to_fp32`] makes them floats.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] when a tensor is missing or has a wrong shape.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        Self::with_kernel(checkpoint, Kernel::best())
    }

    /// Packs a checkpoint for a certain kernel. If a tensor is stored as integers, every result is the same to the last
    /// bit on every kernel and machine.
    ///
    /// # Errors
    /// As [`Model::from_checkpoint`].
    pub fn with_kernel(checkpoint: &Checkpoint, kernel: Kernel) -> Result<Self, ModelError> {
        checkpoint.validate()?;
        let config = checkpoint.config.clone();
        let tensor = |name: &str| &checkpoint.tensors[name];
        let kernel = if checkpoint.has_integers() {
            kernel.exact()
        } else {
            kernel
        };
        let layers = (0..config.n_layers).map(|layer| {
            let part = |part: &str| tensor(&format!("layers.{layer}.{part}"));
            Layer::pack(&config, kernel, &part)
        });
        Ok(Self {
            kernel,
            embedding: Matrix::from_tensor(tensor("embedding.weight"), kernel),
            layers: layers.collect(),
            final_norm: floats(tensor("final_norm.weight")),
            config,
        })
    }

    /// Sizes of the model.
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The kernel that computes its products.
    pub const fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Multiply-adds of one token in matrix products, the output head included; the rest of
    /// [`ModelConfig::multiply_adds_per_token`] is computed in floats at any precision.
    pub fn product_multiply_adds_per_token(&self) -> usize {
        let ModelConfig {
            d_model, d_inner, ..
        } = self.config;
        let experts = self.config.top_k * self.config.d_expert + self.config.d_shared;
        let layer = (self.config.d_in_proj() + d_inner + 3 * experts) * d_model;
        self.config.n_layers * layer + self.config.vocab_size * d_model
    }

    /// Whether the input projections have integer weights.
    pub fn is_integer(&self) -> bool {
        self.layers.iter().all(|layer| layer.in_proj.is_integer())
    }

    /// Bytes of the matrices that one token reads: all but the experts that it does not visit.
    pub fn matrix_bytes_per_token(&self) -> usize {
        let visited = self.config.top_k;
        let layers = self.layers.iter().map(|layer| {
            let expert = |e: &Expert| e.w_in.bytes() + e.w_out.bytes();
            let experts = layer.experts.first().map_or(0, expert) * visited;
            layer.in_proj.bytes()
                + layer.out_proj.bytes()
                + layer
                    .router
                    .as_ref()
                    .map_or(0, |router| router.len() * size_of::<f32>())
                + experts
                + layer.shared.as_ref().map_or(0, expert)
        });
        layers.sum::<usize>() + self.embedding.bytes()
    }
}

impl Layer {
    fn pack<'a>(config: &ModelConfig, kernel: Kernel, part: &impl Fn(&str) -> &'a Tensor) -> Self {
        let (d_model, width, n_experts) = (config.d_model, config.d_expert, config.n_experts);
        let (w_in, w_out) = (part("moe.w_in"), part("moe.w_out"));
        let experts = (0..n_experts).map(|e| Expert {
            w_in: Matrix::from_rows(w_in, e * 2 * width, 2 * width, kernel),
            w_out: Matrix::from_rows(w_out, e * d_model, d_model, kernel),
        });
        let shared = (config.d_shared > 0).then(|| Expert {
            w_in: Matrix::from_tensor(part("moe.shared.w_in"), kernel),
            w_out: Matrix::from_tensor(part("moe.shared.w_out"), kernel),
        });
        let a_log = part("mixer.a_log").to_f32();
        let a: Vec<f32> = a_log.into_iter().map(|a_log| -exp_f32(a_log)).collect();
        Self {
            mixer_norm: floats(part("mixer_norm.weight")),
            in_proj: Matrix::from_tensor(part("mixer.in_proj.weight"), kernel),
            conv_weight: transpose(&part("mixer.conv.weight").to_f32(), config.d_conv),
            conv_bias: floats(part("mixer.conv.bias")),
            dt_bias: floats(part("mixer.dt_bias")),
            a: Buffer::of(&a),
            d: floats(part("mixer.d")),
            norm: floats(part("mixer.norm.weight")),
            out_proj: Matrix::from_tensor(part("mixer.out_proj.weight"), kernel),
            moe_norm: floats(part("moe_norm.weight")),
            router: (n_experts > 1).then(|| floats(part("moe.router.weight"))),
            experts: experts.collect(),
            shared,
        }
    }
}

fn floats(tensor: &Tensor) -> Buffer<f32> {
    Buffer::of(&tensor.to_f32())
}

/// `[rows, cols]` to `[cols, rows]`.
fn transpose(values: &[f32], cols: usize) -> Buffer<f32> {
    let columns = (0..cols).flat_map(|col| values.iter().skip(col).step_by(cols).copied());
    Buffer::of(&columns.collect::<Vec<f32>>())
}
