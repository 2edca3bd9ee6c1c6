//! The SSD mixer (Mamba-2) in its step and its chunked form.

use super::{
    ops,
    state::{LayerState, Scratch},
    weights::Layer,
};
use crate::config::ModelConfig;

/// How the recurrence over the tokens of a call is computed.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Token by token.
    Step,
    /// Matrix products within the chunk, one state update at its end.
    Chunked,
}

/// `scratch.out = mixer(scratch.u)` for `n` tokens, `[n, d_model]` both; `memory` moves on by `n`.
pub(super) fn forward(
    config: &ModelConfig,
    layer: &Layer,
    n: usize,
    memory: &mut LayerState,
    scratch: &mut Scratch,
    form: Form,
) {
    let (d_model, d_inner) = (config.d_model, config.d_inner);
    // [z, x, B, C, dt] = W_in u
    layer.in_proj.apply(
        &scratch.u[..n * d_model],
        &mut scratch.zxbcdt[..n * config.d_in_proj()],
    );
    convolve(config, layer, n, &mut memory.conv, scratch);
    step_sizes(config, layer, n, scratch);
    match form {
        Form::Step => (0..n).for_each(|t| recur(config, layer, t, &mut memory.h, scratch)),
        Form::Chunked => chunk(config, layer, n, &mut memory.h, scratch),
    }
    // y = norm(y * silu(z)), the paper's gated norm
    for (t, y) in scratch.y[..n * d_inner]
        .chunks_exact_mut(d_inner)
        .enumerate()
    {
        let z = &scratch.zxbcdt[t * config.d_in_proj()..][..d_inner];
        for (y, z) in y.iter_mut().zip(z) {
            *y *= ops::silu(*z);
        }
        let scale = (ops::dot(y, y) / d_inner as f32 + config.norm_eps)
            .sqrt()
            .recip();
        for (y, gain) in y.iter_mut().zip(&layer.norm) {
            *y *= scale * gain;
        }
    }
    layer
        .out_proj
        .apply(&scratch.y[..n * d_inner], &mut scratch.out[..n * d_model]);
}

/// `xBC = silu(conv(xBC) + bias)`: causal and depthwise over the last `d_conv` tokens.
fn convolve(
    config: &ModelConfig,
    layer: &Layer,
    n: usize,
    memory: &mut [f32],
    scratch: &mut Scratch,
) {
    let (channels, d_inner, d_in_proj) =
        (config.d_conv_channels(), config.d_inner, config.d_in_proj());
    let history = memory.len();
    scratch.conv[..history].copy_from_slice(memory);
    for t in 0..n {
        let xbc = &scratch.zxbcdt[t * d_in_proj + d_inner..][..channels];
        scratch.conv[history + t * channels..][..channels].copy_from_slice(xbc);
    }
    for (t, out) in scratch.xbc[..n * channels]
        .chunks_exact_mut(channels)
        .enumerate()
    {
        out.copy_from_slice(&layer.conv_bias);
        let taps = layer.conv_weight.chunks_exact(channels);
        for (taps, input) in taps.zip(scratch.conv[t * channels..].chunks_exact(channels)) {
            for ((out, tap), input) in out.iter_mut().zip(taps).zip(input) {
                *out += tap * input;
            }
        }
        for value in out {
            *value = ops::silu(*value);
        }
    }
    memory.copy_from_slice(&scratch.conv[n * channels..n * channels + history]);
}

/// `dt = softplus(dt + dt_bias)` and the running sum of `dt A`, both `[n, n_heads]`.
fn step_sizes(config: &ModelConfig, layer: &Layer, n: usize, scratch: &mut Scratch) {
    let heads = config.n_heads();
    let offset = config.d_in_proj() - heads;
    for t in 0..n {
        let raw = &scratch.zxbcdt[t * config.d_in_proj() + offset..][..heads];
        for (head, (raw, bias)) in raw.iter().zip(&layer.dt_bias).enumerate() {
            let dt = ops::softplus(raw + bias);
            let before = if t > 0 {
                scratch.log_decay[(t - 1) * heads + head]
            } else {
                0.0
            };
            scratch.dt[t * heads + head] = dt;
            scratch.log_decay[t * heads + head] = before + dt * layer.a[head];
        }
    }
}

