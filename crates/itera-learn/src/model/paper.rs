//! The chunked and the step form of the model in plain tensor operations, as the Mamba-2 paper
//! writes them (Dao & Gu 2024, sections 3 and 6). They run on every Burn backend, are the meaning
//! of the fused operators, and serve evaluation through Burn.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use itera_core::config::ModelConfig;

use super::{Block, Gain, LanguageModel, Mixer, Moe};

/// What a batch of sequences remembers of the tokens before: one entry per layer.
#[derive(Clone, Debug)]
pub struct PaperState {
    layers: Vec<LayerState>,
}

#[derive(Clone, Debug)]
struct LayerState {
    h: Tensor<4>,    // [batch, n_heads, d_state, head_dim]
    conv: Tensor<3>, // [batch, d_conv - 1, channels], oldest first
}

/// The inputs of the recurrence for a stretch of tokens.
struct Inputs {
    z: Tensor<3>,   // [batch, length, d_inner]
    x: Tensor<4>,   // [batch, length, n_heads, head_dim]
    b: Tensor<3>,   // [batch, length, d_state]
    c: Tensor<3>,   // [batch, length, d_state]
    dt: Tensor<3>,  // [batch, length, n_heads]
    dta: Tensor<3>, // [batch, length, n_heads]: dt A
}

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
    pub fn chunked(&self, tokens: &Tensor<2, Int>, state: &mut PaperState) -> Tensor<3> {
        let [_, length] = tokens.dims();
        let chunks = (0..length).step_by(self.config.chunk).map(|start| {
            let end = length.min(start + self.config.chunk);
            self.advance(
                tokens.clone().narrow(1, start, end - start),
                state,
                ssd_chunk,
            )
        });
        Tensor::cat(chunks.collect(), 1)
    }

    /// Logits after one token of each sequence, `tokens [batch, 1]`, by the recurrence:
    /// `[batch, 1, vocab_size]`.
    pub fn step(&self, tokens: Tensor<2, Int>, state: &mut PaperState) -> Tensor<3> {
        self.advance(tokens, state, recur)
    }

    fn advance(
        &self,
        tokens: Tensor<2, Int>,
        state: &mut PaperState,
        ssd: fn(&Inputs, &mut Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let [batch, length] = tokens.dims();
        let config = &self.config;
        let ids = tokens.reshape([batch * length]);
        let x = self.embedding.weight.val().select(0, ids);
        let mut x = x.reshape([batch, length, config.d_model]);
        for (block, memory) in self.layers.iter().zip(&mut state.layers) {
            x = block.forward(config, x, memory, ssd);
        }
        let x = norm(x, &self.final_norm, config.norm_eps);
        x.matmul(self.output_head().transpose().unsqueeze())
    }
}

