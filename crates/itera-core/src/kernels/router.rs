//! The router of the experts.

use alloc::{vec, vec::Vec};

use super::{
    Op, Rows,
    buffer::Buffer,
    lanes::{Lanes, WIDTH},
    math::{abreast, exp_nonpositive, get, put},
};
use crate::config::{ModelConfig, Routing};

/// Where the tokens of a call go: for each expert the tokens that visit it, ascending, and the
/// weights of its output for them.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    top_k: usize,
    routing: Routing,
    rows: usize,
    probabilities: Buffer<f32>, // [rows, n_experts]
    ranks: Vec<usize>,          // [n_experts], of the token looked at last
    tokens: Vec<u32>,           // [n_experts, rows]
    weights: Vec<f32>,          // [n_experts, rows]
    visits: Vec<usize>,         // [n_experts]
}

impl Routes {
    /// Memory for `rows` tokens.
    pub(crate) fn new(config: &ModelConfig, rows: usize) -> Self {
        let n_experts = config.n_experts;
        Self {
            top_k: config.top_k,
            routing: config.routing,
            rows,
            probabilities: Buffer::new(rows * n_experts),
            ranks: vec![0; n_experts],
            tokens: vec![0; n_experts * rows],
            weights: vec![0.0; n_experts * rows],
            visits: vec![0; n_experts],
        }
    }

    /// Tokens that visit an expert, ascending.
    pub(crate) fn tokens(&self, expert: usize) -> &[u32] {
        &self.tokens[expert * self.rows..][..self.visits[expert]]
    }

    /// Weights of the expert's output for those tokens.
    pub(crate) fn weights(&self, expert: usize) -> &[f32] {
        &self.weights[expert * self.rows..][..self.visits[expert]]
    }

    /// Sends a token to the `top_k` most probable experts, ties to the lower index.
    ///
    /// Every list is written to and only those of the chosen grow: the choice is unpredictable, so
    /// this is branch-free.
    #[inline(always)]
    fn send(&mut self, token: usize) {
        let n_experts = self.ranks.len();
        let probabilities = &self.probabilities[token * n_experts..][..n_experts];
        let mut of_chosen = 0.0;
        for ((expert, p), rank) in probabilities.iter().enumerate().zip(&mut self.ranks) {
            *rank = 0;
            for (other, q) in probabilities.iter().enumerate() {
                *rank += usize::from(if other < expert { q >= p } else { q > p });
            }
            of_chosen += if *rank < self.top_k { *p } else { 0.0 };
        }
        let total = match self.routing {
            Routing::All => 1.0,
            Routing::Chosen => of_chosen,
        };
        for ((expert, p), rank) in probabilities.iter().enumerate().zip(&self.ranks) {
            // There is room: of `rows` tokens, those before this one have added one each at most.
            let slot = expert * self.rows + self.visits[expert];
            self.tokens[slot] = token as u32;
            self.weights[slot] = p / total;
            self.visits[expert] += usize::from(*rank < self.top_k);
        }
    }
}

/// `p = softmax(W u)` for each token, and the experts with the `top_k` largest probabilities, ties
/// to the lower index. Their weights are `p`, or `p` over the sum of the chosen.
///
/// # Shapes
/// - `router`: `[n_experts, d_model]`; `None` where all tokens visit the one expert
/// - `u`: `[n, d_model]`
pub(crate) struct Route<'a> {
    pub(crate) router: Option<&'a [f32]>,
    pub(crate) u: Rows<'a>,
    pub(crate) routes: &'a mut Routes,
}

impl Op for Route<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let routes = self.routes;
        let n_experts = routes.ranks.len();
        let probabilities = &mut routes.probabilities[..self.u.len * n_experts];
        match self.router {
            Some(router) => softmax(l, router, n_experts, self.u, probabilities),
            None => probabilities.fill(1.0),
        }
        routes.visits.fill(0);
        for token in 0..self.u.len {
            routes.send(token);
        }
    }
}

/// `p = softmax(W u)` for each token; a NaN logit makes every probability of its token NaN.
#[inline(always)]
fn softmax<L: Lanes>(l: L, router: &[f32], n_experts: usize, u: Rows<'_>, p: &mut [f32]) {
    let d_model = router.len() / n_experts;
    for t in 0..u.len {
        let (u, p) = (u.row(t, d_model), &mut p[t * n_experts..][..n_experts]);
        let mut largest = f32::NEG_INFINITY;
        for expert in 0..n_experts {
            p[expert] = dot(l, &router[expert * d_model..][..d_model], u);
            largest = largest.max(p[expert]);
        }
        for p in p {
            *p -= largest;
        }
    }
    // Of all tokens together, since they have less than a vector each.
    abreast!(p.len(), WIDTH, |at| exp_in_place::<L>(l, &mut p[at..]));
    for t in 0..u.len {
        let p = &mut p[t * n_experts..][..n_experts];
        let sum: f32 = p.iter().sum();
        for p in p {
            *p /= sum;
        }
    }
}

/// The inner product of slices of equal length.
#[inline(always)]
fn dot<L: Lanes>(l: L, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = l.zero();
    for at in (0..a.len()).step_by(WIDTH) {
        sums = l.fma(get(l, a, at), get(l, b, at), sums);
    }
    l.sum(sums)
}

/// `x = e^x` for `x` that is not positive, the first `N` vectors.
#[inline(always)]
fn exp_in_place<L: Lanes, const N: usize>(l: L, x: &mut [f32]) {
    let mut powers = [l.zero(); N];
    for i in 0..N {
        powers[i] = get(l, x, i * WIDTH);
    }
    for (i, power) in exp_nonpositive(l, powers).into_iter().enumerate() {
        put(l, power, x, i * WIDTH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    /// The weights of the experts that a token with these probabilities is sent to.
    fn sent(routing: Routing, top_k: usize, probabilities: [f32; 4]) -> [Vec<f32>; 4] {
        let config = ModelConfig {
            top_k,
            routing,
            ..Preset::Test.config(64)
        };
        let mut routes = Routes::new(&config, 1);
        routes.probabilities.copy_from_slice(&probabilities);
        routes.send(0);
        [0, 1, 2, 3].map(|expert| routes.weights(expert).to_vec())
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        let weights = sent(Routing::All, 3, [0.1, 0.5, 0.5, 0.1]);
        assert_eq!(weights, [vec![0.1], vec![0.5], vec![0.5], vec![]]);
    }

    #[test]
    fn weights_of_the_chosen_sum_to_one_if_the_softmax_is_over_them() {
        let weights = sent(Routing::Chosen, 2, [0.125, 0.25, 0.5, 0.125]);
        assert_eq!(
            weights,
            [vec![], vec![0.25 / 0.75], vec![0.5 / 0.75], vec![]]
        );
    }
}
