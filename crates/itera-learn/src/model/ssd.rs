//! The recurrence in plain tensor operations: token by token, and chunk by chunk (Dao & Gu 2024,
//! section 6).

use burn::tensor::Tensor;

use super::documents::{Chunk, Documents};

/// The inputs of the recurrence for a stretch of tokens.
pub(super) struct Inputs {
    pub(super) z: Tensor<3>,   // [batch, length, d_inner]
    pub(super) x: Tensor<4>,   // [batch, length, n_heads, head_dim]
    pub(super) b: Tensor<3>,   // [batch, length, d_state]
    pub(super) c: Tensor<3>,   // [batch, length, d_state]
    pub(super) dt: Tensor<3>,  // [batch, length, n_heads]
    pub(super) dta: Tensor<3>, // [batch, length, n_heads]: dt A
}

/// One token: `h = exp(dt A) h + dt B x^T`, `y = C^T h`.
pub(super) fn recur(inputs: &Inputs, documents: &Documents, h: &mut Tensor<4>) -> Tensor<4> {
    let [batch, _, heads, p] = inputs.x.dims();
    let [_, _, n] = inputs.b.dims();
    let decay = inputs.dta.clone().exp().reshape([batch, heads, 1, 1]);
    let dtx = inputs.x.clone() * inputs.dt.clone().reshape([batch, 1, heads, 1]);
    let dtx = dtx.reshape([batch, heads, 1, p]);
    let b = inputs.b.clone().reshape([batch, 1, n, 1]);
    let c = inputs.c.clone().reshape([batch, 1, 1, n]);
    let decay = decay * documents.chunks[0].through.clone();
    *h = h.clone() * decay + b * dtx; // [batch, heads, n, p]
    c.matmul(h.clone()).reshape([batch, 1, heads, p])
}

/// All tokens, chunk by chunk.
pub(super) fn ssd(inputs: &Inputs, documents: &Documents, h: &mut Tensor<4>) -> Tensor<4> {
    let chunks = documents.chunks.iter();
    let y = chunks.map(|chunk| ssd_chunk(inputs, chunk, h));
    Tensor::cat(y.collect(), 1)
}

/// A chunk: `Y = (L ∘ C B^T) (dt X) + exp(cum) C h` with `L_ts = exp(cum_t - cum_s)` for `s <= t`
/// and `cum` the running sum of `dt A`; the state moves on by the whole chunk. Where a document starts,
/// nothing passes from the tokens before it.
fn ssd_chunk(inputs: &Inputs, chunk: &Chunk, h: &mut Tensor<4>) -> Tensor<4> {
    let [batch, _, heads, p] = inputs.x.dims();
    let Chunk { start, length, .. } = *chunk;
    let of = |tensor: &Tensor<3>| tensor.clone().narrow(1, start, length);
    let x = inputs.x.clone().narrow(1, start, length);
    let cum = of(&inputs.dta).cumsum(1).swap_dims(1, 2); // [batch, heads, length]
    let total = cum.clone().narrow(2, length - 1, 1); // [batch, heads, 1]
    let dtx = (x * of(&inputs.dt).unsqueeze_dim::<4>(3)).swap_dims(1, 2); // [batch, heads, length, p]
    let b = of(&inputs.b).unsqueeze_dim::<4>(1); // [batch, 1, length, n]
    let c = of(&inputs.c).unsqueeze_dim::<4>(1);

    let difference = cum.clone().unsqueeze_dim::<4>(3) - cum.clone().unsqueeze_dim::<4>(2); // [batch, heads, t, s]
    // Above the diagonal the difference is positive and its exponential may overflow.
    let decay = difference.clamp_max(0.0).exp() * chunk.within.clone();
    let scores = c.clone().matmul(b.clone().swap_dims(2, 3)) * decay;
    let within = scores.matmul(dtx.clone()); // [batch, heads, length, p]
    let from_start = cum.clone().exp().unsqueeze_dim::<4>(3) * chunk.before.clone();
    let before = c.matmul(h.clone()) * from_start;

    let to_end = (total.clone() - cum).exp().unsqueeze_dim::<4>(3) * chunk.to_end.clone();
    let through = total.exp().unsqueeze_dim::<4>(3) * chunk.through.clone(); // [batch, heads, 1, 1]
    *h = h.clone() * through + b.swap_dims(2, 3).matmul(dtx * to_end);
    (within + before)
        .swap_dims(1, 2)
        .reshape([batch, length, heads, p])
}