impl Block {
    fn forward(
        &self,
        config: &ModelConfig,
        x: Tensor<3>,
        memory: &mut LayerState,
        ssd: fn(&Inputs, &mut Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let u = norm(x.clone(), &self.mixer_norm, config.norm_eps);
        let x = x + self.mixer.paper(config, u, memory, ssd);
        let u = norm(x.clone(), &self.moe_norm, config.norm_eps);
        x + self.moe.paper(config, u)
    }
}

impl Mixer {
    /// # Shapes
    /// `u [batch, length, d_model]`, the result alike.
    fn paper(
        &self,
        config: &ModelConfig,
        u: Tensor<3>,
        memory: &mut LayerState,
        ssd: fn(&Inputs, &mut Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let [batch, length, _] = u.dims();
        let inputs = self.inputs(config, u, &mut memory.conv);
        let d = self.d.val().reshape([1, 1, config.n_heads(), 1]);
        let y = ssd(&inputs, &mut memory.h) + inputs.x * d; // y = SSD(x) + D x
        let y = y.reshape([batch, length, config.d_inner]) * activation::silu(inputs.z);
        let y = norm(y, &self.norm, config.norm_eps);
        y.matmul(self.out_proj.weight.val().transpose().unsqueeze())
    }

    fn inputs(&self, config: &ModelConfig, u: Tensor<3>, history: &mut Tensor<3>) -> Inputs {
        let [batch, length, _] = u.dims();
        let (d_inner, n, heads) = (config.d_inner, config.d_state, config.n_heads());
        let channels = config.d_conv_channels();
        let zxbcdt = u.matmul(self.in_proj.weight.val().transpose().unsqueeze());
        let z = zxbcdt.clone().narrow(2, 0, d_inner);
        let xbc = zxbcdt.clone().narrow(2, d_inner, channels);
        let dt = zxbcdt.narrow(2, d_inner + channels, heads);

        let padded = Tensor::cat(vec![history.clone(), xbc], 1);
        *history = padded.clone().narrow(1, length, config.d_conv - 1);
        let mut conv = self.conv.bias.val().reshape([1, 1, channels]);
        for tap in 0..config.d_conv {
            let weight = self
                .conv
                .weight
                .val()
                .narrow(1, tap, 1)
                .reshape([1, 1, channels]);
            conv = conv + padded.clone().narrow(1, tap, length) * weight;
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

/// One token: `h = exp(dt A) h + dt B x^T`, `y = C^T h`.
fn recur(inputs: &Inputs, h: &mut Tensor<4>) -> Tensor<4> {
    let [batch, _, heads, p] = inputs.x.dims();
    let [_, _, n] = inputs.b.dims();
    let decay = inputs.dta.clone().exp().reshape([batch, heads, 1, 1]);
    let dtx = inputs.x.clone() * inputs.dt.clone().reshape([batch, 1, heads, 1]);
    let dtx = dtx.reshape([batch, heads, 1, p]);
    let b = inputs.b.clone().reshape([batch, 1, n, 1]);
    let c = inputs.c.clone().reshape([batch, 1, 1, n]);
    *h = h.clone() * decay + b * dtx; // [batch, heads, n, p]
    c.matmul(h.clone()).reshape([batch, 1, heads, p])
}

/// A chunk: `Y = (L ∘ C B^T) (dt X) + exp(cum) C h` with `L_ts = exp(cum_t - cum_s)` for `s <= t`
/// and `cum` the running sum of `dt A`; the state moves on by the whole chunk.
fn ssd_chunk(inputs: &Inputs, h: &mut Tensor<4>) -> Tensor<4> {
    let [batch, length, heads, p] = inputs.x.dims();
    let device = inputs.x.device();
    let cum = inputs.dta.clone().cumsum(1).swap_dims(1, 2); // [batch, heads, length]
    let total = cum.clone().narrow(2, length - 1, 1); // [batch, heads, 1]
    let dtx =
        (inputs.x.clone() * inputs.dt.clone().reshape([batch, length, heads, 1])).swap_dims(1, 2);
    let b = inputs.b.clone().unsqueeze_dim::<4>(1); // [batch, 1, length, n]
    let c = inputs.c.clone().unsqueeze_dim::<4>(1);

    let difference = cum.clone().reshape([batch, heads, length, 1])
        - cum.clone().reshape([batch, heads, 1, length]);
    // Above the diagonal the difference is positive and its exponential may overflow.
    let decay = difference.clamp_max(0.0).exp() * lower_triangle(length, &device);
    let scores = c.clone().matmul(b.clone().swap_dims(2, 3)) * decay; // [batch, heads, t, s]
    let within = scores.matmul(dtx.clone()); // [batch, heads, length, p]
    let before = c.matmul(h.clone()) * cum.clone().exp().reshape([batch, heads, length, 1]);

    let to_end = (total.clone() - cum)
        .exp()
        .reshape([batch, heads, length, 1]);
    *h = h.clone() * total.exp().reshape([batch, heads, 1, 1])
        + b.swap_dims(2, 3).matmul(dtx * to_end);
    (within + before)
        .swap_dims(1, 2)
        .reshape([batch, length, heads, p])
}

/// Ones on and below the diagonal.
fn lower_triangle(length: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..length * length)
        .map(|index| f32::from(u8::from(index % length <= index / length)))
        .collect();
    Tensor::from_data(TensorData::new(values, [1, 1, length, length]), device)
}

impl Moe {
    /// Every expert on every token, weighted by its gate: zero for those not chosen.
    fn paper(&self, config: &ModelConfig, u: Tensor<3>) -> Tensor<3> {
        let [batch, length, d_model] = u.dims();
        let u = u.reshape([batch * length, d_model]);
        let mut y = Tensor::zeros_like(&u);
        let gates = self.router.as_ref().map(|router| {
            let p = activation::softmax(u.clone().matmul(router.weight.val().transpose()), 1);
            p.clone() * chosen(p, config.top_k)
        });
        for expert in 0..config.n_experts {
            let w_in = self.w_in.val().narrow(0, expert, 1).squeeze_dim::<2>(0);
            let w_out = self.w_out.val().narrow(0, expert, 1).squeeze_dim::<2>(0);
            let out = feed_forward(u.clone(), w_in, w_out);
            y = y + match &gates {
                Some(gates) => out * gates.clone().narrow(1, expert, 1),
                None => out,
            };
        }
        if let Some(shared) = &self.shared {
            y = y + feed_forward(u, shared.w_in.val(), shared.w_out.val());
        }
        y.reshape([batch, length, d_model])
    }
}

/// `W_out (silu(gate) * up)` with `[gate; up] = W_in u`.
fn feed_forward(u: Tensor<2>, w_in: Tensor<2>, w_out: Tensor<2>) -> Tensor<2> {
    let [_, width] = w_out.dims();
    let hidden = u.matmul(w_in.transpose());
    let (gate, up) = (
        hidden.clone().narrow(1, 0, width),
        hidden.narrow(1, width, width),
    );
    (activation::silu(gate) * up).matmul(w_out.transpose())
}

/// One for the `top_k` largest of each row, ties to the lower index, zero for the rest.
fn chosen(p: Tensor<2>, top_k: usize) -> Tensor<2> {
    let [rows, n_experts] = p.dims();
    let device = p.device();
    let p: Vec<f32> = p
        .detach()
        .into_data()
        .try_into_vec()
        .expect("probabilities are f32");
    let mut mask = vec![0.0_f32; rows * n_experts];
    for (p, mask) in p
        .chunks_exact(n_experts)
        .zip(mask.chunks_exact_mut(n_experts))
    {
        let mut order: Vec<usize> = (0..n_experts).collect();
        order.sort_by(|a, b| p[*b].total_cmp(&p[*a])); // stable
        order[..top_k].iter().for_each(|expert| mask[*expert] = 1.0);
    }
    Tensor::from_data(TensorData::new(mask, [rows, n_experts]), &device)
}

/// `RMSNorm(x) = x / sqrt(mean(x²) + eps) * gain` over the last dimension.
fn norm(x: Tensor<3>, gain: &Gain, eps: f32) -> Tensor<3> {
    let scale = (x.clone() * x.clone()).mean_dim(2).add_scalar(eps).sqrt();
    x / scale * gain.weight.val().unsqueeze()
}
