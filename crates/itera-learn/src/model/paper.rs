//! The chunked and the step form of the model in plain tensor operations, as the Mamba-2 paper
//! writes them (Dao & Gu 2024, sections 3 and 6). They run on every Burn backend, are the meaning
//! of the fused operators, serve evaluation through Burn, and training where tensors do not lie in host
//! memory.

use burn::tensor::{Int, Tensor, TensorData, activation};
use itera_core::config::{ModelConfig, Routing};

use super::{
    Dropout, Gain, LanguageModel, Mixer, Moe, Output, Tokens,
    documents::Documents,
    indices,
    ssd::{Inputs, recur, ssd},
};

/// Tokens of a chunk in training. The work of a chunk grows with its square, the number of kernel launches
/// with the number of chunks; on a card launches cost more, so a chunk is larger than the model's own.
const TRAINING_CHUNK: usize = 128;

/// The state of a batch of sequences: one entry per layer.
#[derive(Clone, Debug)]
pub struct PaperState {
    layers: Vec<LayerState>,
}

#[derive(Clone, Debug)]
struct LayerState {
    h: Tensor<4>,    // [batch, n_heads, d_state, head_dim]
    conv: Tensor<3>, // [batch, d_conv - 1, channels], oldest first
}

/// How the recurrence is computed.
type Ssd = fn(&Inputs, &Documents, &mut Tensor<4>) -> Tensor<4>;

impl PaperState {
    /// State and remembered inputs of every layer.
    pub(super) fn values(&self) -> Vec<[Vec<f32>; 2]> {
        fn read<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
            let values = tensor.clone().into_data().try_into_vec();
            values.expect("states are f32")
        }
        let layers = self.layers.iter();
        layers
            .map(|layer| [read(&layer.h), read(&layer.conv)])
            .collect()
    }

    /// The state with other values, of the same numbers of elements.
    pub(super) fn with_values(&self, values: impl Fn(usize) -> [Vec<f32>; 2]) -> Self {
        let layers = self.layers.iter().enumerate().map(|(index, layer)| {
            let ([h, conv], device) = (values(index), layer.h.device());
            LayerState {
                h: Tensor::from_data(TensorData::new(h, layer.h.shape()), &device),
                conv: Tensor::from_data(TensorData::new(conv, layer.conv.shape()), &device),
            }
        });
        Self {
            layers: layers.collect(),
        }
    }
}

/// A router's logits, and how many tokens visited each expert, `[n_experts]`.
type Routed = (Tensor<2>, Tensor<1>);

impl LanguageModel {
    /// A state that has read nothing.
    pub fn new_paper_state(&self, batch: usize) -> PaperState {
        let (config, device) = (&self.config, self.device());
        let layer = LayerState {
            h: Tensor::zeros(
                [batch, config.n_heads(), config.d_state, config.head_dim],
                &device,
            ),
            conv: Tensor::zeros(
                [batch, config.d_conv - 1, config.d_conv_channels()],
                &device,
            ),
        };
        PaperState {
            layers: vec![layer; config.n_layers],
        }
    }

    /// Logits after each of `tokens [batch, length]` in the chunked form, `[batch, length,
    /// vocab_size]`. The length need not be a multiple of the chunk.
    pub fn chunked(&self, tokens: &Tokens, state: &mut PaperState) -> Tensor<3> {
        self.logits_of(tokens, self.config.chunk, ssd, state)
    }

    /// Logits after one token of each sequence by the recurrence, `[batch, 1, vocab_size]`.
    pub fn step(&self, tokens: &Tokens, state: &mut PaperState) -> Tensor<3> {
        self.logits_of(tokens, 1, recur, state)
    }

    fn logits_of(
        &self,
        tokens: &Tokens,
        chunk: usize,
        ssd: Ssd,
        state: &mut PaperState,
    ) -> Tensor<3> {
        let logits = self
            .advance(tokens, chunk, ssd, state, &mut Dropout::none())
            .logits;
        logits.reshape([tokens.batch, tokens.length, self.config.vocab_size])
    }

    /// The forward pass of training. `state` moves on without gradient.
    pub(super) fn plain(
        &self,
        tokens: &Tokens,
        state: &mut PaperState,
        dropout: &mut Dropout,
    ) -> Output {
        let output = self.advance(tokens, TRAINING_CHUNK, ssd, state, dropout);
        for LayerState { h, conv } in &mut state.layers {
            *h = h.clone().detach();
            *conv = conv.clone().detach();
        }
        output
    }