/// One token of the recurrence: `h = exp(dt A) h + dt B x^T`, `y = C^T h + D x`.
fn recur(config: &ModelConfig, layer: &Layer, t: usize, h: &mut [f32], scratch: &mut Scratch) {
    let (d_inner, d_state, heads) = (config.d_inner, config.d_state, config.n_heads());
    let xbc = &scratch.xbc[t * config.d_conv_channels()..][..config.d_conv_channels()];
    let (x, bc) = xbc.split_at(d_inner);
    let (b, c) = bc.split_at(d_state);
    let y = &mut scratch.y[t * d_inner..][..d_inner];
    for head in 0..heads {
        let at = head * config.head_dim..(head + 1) * config.head_dim;
        let dt = scratch.dt[t * heads + head];
        let decay = (dt * layer.a[head]).exp();
        let (x, y) = (&x[at.clone()], &mut y[at.clone()]);
        for (y, x) in y.iter_mut().zip(x) {
            *y = layer.d[head] * x;
        }
        for (row, (b, c)) in h.chunks_exact_mut(d_inner).zip(b.iter().zip(c)) {
            for ((h, x), y) in row[at.clone()].iter_mut().zip(x).zip(y.iter_mut()) {
                *h = decay * *h + b * (dt * x);
                *y += c * *h;
            }
        }
    }
}

/// A chunk of the SSD form (section 6 of the paper). With `cum` the running sum of `dt A`:
/// `y_t = sum_{s<=t} exp(cum_t - cum_s) (C_t·B_s) dt_s x_s + exp(cum_t) C_t^T h + D x_t` and
/// `h = exp(cum_n) h + sum_s exp(cum_n - cum_s) dt_s B_s x_s^T`.
fn chunk(config: &ModelConfig, layer: &Layer, n: usize, h: &mut [f32], scratch: &mut Scratch) {
    let (d_inner, d_state, channels) = (config.d_inner, config.d_state, config.d_conv_channels());
    let at = |t: usize| t * channels;
    for t in 0..n {
        let c = &scratch.xbc[at(t) + d_inner + d_state..][..d_state];
        for s in 0..=t {
            let b = &scratch.xbc[at(s) + d_inner..][..d_state];
            scratch.cb[t * config.chunk + s] = ops::dot(c, b);
        }
    }
    for head in 0..config.n_heads() {
        chunk_outputs(config, layer.d[head], head, n, h, scratch);
        chunk_state(config, head, n, h, scratch);
    }
}

/// Outputs of one head for a whole chunk, from the state before it and the tokens within.
fn chunk_outputs(
    config: &ModelConfig,
    d: f32,
    head: usize,
    n: usize,
    h: &[f32],
    scratch: &mut Scratch,
) {
    let (d_inner, d_state, p) = (config.d_inner, config.d_state, config.head_dim);
    let (heads, channels) = (config.n_heads(), config.d_conv_channels());
    for t in 0..n {
        let cum = scratch.log_decay[t * heads + head];
        let y = &mut scratch.y[t * d_inner + head * p..][..p];
        y.fill(0.0);
        let c = &scratch.xbc[t * channels + d_inner + d_state..][..d_state];
        for (row, c) in h.chunks_exact(d_inner).zip(c) {
            ops::axpy(cum.exp() * c, &row[head * p..][..p], y);
        }
        for s in 0..=t {
            let decay = (cum - scratch.log_decay[s * heads + head]).exp();
            let mut weight =
                decay * scratch.cb[t * config.chunk + s] * scratch.dt[s * heads + head];
            if s == t {
                weight += d;
            }
            ops::axpy(weight, &scratch.xbc[s * channels + head * p..][..p], y);
        }
    }
}

/// State of one head after a chunk.
fn chunk_state(config: &ModelConfig, head: usize, n: usize, h: &mut [f32], scratch: &Scratch) {
    let (d_inner, p, heads) = (config.d_inner, config.head_dim, config.n_heads());
    let channels = config.d_conv_channels();
    let total = scratch.log_decay[(n - 1) * heads + head];
    for (index, row) in h.chunks_exact_mut(d_inner).enumerate() {
        let row = &mut row[head * p..][..p];
        for h in row.iter_mut() {
            *h *= total.exp();
        }
        for s in 0..n {
            let decay = (total - scratch.log_decay[s * heads + head]).exp();
            let b = scratch.xbc[s * channels + d_inner + index];
            let weight = decay * scratch.dt[s * heads + head] * b;
            ops::axpy(weight, &scratch.xbc[s * channels + head * p..][..p], row);
        }
    }
}
