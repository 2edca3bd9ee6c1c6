//! The mixture of experts as one operator: tokens are gathered by expert, so that only chosen
//! experts are computed, each by dense matrix products.

use std::{ops::Range, sync::Arc};

use itera_core::config::Routing;
use pulp::Simd;

use super::lanes::{self, Kernel, Vectors, WIDTH, ZERO, dispatch, load, splat, store};
use crate::host::{HostBackend, Matrix, Operator};

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

    /// The tokens that visit an expert and their weights; `None` if there are none.
    fn visit(&self, expert: usize) -> Option<Visit<'_>> {
        let n_experts = self.ranges.len();
        let slots = self.ranges[expert].clone();
        let tokens = &self.slots[slots.clone()];
        let weights = tokens.iter();
        let weights = weights.map(|token| self.p[*token as usize * n_experts + expert]);
        (!slots.is_empty()).then(|| Visit {
            expert,
            tokens,
            weights: weights.collect(),
            slots,
        })
    }
}

/// The tokens of one expert.
struct Visit<'a> {
    expert: usize,
    tokens: &'a [u32],
    weights: Vec<f32>, // probabilities that the router gave to the expert
    /// Their slots, among the slots of all experts.
    slots: Range<usize>,
}

impl Visit<'_> {
    /// The rows of `values [rows, width]` that belong to the tokens.
    fn gather<B: HostBackend>(&self, values: &[f32], width: usize) -> Matrix<B> {
        let mut out = Vec::with_capacity(self.tokens.len() * width);
        for token in self.tokens {
            out.extend_from_slice(&values[*token as usize * width..][..width]);
        }
        Matrix::new(out, [self.tokens.len(), width])
    }

    /// Adds the rows of `values` to the rows of the tokens in `out [rows, width]`.
    fn scatter_add<B: HostBackend>(&self, values: Matrix<B>, width: usize, out: &mut [f32]) {
        let values = values.into_values();
        for (values, token) in values.chunks_exact(width).zip(self.tokens) {
            let out = &mut out[*token as usize * width..][..width];
            for (out, value) in out.iter_mut().zip(values) {
                *out += value;
            }
        }
    }
}

impl Experts {
    /// A feed-forward that all tokens pass, as a mixture of one expert; its router logits have no effect.
    pub(crate) fn single(d_model: usize, d_expert: usize) -> Self {
        Self {
            n_experts: 1,
            top_k: 1,
            routing: Routing::All,
            d_model,
            d_expert,
        }
    }

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
            slots,
            ranges,
            hidden: Vec::new(),
        }
    }

    /// The input matrix of an expert, `[2 * d_expert, d_model]`.
    fn w_in<B: HostBackend>(&self, w_in: &[f32], expert: usize) -> Matrix<B> {
        let len = 2 * self.d_expert * self.d_model;
        let values = w_in[expert * len..][..len].to_vec();
        Matrix::new(values, [2 * self.d_expert, self.d_model])
    }

    /// The output matrix of an expert, `[d_model, d_expert]`.
    fn w_out<B: HostBackend>(&self, w_out: &[f32], expert: usize) -> Matrix<B> {
        let len = self.d_expert * self.d_model;
        let values = w_out[expert * len..][..len].to_vec();
        Matrix::new(values, [self.d_model, self.d_expert])
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
        let mut all_hidden = Vec::with_capacity(routed.slots.len() * 2 * width);
        for visit in (0..self.n_experts).filter_map(|expert| routed.visit(expert)) {
            let w_in = self.w_in::<B>(w_in, visit.expert).transposed();
            let hidden = visit.gather::<B>(u, d_model).times(&w_in).into_values();
            let act = activate(width, &hidden, &visit.weights);
            let act = Matrix::<B>::new(act, [visit.tokens.len(), width]);
            let y = act.times(&self.w_out(w_out, visit.expert).transposed());
            visit.scatter_add(y, d_model, &mut out);
            all_hidden.extend(hidden);
        }
        routed.hidden = all_hidden;
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
        let mut d_w_in = Vec::with_capacity(w_in.len());
        let mut d_w_out = Vec::with_capacity(w_out.len());
        for expert in 0..n_experts {
            let Some(visit) = saved.visit(expert) else {
                d_w_in.resize(d_w_in.len() + 2 * width * d_model, 0.0);
                d_w_out.resize(d_w_out.len() + width * d_model, 0.0);
                continue;
            };
            let n = visit.tokens.len();
            let hidden = &saved.hidden[visit.slots.start * 2 * width..][..n * 2 * width];
            let d_y = visit.gather::<B>(grad, d_model);
            let act = Matrix::new(activate(width, hidden, &visit.weights), [n, width]);
            d_w_out.extend(d_y.transposed().times(&act).into_values());
            let d_act = d_y.times(&self.w_out(w_out, expert)).into_values();
            let (d_hidden, d_weights) = deactivate(width, hidden, &visit.weights, &d_act);
            for (token, d) in visit.tokens.iter().zip(d_weights) {
                d_p[*token as usize * n_experts + expert] = d;
            }
            let d_hidden = Matrix::<B>::new(d_hidden, [n, 2 * width]);
            let gathered = visit.gather(u, d_model);
            d_w_in.extend(d_hidden.transposed().times(&gathered).into_values());
            visit.scatter_add(d_hidden.times(&self.w_in(w_in, expert)), d_model, &mut d_u);
        }
        reverse_softmax(&saved.p, n_experts, &mut d_p);
        [d_u, d_p, d_w_in, d_w_out]
    }
}

