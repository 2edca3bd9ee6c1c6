//! The transformer as Burn modules: matrix products by Burn and fused operators between them, as in
//! [`crate::model`].

use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};

use super::TransformerConfig;
use crate::{
    fused::{Attention, AttentionDims, Experts, RmsNorm, Rope},
    host,
    learner::Learns,
    model::{
        Dropout, Gain, Output, Tokens, Weight,
        convert::parameters,
        init::{EMBEDDING_STD, Source},
    },
};

/// The matrices of a block.
const PROJECTIONS: [&str; 4] = [
    "attention.qkv_proj",
    "attention.out_proj",
    "feed_forward.w_in",
    "feed_forward.w_out",
];

/// A decoder: pre-norm blocks of rotary grouped-query attention and `SwiGLU`, without biases, with
/// one matrix for embedding and head (Touvron et al. 2023).
#[derive(Module, Debug)]
pub struct Transformer {
    embedding: Weight, // [vocab_size, d_model], also the output head
    layers: Vec<Block>,
    final_norm: Gain, // [d_model]
    #[module(skip)]
    config: TransformerConfig,
}

#[derive(Module, Debug)]
struct Block {
    attention_norm: Gain, // [d_model]
    attention: SelfAttention,
    feed_forward_norm: Gain, // [d_model]
    feed_forward: FeedForward,
}

/// Causal self-attention whose queries share heads of keys and values (Ainslie et al. 2023).
#[derive(Module, Debug)]
struct SelfAttention {
    qkv_proj: Weight, // [d_qkv, d_model]: queries, keys, values
    out_proj: Weight, // [d_model, d_model]
}

/// `W_out (silu(gate) * up)` with `[gate; up] = W_in u` (Shazeer 2020).
#[derive(Module, Debug)]
struct FeedForward {
    w_in: Weight,  // [2 * d_ff, d_model]
    w_out: Weight, // [d_model, d_ff]
}

impl Transformer {
    /// A model with random parameters: matrices uniform with variance `1 / columns`, those that
    /// write to the residual stream scaled down by `sqrt(2 * n_layers)`, as in ours.
    ///
    /// # Panics
    /// If the sizes do not divide into heads and pairs of channels.
    pub fn new(config: &TransformerConfig, seed: u64, device: &Device) -> Self {
        config.check();
        let mut source = Source::new(seed, device);
        let embedding = source.normal([config.vocab_size, config.d_model], EMBEDDING_STD);
        let layers = (0..config.n_layers).map(|_| Block::new(config, &mut source));
        Self {
            embedding: Weight { weight: embedding },
            layers: layers.collect(),
            final_norm: source.gain(config.d_model),
            config: config.clone(),
        }
    }

    /// Sizes of the model.
    pub const fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// Shape and values of every parameter by name.
    pub fn parameters(&self) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        parameters(self)
    }

    /// Logits after every token, `[batch * length, vocab_size]`. A token sees the tokens of its sequence
    /// from the last reset on.
    ///
    /// # Panics
    /// If a sequence is longer than the context.
    pub fn forward(&self, tokens: &Tokens) -> Tensor<2> {
        self.forward_dropping(tokens, &mut Dropout::none())
    }

    fn forward_dropping(&self, tokens: &Tokens, dropout: &mut Dropout) -> Tensor<2> {
        assert!(tokens.length <= self.config.context, "beyond the context");
        let device = self.device();
        let ids: Vec<i32> = tokens.inputs.iter().map(|id| *id as i32).collect();
        let rows = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), &device);
        let attention = self.attention(tokens);

        let mut x = self.embedding.weight.val().select(0, ids); // [rows, d_model]
        for block in &self.layers {
            let u = self.norm(x.clone(), &block.attention_norm);
            x = x + dropout.apply(block.attention.forward(u, attention.clone()));
            let u = self.norm(x.clone(), &block.feed_forward_norm);
            x = x + dropout.apply(block.feed_forward.forward(&self.config, u));
        }
        let x = self.norm(x, &self.final_norm);
        x.matmul(self.embedding.weight.val().transpose()) // [rows, vocab_size]
    }

    /// The attention operator, the same for all layers.
    fn attention(&self, tokens: &Tokens) -> Attention {
        let head_dim = self.config.head_dim();
        Attention {
            dims: AttentionDims {
                batch: tokens.batch,
                length: tokens.length,
                n_heads: self.config.n_heads,
                n_kv_heads: self.config.n_kv_heads,
                head_dim,
            },
            rope: Arc::new(Rope::new(tokens.length, head_dim)),
            starts: starts(tokens),
        }
    }

    /// # Shapes
    /// `x [rows, d_model]`, the result alike.
    fn norm(&self, x: Tensor<2>, gain: &Gain) -> Tensor<2> {
        let op = RmsNorm {
            eps: self.config.norm_eps,
        };
        let inputs = [x.into_dispatch(), gain.weight.val().into_dispatch()];
        Tensor::from_dispatch(host::apply(op, inputs).0)
    }
}

