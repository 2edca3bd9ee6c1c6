//! The architecture as Burn modules.
//!
//! Module and field names are those of the checkpoint, so that the path of a parameter is the name
//! of its tensor. [`LanguageModel::forward`] is the path that training takes: in host memory matrix
//! products by Burn and everything between them by fused operators. [`paper`] holds the chunked and the
//! step form in plain tensor operations, the former of which training takes elsewhere.

pub(crate) mod convert;
mod documents;
mod dropout;
pub(crate) mod init;
pub mod paper;

use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData},
};
use itera_core::config::{ModelConfig, Routing};

use crate::{
    fused::{Experts, RmsNorm, Ssm, SsmDims, SsmMemory},
    host,
};

pub use convert::ConvertError;
pub(crate) use dropout::Dropout;
use paper::PaperState;

/// The whole model.
#[derive(Module, Debug)]
pub struct LanguageModel {
    pub(crate) embedding: Weight, // [vocab_size, d_model], also the output head if there is no other
    pub(crate) head: Option<Weight>, // [vocab_size, d_model], of no model that has a checkpoint
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

/// What a batch of sequences carries from one segment to the next. Its kind decides the form of the
/// forward pass.
#[derive(Clone, Debug)]
pub enum Carry {
    /// Of the fused operators.
    Fused(FusedState),
    /// Of the chunked form in plain tensor operations.
    Plain(PaperState),
}

/// What the fused operators remember: one memory per layer.
#[derive(Clone, Debug)]
pub struct FusedState {
    layers: Vec<Arc<SsmMemory>>,
}

impl Carry {
    /// The carried values by name.
    pub(crate) fn values(&self) -> Vec<(String, Vec<f32>)> {
        let layers: Vec<[Vec<f32>; 2]> = match self {
            Self::Fused(state) => {
                let layers = state.layers.iter();
                layers
                    .map(|memory| [memory.h.as_flattened().to_vec(), memory.conv.clone()])
                    .collect()
            }
            Self::Plain(state) => state.values(),
        };
        let layers = layers.into_iter().enumerate();
        let parts = layers.flat_map(|(layer, [h, conv])| {
            [(format!("{layer}.h"), h), (format!("{layer}.conv"), conv)]
        });
        parts.collect()
    }

    /// The carry with other values, of the same numbers of elements.
    pub(crate) fn with_values(&self, values: &BTreeMap<String, Vec<f32>>) -> Self {
        let of =
            |layer: usize| ["h", "conv"].map(|part| values[&format!("{layer}.{part}")].clone());
        match self {
            Self::Fused(state) => {
                let layers = (0..state.layers.len()).map(|layer| {
                    let [h, conv] = of(layer);
                    let (lanes, _) = h.as_chunks();
                    Arc::new(SsmMemory {
                        h: lanes.to_vec(),
                        conv,
                    })
                });
                Self::Fused(FusedState {
                    layers: layers.collect(),
                })
            }
            Self::Plain(state) => Self::Plain(state.with_values(of)),
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

    /// What gives the logits of the last norm's output, `[vocab_size, d_model]`.
    fn output_head(&self) -> Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embedding).weight.val()
    }

    /// A carry that has read nothing.
    pub fn new_carry(&self, batch: usize) -> Carry {
        if !host::holds(&self.device()) {
            return Carry::Plain(self.new_paper_state(batch));
        }
        let memory = Arc::new(SsmMemory::new(&self.dims(batch, 0)));
        Carry::Fused(FusedState {
            layers: vec![memory; self.config.n_layers],
        })
    }

    fn dims(&self, batch: usize, length: usize) -> SsmDims {
        SsmDims {
            batch,
            length,
            d_inner: self.config.d_inner,
            d_state: self.config.d_state,
            head_dim: self.config.head_dim,
            d_conv: self.config.d_conv,
            norm_eps: self.config.norm_eps,
        }
    }

    /// Logits after every token; `carry` moves on to the end of the segment, without gradient.
    pub fn forward(&self, tokens: &Tokens, carry: &mut Carry) -> Output {
        self.forward_dropping(tokens, carry, None)
    }

    /// [`Self::forward`], with dropout of what layers add to the residual stream.
    pub(crate) fn forward_dropping(
        &self,
        tokens: &Tokens,
        carry: &mut Carry,
        dropout: Option<Dropout>,
    ) -> Output {
        match carry {
            Carry::Fused(state) => self.fused(tokens, state, dropout),
            Carry::Plain(state) => self.plain(tokens, state, dropout),
        }
    }