/// From the gradient of the probabilities `p [rows, n_experts]` to the gradient of their logits:
/// `d_logit_i = p_i (d_p_i - sum_j p_j d_p_j)`.
fn reverse_softmax(p: &[f32], n_experts: usize, d: &mut [f32]) {
    let rows = p.chunks_exact(n_experts);
    for (p, d) in rows.zip(d.chunks_exact_mut(n_experts)) {
        let mean: f32 = p.iter().zip(d.iter()).map(|(p, d)| p * d).sum();
        for (p, d) in p.iter().zip(d.iter_mut()) {
            *d = p * (*d - mean);
        }
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
    hidden: &'a [f32],  // [slots, 2 * width]: gate and up
    weights: &'a [f32], // [slots]
    act: &'a mut [f32], // [slots, width]
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
    dispatch(Deactivate {
        width,
        hidden,
        weights,
        d_act,
        d_hidden: &mut d_hidden,
        d_weights: &mut d_weights,
    });
    (d_hidden, d_weights)
}

struct Deactivate<'a> {
    width: usize,
    hidden: &'a [f32],        // [slots, 2 * width]: gate and up
    weights: &'a [f32],       // [slots]
    d_act: &'a [f32],         // [slots, width]
    d_hidden: &'a mut [f32],  // [slots, 2 * width]
    d_weights: &'a mut [f32], // [slots]
}

impl Kernel for Deactivate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let width = self.width;
        let slots = self
            .hidden
            .chunks_exact(2 * width)
            .zip(self.d_hidden.chunks_exact_mut(2 * width));
        let slots = slots.zip(self.d_act.chunks_exact(width));
        for (((hidden, d_hidden), d_act), (weight, d_weight)) in
            slots.zip(self.weights.iter().zip(self.d_weights))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_stays_nan_in_its_row_of_the_router() {
        for at in 0..5 {
            let mut rows = [[0.5_f32; 5]; 2];
            rows[0][at] = f32::NAN;
            for row in &mut rows {
                softmax(row);
            }
            assert!(rows[0].iter().all(|p| p.is_nan()), "{rows:?}");
            assert!(rows[1].iter().all(|p| !p.is_nan()), "{rows:?}");
        }
    }
}