    fn advance(
        &self,
        tokens: &Tokens,
        chunk: usize,
        ssd: Ssd,
        state: &mut PaperState,
        dropout: &mut Dropout,
    ) -> Output {
        let Tokens { batch, length, .. } = *tokens;
        let config = &self.config;
        let rows = batch * length;
        let documents = Documents::new(tokens, config.d_conv, chunk, &self.device());
        let (mut router, mut visits) = (Vec::new(), Vec::new());

        let mut x = self.embed(tokens).reshape([batch, length, config.d_model]);
        for (block, memory) in self.layers.iter().zip(&mut state.layers) {
            let u = norm(x.clone(), &block.mixer_norm, config.norm_eps);
            x = x + dropout.apply(block.mixer.paper(config, u, &documents, memory, ssd));
            let u = norm(x.clone(), &block.moe_norm, config.norm_eps);
            let (y, routed) = block.moe.paper(config, u);
            x = x + dropout.apply(y);
            if let Some((logits, counts)) = routed {
                router.push(logits);
                visits.push(counts);
            }
        }
        let x = norm(x, &self.final_norm, config.norm_eps).reshape([rows, config.d_model]);
        Output {
            logits: x.matmul(self.embedding.weight.val().transpose()),
            router,
            visits,
        }
    }

    /// The rows of the embedding, `[batch * length, d_model]`.
    fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        let embedding = self.embedding.weight.val();
        let device = embedding.device();
        let ids = indices(&tokens.inputs, &device);
        if device.is_autodiff() {
            // On a card the gradient of a selection is summed token by token, unlike that of a product.
            one_hot(ids, self.config.vocab_size).matmul(embedding)
        } else {
            embedding.select(0, ids)
        }
    }
}

/// `[rows, n]`: one at the index of each row, zero elsewhere.
pub(crate) fn one_hot(indices: Tensor<1, Int>, n: usize) -> Tensor<2> {
    let all = Tensor::<1, Int>::arange(0..n as i64, &indices.device());
    let is_it = indices
        .unsqueeze_dim::<2>(1)
        .equal(all.unsqueeze_dim::<2>(0));
    is_it.float()
}

impl Mixer {
    /// # Shapes
    /// `u [batch, length, d_model]`, the result alike.
    fn paper(
        &self,
        config: &ModelConfig,
        u: Tensor<3>,
        documents: &Documents,
        memory: &mut LayerState,
        ssd: Ssd,
    ) -> Tensor<3> {
        let [batch, length, _] = u.dims();
        let inputs = self.inputs(config, u, documents, &mut memory.conv);
        let d = self.d.val().reshape([1, 1, config.n_heads(), 1]);
        let y = ssd(&inputs, documents, &mut memory.h) + inputs.x * d; // y = SSD(x) + D x
        let y = y.reshape([batch, length, config.d_inner]) * activation::silu(inputs.z);
        let y = norm(y, &self.norm, config.norm_eps);
        y.matmul(self.out_proj.weight.val().transpose().unsqueeze())
    }

    fn inputs(
        &self,
        config: &ModelConfig,
        u: Tensor<3>,
        documents: &Documents,
        history: &mut Tensor<3>,
    ) -> Inputs {
        let [batch, length, _] = u.dims();
        let (d_inner, n, heads) = (config.d_inner, config.d_state, config.n_heads());
        let channels = config.d_conv_channels();
        let zxbcdt = u.matmul(self.in_proj.weight.val().transpose().unsqueeze());
        let z = zxbcdt.clone().narrow(2, 0, d_inner);
        let xbc = zxbcdt.clone().narrow(2, d_inner, channels);
        let dt = zxbcdt.narrow(2, d_inner + channels, heads);

        let padded = Tensor::cat(vec![history.clone(), xbc], 1);
        *history = padded.clone().narrow(1, length, config.d_conv - 1) * documents.history.clone();
        let mut conv = self.conv.bias.val().reshape([1, 1, channels]);
        for tap in 0..config.d_conv {
            let weight = self
                .conv
                .weight
                .val()
                .narrow(1, tap, 1)
                .reshape([1, 1, channels]);
            let read = padded.clone().narrow(1, tap, length);
            let read = match documents.taps.get(tap) {
                Some(mask) => read * mask.clone(),
                None => read, // the token itself
            };
            conv = conv + read * weight;
        }
        let xbc = activation::silu(conv);
        let dt = activation::softplus(dt + self.dt_bias.val().reshape([1, 1, heads]), 1.0);
        let a = self.a_log.val().exp().neg().reshape([1, 1, heads]);
        Inputs {
            z,
            x: xbc
                .clone()
                .narrow(2, 0, d_inner)
                .reshape([batch, length, heads, config.head_dim]),
            b: xbc.clone().narrow(2, d_inner, n),
            c: xbc.narrow(2, d_inner + n, n),
            dta: dt.clone() * a,
            dt,
        }
    }
}

