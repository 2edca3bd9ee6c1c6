//! The mixture of experts as one operator: tokens are gathered by expert, so that only chosen
//! experts are computed, each by dense matrix products.

use std::{ops::Range, sync::Arc};

use itera_core::config::Routing;
use pulp::Simd;

use super::lanes::{self, Kernel, Vectors, WIDTH, ZERO, dispatch, load, splat, store};
use crate::host::{HostBackend, Operator, matmul};

/// `sum_{e in top_k} p_e W_out_e (silu(gate) * up)` with `[gate; up] = W_in_e u` and
/// `p = softmax(router)` over all or over the chosen experts.
///
/// # Shapes
/// Inputs: `u [rows, d_model]`, `router [rows, n_experts]` logits,
/// `w_in [n_experts, 2 * d_expert, d_model]`, `w_out [n_experts, d_model, d_expert]`.
/// Output: `[rows, d_model]`.
#[derive(Clone, Debug)]
pub(crate) struct Experts {
    pub n_experts: usize,
    pub top_k: usize,
    pub routing: Routing,
    pub d_model: usize,
    pub d_expert: usize,
}

/// Which tokens went where, and the hidden values of the forward pass.
#[derive(Debug)]
pub(crate) struct Routed {
    p: Vec<f32>,     // [rows, n_experts]; routing over the chosen leaves 0 for the others
    slots: Vec<u32>, // token of each (token, expert) pair, sorted by expert
    ranges: Vec<Range<usize>>, // [n_experts] into `slots`
    hidden: Vec<f32>, // [slots, 2 * d_expert]: gate and up
}

impl Routed {
    /// Tokens that visited each expert.
    pub(crate) fn visits(&self) -> Vec<f32> {
        self.ranges.iter().map(|slots| slots.len() as f32).collect()
    }
}

impl Experts {
    /// Softmax, top-k, and the tokens sorted by expert.
    fn route(&self, router: &[f32]) -> Routed {
        let n_experts = self.n_experts;
        let mut p = router.to_vec();
        let mut visits = vec![Vec::new(); n_experts];
        let mut order: Vec<usize> = Vec::with_capacity(n_experts);
        for (token, p) in p.chunks_exact_mut(n_experts).enumerate() {
            softmax(p);
            order.clear();
            order.extend(0..n_experts);
            // Stable: equal probabilities stay in the order of their index.
            order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
            let (chosen, others) = order.split_at(self.top_k);
            for expert in chosen {
                visits[*expert].push(token as u32);
            }
            if self.routing == Routing::Chosen {
                for expert in others {
                    p[*expert] = 0.0;
                }
                let sum: f32 = p.iter().sum();
                for p in p {
                    *p /= sum;
                }
            }
        }
        let mut ranges = Vec::with_capacity(n_experts);
        let mut slots = Vec::with_capacity(p.len() / n_experts * self.top_k);
        for tokens in visits {
            let start = slots.len();
            slots.extend(tokens);
            ranges.push(start..slots.len());
        }
        Routed {
            p,
            hidden: vec![0.0; slots.len() * 2 * self.d_expert],
            slots,
            ranges,
        }
    }

    fn w_in<'a>(&self, w_in: &'a [f32], expert: usize) -> (&'a [f32], [usize; 2]) {
        let len = 2 * self.d_expert * self.d_model;
        (
            &w_in[expert * len..][..len],
            [2 * self.d_expert, self.d_model],
        )
    }

    fn w_out<'a>(&self, w_out: &'a [f32], expert: usize) -> (&'a [f32], [usize; 2]) {
        let len = self.d_expert * self.d_model;
        (&w_out[expert * len..][..len], [self.d_model, self.d_expert])
    }

    fn gather(&self, values: &[f32], tokens: &[u32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(tokens.len() * self.d_model);
        for token in tokens {
            out.extend_from_slice(&values[*token as usize * self.d_model..][..self.d_model]);
        }
        out
    }
}

impl Operator<4> for Experts {
    type Saved = Arc<Routed>;

    fn forward<B: HostBackend>(
        &self,
        [u, router, w_in, w_out]: [&[f32]; 4],
    ) -> (Vec<f32>, Vec<usize>, Self::Saved) {
        let (d_model, width) = (self.d_model, self.d_expert);
        let mut routed = self.route(router);
        let mut out = vec![0.0; u.len()];
        for expert in 0..self.n_experts {
            let range = routed.ranges[expert].clone();
            if range.is_empty() {
                continue;
            }
            let tokens = &routed.slots[range.clone()];
            let gathered = self.gather(u, tokens);
            let n = tokens.len();
            let hidden = matmul::<B>(
                (&gathered, [n, d_model]),
                false,
                self.w_in(w_in, expert),
                true,
            );
            let weights: Vec<f32> = tokens
                .iter()
                .map(|t| routed.p[*t as usize * self.n_experts + expert])
                .collect();
            let act = activate(width, &hidden, &weights);
            let y = matmul::<B>((&act, [n, width]), false, self.w_out(w_out, expert), true);
            scatter_add(&y, tokens, d_model, &mut out);
            routed.hidden[range.start * 2 * width..range.end * 2 * width].copy_from_slice(&hidden);
        }
        (out, vec![u.len() / d_model, d_model], Arc::new(routed))
    }

