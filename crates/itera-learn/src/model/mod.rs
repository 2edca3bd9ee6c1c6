//! The architecture as Burn modules.
//!
//! Modules and fields are named as in the checkpoint: the path of a parameter is the name of its
//! tensor. Training runs [`LanguageModel::forward`]: in host memory, matrix products by Burn and
//! everything between them by fused operators. [`paper`] holds the chunked and the step form in plain
//! tensor operations; on other devices training runs the chunked form.

mod carry;
pub(crate) mod convert;
mod documents;
mod dropout;
mod forward;
pub(crate) mod init;
pub mod paper;
mod ssd;

use std::sync::Arc;

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData},
};
use itera_core::config::ModelConfig;

pub use carry::{Carry, FusedState};
pub use convert::ConvertError;
pub use dropout::Dropout;

/// The whole model.
#[derive(Module, Debug)]
pub struct LanguageModel {
    pub(crate) embedding: Weight, // [vocab_size, d_model], also the output head
    pub(crate) layers: Vec<Block>,
    pub(crate) final_norm: Gain, // [d_model]
    #[module(skip)]
    pub(crate) config: ModelConfig,
}

/// One block: mixer and mixture of experts, both pre-norm with residual.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) mixer_norm: Gain,
    pub(crate) mixer: Mixer,
    pub(crate) moe_norm: Gain,
    pub(crate) moe: Moe,
}

/// The state-space mixer.
#[derive(Module, Debug)]
pub(crate) struct Mixer {
    pub(crate) in_proj: Weight, // [d_in_proj, d_model]
    pub(crate) conv: Conv,
    pub(crate) dt_bias: Param<Tensor<1>>, // [n_heads]
    pub(crate) a_log: Param<Tensor<1>>,   // [n_heads]
    pub(crate) d: Param<Tensor<1>>,       // [n_heads]
    pub(crate) norm: Gain,                // [d_inner]
    pub(crate) out_proj: Weight,          // [d_model, d_inner]
}

/// The mixture of experts.
#[derive(Module, Debug)]
pub(crate) struct Moe {
    pub(crate) router: Option<Weight>,  // [n_experts, d_model]
    pub(crate) w_in: Param<Tensor<3>>,  // [n_experts, 2 * d_expert, d_model]
    pub(crate) w_out: Param<Tensor<3>>, // [n_experts, d_model, d_expert]
    pub(crate) shared: Option<Shared>,
}

/// The expert that every token visits.
#[derive(Module, Debug)]
pub(crate) struct Shared {
    pub(crate) w_in: Param<Tensor<2>>,  // [2 * d_shared, d_model]
    pub(crate) w_out: Param<Tensor<2>>, // [d_model, d_shared]
}

/// A matrix.
#[derive(Module, Debug)]
pub(crate) struct Weight {
    pub(crate) weight: Param<Tensor<2>>,
}

/// The gain of a norm.
#[derive(Module, Debug)]
pub(crate) struct Gain {
    pub(crate) weight: Param<Tensor<1>>,
}

/// Taps and bias of the convolution.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    pub(crate) weight: Param<Tensor<2>>, // [channels, d_conv]
    pub(crate) bias: Param<Tensor<1>>,   // [channels]
}

/// Tokens of a batch of sequences, `[batch, length]` row-major.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each sequence.
    pub length: usize,
    /// The tokens.
    pub inputs: Vec<u32>,
    /// Whether a document starts at the token: everything before it is forgotten.
    pub resets: Arc<[bool]>,
}

impl Tokens {
    /// Tokens of one sequence in which no document starts.
    pub fn sequence(inputs: impl Iterator<Item = u32>) -> Self {
        let inputs: Vec<u32> = inputs.collect();
        Self {
            batch: 1,
            length: inputs.len(),
            resets: vec![false; inputs.len()].into(),
            inputs,
        }
    }
}

/// Results of a forward pass over `rows = batch * length` tokens.
pub struct Output {
    /// `[rows, vocab_size]`.
    pub logits: Tensor<2>,
    /// Router logits of every layer, `[rows, n_experts]`; empty for a dense model.
    pub router: Vec<Tensor<2>>,
    /// Tokens that visited each expert, for every layer, `[n_experts]`; empty for a dense model.
    pub(crate) visits: Vec<Tensor<1>>,
}

/// Tokens as a tensor.
pub(crate) fn indices(tokens: &[u32], device: &Device) -> Tensor<1, Int> {
    let tokens: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
    Tensor::from_data(TensorData::from(tokens.as_slice()), device)
}

impl LanguageModel {
    /// Sizes of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the parameters live.
    pub fn device(&self) -> Device {
        self.final_norm.weight.val().device()
    }

    /// Logits after every token; `carry` moves on to the end of the segment, without gradient.
    pub fn forward(&self, tokens: &Tokens, carry: &mut Carry) -> Output {
        self.forward_dropping(tokens, carry, &mut Dropout::none())
    }

    /// [`Self::forward`], with dropout of the outputs that layers add to the residual stream.
    pub(crate) fn forward_dropping(
        &self,
        tokens: &Tokens,
        carry: &mut Carry,
        dropout: &mut Dropout,
    ) -> Output {
        match carry {
            Carry::Fused(state) => self.fused(tokens, state, dropout),
            Carry::Plain(state) => self.plain(tokens, state, dropout),
        }
    }
}