impl Moe {
    /// Every expert on every token, weighted by its gate: zero for those not chosen.
    ///
    /// # Shapes
    /// `u [batch, length, d_model]`, the result alike.
    fn paper(&self, config: &ModelConfig, u: Tensor<3>) -> (Tensor<3>, Option<Routed>) {
        let [batch, length, d_model] = u.dims();
        let u = u.reshape([batch * length, d_model]);
        let routed = self.router.as_ref().map(|router| {
            let logits = u.clone().matmul(router.weight.val().transpose());
            let p = activation::softmax(logits.clone(), 1);
            let chosen = chosen(p.clone().detach(), config.top_k);
            let visits = chosen.clone().sum_dim(0).squeeze_dim::<1>(0);
            let gates = p * chosen; // [rows, n_experts]
            let gates = match config.routing {
                Routing::All => gates,
                Routing::Chosen => gates.clone() / gates.sum_dim(1),
            };
            (gates, (logits, visits))
        });
        let (gates, routed) = routed.unzip();
        let mut y = feed_forward(u.clone(), self.w_in.val(), self.w_out.val(), gates);
        if let Some(shared) = &self.shared {
            let (w_in, w_out) = (
                shared.w_in.val().unsqueeze(),
                shared.w_out.val().unsqueeze(),
            );
            y = y + feed_forward(u, w_in, w_out, None);
        }
        (y.reshape([batch, length, d_model]), routed)
    }
}

/// Sum over the experts of `W_out (silu(gate) * up)` with `[gate; up] = W_in u`, each times its gate.
///
/// # Shapes
/// `u [rows, d_model]`, the result alike; `w_in [n_experts, 2 * width, d_model]`, `w_out [n_experts,
/// d_model, width]`, `gates [rows, n_experts]`.
fn feed_forward(
    u: Tensor<2>,
    w_in: Tensor<3>,
    w_out: Tensor<3>,
    gates: Option<Tensor<2>>,
) -> Tensor<2> {
    let [rows, d_model] = u.dims();
    let [experts, _, width] = w_out.dims();
    let w_in = w_in.reshape([experts * 2 * width, d_model]);
    let hidden = u.matmul(w_in.transpose());
    let hidden = hidden.reshape([rows, experts, 2 * width]);
    let up = hidden.clone().narrow(2, width, width);
    let mut act = activation::silu(hidden.narrow(2, 0, width)) * up; // [rows, experts, width]
    if let Some(gates) = gates {
        act = act * gates.unsqueeze_dim::<3>(2);
    }
    let w_out = w_out.swap_dims(1, 2).reshape([experts * width, d_model]);
    act.reshape([rows, experts * width]).matmul(w_out)
}

/// One for the `top_k` largest of each row, ties to the lower index, zero for the rest.
fn chosen(p: Tensor<2>, top_k: usize) -> Tensor<2> {
    let [_, n_experts] = p.dims();
    let lower = Tensor::<2>::ones([n_experts, n_experts], &p.device()).tril(-1); // [i, j]: j < i
    let (own, other) = (p.clone().unsqueeze_dim::<3>(2), p.unsqueeze_dim::<3>(1));
    let equal = other.clone().equal(own.clone()).float();
    let ahead = other.greater(own).float() + equal * lower.unsqueeze(); // [rows, i, j]
    let rank = ahead.sum_dim(2).squeeze_dim::<2>(2);
    rank.lower_elem(top_k as f32).float()
}

/// `RMSNorm(x) = x / sqrt(mean(x²) + eps) * gain` over the last dimension.
fn norm(x: Tensor<3>, gain: &Gain, eps: f32) -> Tensor<3> {
    let scale = (x.clone() * x.clone()).mean_dim(2).add_scalar(eps).sqrt();
    x / scale * gain.weight.val().unsqueeze()
}