    fn fused(
        &self,
        tokens: &Tokens,
        state: &mut FusedState,
        mut dropout: Option<Dropout>,
    ) -> Output {
        let mut drop = |y: Tensor<2>| match &mut dropout {
            Some(dropout) => dropout.apply(y),
            None => y,
        };
        let ids = indices(&tokens.inputs, &self.device());
        let dims = self.dims(tokens.batch, tokens.length);
        let (mut router, mut visits) = (Vec::new(), Vec::new());

        let mut x = self.embedding.weight.val().select(0, ids); // [rows, d_model]
        for (block, memory) in self.layers.iter().zip(&mut state.layers) {
            let u = self.norm(x.clone(), &block.mixer_norm);
            let ssm = Ssm {
                dims,
                resets: tokens.resets.clone(),
                memory: memory.clone(),
            };
            let (y, after) = block.mixer.forward(u, ssm);
            *memory = after;
            x = x + drop(y);
            let u = self.norm(x.clone(), &block.moe_norm);
            let (y, routed) = block.moe.forward(&self.config, u);
            if let Some((logits, counts)) = routed {
                router.push(logits);
                visits.push(counts);
            }
            x = x + drop(y);
        }
        let x = self.norm(x, &self.final_norm);
        let logits = x.matmul(self.output_head().transpose()); // [rows, vocab_size]
        Output {
            logits,
            router,
            visits,
        }
    }

    /// # Shapes
    /// `x [rows, width]`, the result alike.
    fn norm(&self, x: Tensor<2>, gain: &Gain) -> Tensor<2> {
        let op = RmsNorm {
            eps: self.config.norm_eps,
        };
        let inputs = [x.into_dispatch(), gain.weight.val().into_dispatch()];
        Tensor::from_dispatch(host::apply(op, inputs).0)
    }
}

impl Mixer {
    /// # Shapes
    /// `u [rows, d_model]`, the result alike.
    fn forward(&self, u: Tensor<2>, ssm: Ssm) -> (Tensor<2>, Arc<SsmMemory>) {
        let zxbcdt = u.matmul(self.in_proj.weight.val().transpose()); // [rows, d_in_proj]
        let inputs = [
            zxbcdt.into_dispatch(),
            self.conv.weight.val().into_dispatch(),
            self.conv.bias.val().into_dispatch(),
            self.dt_bias.val().into_dispatch(),
            self.a_log.val().into_dispatch(),
            self.d.val().into_dispatch(),
            self.norm.weight.val().into_dispatch(),
        ];
        let (y, saved) = host::apply(ssm, inputs); // [rows, d_inner]
        let y = Tensor::<2>::from_dispatch(y).matmul(self.out_proj.weight.val().transpose());
        (y, saved.memory.clone())
    }
}

impl Moe {
    /// # Shapes
    /// `u [rows, d_model]`, the result alike; router logits `[rows, n_experts]`.
    fn forward(
        &self,
        config: &ModelConfig,
        u: Tensor<2>,
    ) -> (Tensor<2>, Option<(Tensor<2>, Tensor<1>)>) {
        let [rows, d_model] = u.dims();
        let router = self
            .router
            .as_ref()
            .map(|r| u.clone().matmul(r.weight.val().transpose()));
        let logits = match &router {
            Some(logits) => logits.clone(),
            None => Tensor::zeros([rows, 1], &u.device()),
        };
        let op = Experts {
            n_experts: config.n_experts,
            top_k: config.top_k,
            routing: config.routing,
            d_model,
            d_expert: config.d_expert,
        };
        let (w_in, w_out) = (self.w_in.val(), self.w_out.val());
        let (y, visits) = expert(
            op,
            u.clone(),
            logits,
            w_in.into_dispatch(),
            w_out.into_dispatch(),
        );
        let y = match &self.shared {
            Some(shared) => y + shared.forward(config, u),
            None => y,
        };
        let visits = Tensor::from_data(TensorData::from(visits.as_slice()), &y.device());
        (y, router.map(|logits| (logits, visits)))
    }
}

impl Shared {
    /// A mixture of one expert.
    fn forward(&self, config: &ModelConfig, u: Tensor<2>) -> Tensor<2> {
        let [rows, d_model] = u.dims();
        let op = Experts {
            n_experts: 1,
            top_k: 1,
            routing: Routing::All,
            d_model,
            d_expert: config.d_shared,
        };
        let logits = Tensor::zeros([rows, 1], &u.device());
        let (w_in, w_out) = (self.w_in.val(), self.w_out.val());
        expert(op, u, logits, w_in.into_dispatch(), w_out.into_dispatch()).0
    }
}

fn expert(
    op: Experts,
    u: Tensor<2>,
    logits: Tensor<2>,
    w_in: burn::backend::DispatchTensor,
    w_out: burn::backend::DispatchTensor,
) -> (Tensor<2>, Vec<f32>) {
    let inputs = [u.into_dispatch(), logits.into_dispatch(), w_in, w_out];
    let (y, routed) = host::apply(op, inputs);
    (Tensor::from_dispatch(y), routed.visits())
}