impl Learns for Transformer {
    /// Nothing is carried from segment to segment.
    type Carry = ();

    fn device(&self) -> Device {
        self.final_norm.weight.val().device()
    }

    fn decaying(&self) -> Vec<String> {
        self.projections()
    }

    fn projections(&self) -> Vec<String> {
        let layers = 0..self.config.n_layers;
        let names = layers
            .flat_map(|layer| PROJECTIONS.map(|name| format!("layers.{layer}.{name}.weight")));
        names.collect()
    }

    fn new_carry(&self, _: usize) {}

    fn read(&self, tokens: &Tokens, (): &mut (), dropout: &mut Dropout) -> Output {
        Output {
            logits: self.forward_dropping(tokens, dropout),
            router: Vec::new(),
            visits: Vec::new(),
        }
    }
}

/// The position in its sequence of the last reset up to each token, or else of the first token.
fn starts(tokens: &Tokens) -> Arc<[usize]> {
    let mut starts = Vec::with_capacity(tokens.resets.len());
    for resets in tokens.resets.chunks_exact(tokens.length) {
        let mut start = 0;
        for (t, reset) in resets.iter().enumerate() {
            if *reset {
                start = t;
            }
            starts.push(start);
        }
    }
    starts.into()
}

impl Block {
    fn new(config: &TransformerConfig, source: &mut Source<'_>) -> Self {
        let residual = 1.0 / (2.0 * config.n_layers as f32).sqrt();
        let (d_model, d_ff) = (config.d_model, config.d_ff);
        let mut weight = |rows: usize, columns: usize, scale: f32| Weight {
            weight: source.projection([rows, columns], scale),
        };
        let attention = SelfAttention {
            qkv_proj: weight(config.d_qkv(), d_model, 1.0),
            out_proj: weight(d_model, d_model, residual),
        };
        let feed_forward = FeedForward {
            w_in: weight(2 * d_ff, d_model, 1.0),
            w_out: weight(d_model, d_ff, residual),
        };
        Self {
            attention_norm: source.gain(d_model),
            attention,
            feed_forward_norm: source.gain(d_model),
            feed_forward,
        }
    }
}

impl SelfAttention {
    /// # Shapes
    /// `u [rows, d_model]`, the result alike.
    fn forward(&self, u: Tensor<2>, attention: Attention) -> Tensor<2> {
        let qkv = u.matmul(self.qkv_proj.weight.val().transpose()); // [rows, d_qkv]
        let (y, _) = host::apply(attention, [qkv.into_dispatch()]); // [rows, d_model]
        Tensor::<2>::from_dispatch(y).matmul(self.out_proj.weight.val().transpose())
    }
}

impl FeedForward {
    /// Runs as a mixture of one expert.
    ///
    /// # Shapes
    /// `u [rows, d_model]`, the result alike.
    fn forward(&self, config: &TransformerConfig, u: Tensor<2>) -> Tensor<2> {
        let [rows, d_model] = u.dims();
        let op = Experts::single(d_model, config.d_ff);
        let router = Tensor::<2>::zeros([rows, 1], &u.device());
        let inputs = [
            u.into_dispatch(),
            router.into_dispatch(),
            self.w_in.weight.val().into_dispatch(),
            self.w_out.weight.val().into_dispatch(),
        ];
        Tensor::from_dispatch(host::apply(op, inputs).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decays_are_the_matrices_of_the_blocks() {
        let config = TransformerConfig {
            vocab_size: 20,
            d_model: 16,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            d_ff: 12,
            context: 32,
            norm_eps: 1e-5,
        };
        let model = Transformer::new(&config, 1, &Device::flex());
        let parameters = model.parameters().into_iter();
        let matrices =
            parameters.filter(|(name, (shape, _))| shape.len() == 2 && name != "embedding.weight");
        let mut expected: Vec<String> = matrices.map(|(name, _)| name).collect();
        let mut decaying = model.decaying();
        expected.sort();
        decaying.sort();
        assert_eq!(decaying, expected);
    }
}