    fn backward<B: HostBackend>(
        &self,
        [u, _, w_in, w_out]: [&[f32]; 4],
        saved: Self::Saved,
        grad: &[f32],
    ) -> [Vec<f32>; 4] {
        let (d_model, width, n_experts) = (self.d_model, self.d_expert, self.n_experts);
        let mut d_u = vec![0.0; u.len()];
        let mut d_p = vec![0.0; saved.p.len()];
        let (mut d_w_in, mut d_w_out) = (
            Vec::with_capacity(w_in.len()),
            Vec::with_capacity(w_out.len()),
        );
        for expert in 0..n_experts {
            let range = saved.ranges[expert].clone();
            if range.is_empty() {
                d_w_in.resize(d_w_in.len() + 2 * width * d_model, 0.0);
                d_w_out.resize(d_w_out.len() + width * d_model, 0.0);
                continue;
            }
            let tokens = &saved.slots[range.clone()];
            let n = tokens.len();
            let hidden = &saved.hidden[range.start * 2 * width..range.end * 2 * width];
            let weights: Vec<f32> = tokens
                .iter()
                .map(|t| saved.p[*t as usize * n_experts + expert])
                .collect();
            let d_y = self.gather(grad, tokens);
            let act = activate(width, hidden, &weights);
            d_w_out.extend(matmul::<B>(
                (&d_y, [n, d_model]),
                true,
                (&act, [n, width]),
                false,
            ));
            let d_act = matmul::<B>(
                (&d_y, [n, d_model]),
                false,
                self.w_out(w_out, expert),
                false,
            );
            let (d_hidden, d_weights) = deactivate(width, hidden, &weights, &d_act);
            for (token, d) in tokens.iter().zip(d_weights) {
                d_p[*token as usize * n_experts + expert] = d;
            }
            let gathered = self.gather(u, tokens);
            let d_hidden = (&d_hidden[..], [n, 2 * width]);
            d_w_in.extend(matmul::<B>(
                d_hidden,
                true,
                (&gathered, [n, d_model]),
                false,
            ));
            let d_gathered = matmul::<B>(d_hidden, false, self.w_in(w_in, expert), false);
            scatter_add(&d_gathered, tokens, d_model, &mut d_u);
        }
        // Softmax: d_logit_i = p_i (d_p_i - sum_j p_j d_p_j).
        for (p, d) in saved
            .p
            .chunks_exact(n_experts)
            .zip(d_p.chunks_exact_mut(n_experts))
        {
            let mean: f32 = p.iter().zip(d.iter()).map(|(p, d)| p * d).sum();
            for (p, d) in p.iter().zip(d.iter_mut()) {
                *d = p * (*d - mean);
            }
        }
        [d_u, d_p, d_w_in, d_w_out]
    }
}

/// `silu(gate) * up` of every slot, times its weight.
fn activate(width: usize, hidden: &[f32], weights: &[f32]) -> Vec<f32> {
    let mut act = vec![0.0; weights.len() * width];
    dispatch(Activate {
        width,
        hidden,
        weights,
        act: &mut act,
    });
    act
}

struct Activate<'a> {
    width: usize,
    hidden: &'a [f32],
    weights: &'a [f32],
    act: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let width = self.width;
        let slots = self
            .hidden
            .chunks_exact(2 * width)
            .zip(self.act.chunks_exact_mut(width));
        for ((hidden, act), weight) in slots.zip(self.weights) {
            let (gate, up) = hidden.split_at(width);
            for block in 0..width.div_ceil(WIDTH) {
                let (silu, _) = v.silu(load(gate, block));
                let value = v.mul(v.mul(splat(*weight), silu), load(up, block));
                store(value, block, act);
            }
        }
    }
}

/// From `d_act`, the gradient of the activation times its weight, to the gradients of gate and up
/// and of the weight of each slot.
fn deactivate(
    width: usize,
    hidden: &[f32],
    weights: &[f32],
    d_act: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let mut d_hidden = vec![0.0; hidden.len()];
    let mut d_weights = vec![0.0; weights.len()];
    let outputs = (&mut d_hidden[..], &mut d_weights[..]);
    dispatch(Deactivate {
        width,
        hidden,
        weights,
        d_act,
        outputs,
    });
    (d_hidden, d_weights)
}

struct Deactivate<'a> {
    width: usize,
    hidden: &'a [f32],
    weights: &'a [f32],
    d_act: &'a [f32],
    /// Gradients of `hidden` and of `weights`.
    outputs: (&'a mut [f32], &'a mut [f32]),
}

impl Kernel for Deactivate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let width = self.width;
        let (d_hidden, d_weights) = self.outputs;
        let slots = self
            .hidden
            .chunks_exact(2 * width)
            .zip(d_hidden.chunks_exact_mut(2 * width));
        let slots = slots.zip(self.d_act.chunks_exact(width));
        for (((hidden, d_hidden), d_act), (weight, d_weight)) in
            slots.zip(self.weights.iter().zip(d_weights))
        {
            let (gate, up) = hidden.split_at(width);
            let (d_gate, d_up) = d_hidden.split_at_mut(width);
            let mut products = ZERO;
            for block in 0..width.div_ceil(WIDTH) {
                let (up, d) = (load(up, block), load(d_act, block));
                let (silu, slope) = v.silu(load(gate, block));
                products = v.fma(v.mul(silu, up), d, products);
                let d = v.mul(splat(*weight), d);
                store(v.mul(v.mul(d, up), slope), block, d_gate);
                store(v.mul(d, silu), block, d_up);
            }
            *d_weight = lanes::sum(products);
        }
    }
}

fn scatter_add(values: &[f32], tokens: &[u32], d_model: usize, out: &mut [f32]) {
    for (values, token) in values.chunks_exact(d_model).zip(tokens) {
        let out = &mut out[*token as usize * d_model..][..d_model];
        for (out, value) in out.iter_mut().zip(values) {
            *out += value;
        }
    }
}

fn softmax(values: &mut [f32]) {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = lanes::exp(*value - max);
        sum += *value;
    }
    for value in values {
        *value /= sum;
    }
}
