//! The mixture of experts: each token visits its `top_k` experts and, where there is one, the
//! shared expert. Experts that are not chosen are not computed.

use super::{
    ops,
    state::Scratch,
    weights::{Expert, Layer},
};
use crate::config::ModelConfig;

/// `scratch.out = sum_e p_e expert_e(scratch.u)` for `n` tokens, `[n, d_model]` both, with `p` the
/// router's softmax over all experts (Switch Transformer, Fedus et al. 2021) and the sum over the
/// `top_k` largest, ties to the lower index.
pub(super) fn forward(config: &ModelConfig, layer: &Layer, n: usize, scratch: &mut Scratch) {
    let d_model = config.d_model;
    let Scratch {
        u,
        out,
        router: p,
        chosen,
        hidden,
        ..
    } = scratch;
    let tokens = u[..n * d_model]
        .chunks_exact(d_model)
        .zip(out.chunks_exact_mut(d_model));
    for (u, out) in tokens {
        out.fill(0.0);
        if let Some(router) = &layer.router {
            router.apply(u, p);
            ops::softmax(p);
            ops::top_k(p, chosen);
        } else {
            p[0] = 1.0;
            chosen[0] = 0;
        }
        for &e in chosen.iter() {
            layer.experts[e].accumulate(p[e], u, hidden, out);
        }
        if let Some(shared) = &layer.shared {
            shared.accumulate(1.0, u, hidden, out);
        }
    }
}

impl Expert {
    /// `out += weight * w_out (silu(gate) * up)` with `[gate; up] = w_in u`, for one token.
    fn accumulate(&self, weight: f32, u: &[f32], hidden: &mut [f32], out: &mut [f32]) {
        let hidden = &mut hidden[..2 * self.width];
        self.w_in.apply(u, hidden);
        let (gate, up) = hidden.split_at_mut(self.width);
        for (gate, up) in gate.iter_mut().zip(up.iter()) {
            *gate = ops::silu(*gate) * up;
        }
        for (row, out) in out.iter_mut().enumerate() {
            *out += weight * ops::dot(self.w_out.row(row), gate);
        }
    }
}
