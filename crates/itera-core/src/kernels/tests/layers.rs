//! Norms, gates, router and mixer.

use proptest::prelude::*;

use super::{assert_close, others, rows, values};
use crate::{
    config::{ModelConfig, Preset, Routing},
    kernels::{
        AddScaled, Convolve, GatedNorm, Hidden, Kernel, LogSumExp, Recurrence, RmsNorm, Route,
        Routes, RowsMut, StepSizes, SwiGlu, Table, lanes::WIDTH,
    },
};

#[test]
fn a_nan_router_logit_makes_every_weight_of_its_token_nan() {
    let (n_experts, d_model, stride) = (5, 20, 32);
    let router = values(1, n_experts * d_model);
    for kernel in Kernel::available() {
        for routing in [Routing::All, Routing::Chosen] {
            for expert in 0..n_experts {
                let mut router = router.clone();
                router[expert * d_model..][..2].fill(f32::MAX);
                // Only the second token's logit is infinity minus infinity.
                let mut u = values(2, 3 * stride);
                for (u, first) in u.chunks_mut(stride).zip([0.0, 4.0, 0.0]) {
                    u[..2].copy_from_slice(&[first, -first]);
                }
                let config = ModelConfig {
                    n_experts,
                    top_k: 2,
                    routing,
                    ..Preset::Test.config(64)
                };
                let mut routes = Routes::new(&config, 3);
                kernel.run(Route {
                    router: Some(&router),
                    u: rows(&u, stride),
                    routes: &mut routes,
                });
                let mut visits = 0;
                for e in 0..n_experts {
                    let weights = routes.weights(e).iter();
                    for (token, weight) in routes.tokens(e).iter().zip(weights) {
                        assert_eq!(weight.is_nan(), *token == 1, "{kernel} {expert}");
                        visits += usize::from(*token == 1);
                    }
                }
                assert!(visits > 0, "{kernel} {expert}: the token is dropped");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn loops_over_values_agree_with_scalar_code(
        seed in 0_u64..1000,
        width in 1_usize..80,
        n in 1_usize..5,
    ) {
        let stride = width.next_multiple_of(WIDTH);
        let (x, z) = (values(seed, n * stride), values(seed + 1, n * stride));
        let gain = values(seed + 2, width);
        let run = |kernel: Kernel| {
            let (gain, eps) = (&gain[..], 1e-5);
            let mut normed = vec![0.0; n * stride];
            let out = RowsMut { values: &mut normed, stride };
            kernel.run(RmsNorm { x: rows(&x, stride), gain, eps, out });
            let mut gated = x.clone();
            let y = RowsMut { values: &mut gated, stride };
            kernel.run(GatedNorm { z: rows(&z, stride), gain, eps, y });
            let mut active = vec![0.0; n * stride];
            let hidden = [&x[..], &z].concat();
            kernel.run(SwiGlu {
                hidden: rows(&hidden, 2 * stride),
                width: stride,
                out: RowsMut { values: &mut active, stride },
            });
            let mut added = z.clone();
            kernel.run(AddScaled { weight: 0.7, x: &x, to: &mut added });
            let sum = kernel.run(LogSumExp(&x[..width])) as f32;
            [normed, gated, active, added, vec![sum]]
        };
        let expected = run(Kernel::scalar());
        for kernel in others(1) {
            for (found, expected) in run(kernel).iter().zip(&expected) {
                assert_close(found, expected, 3e-6, kernel.name());
            }
            prop_assert_eq!(&run(kernel.exact()), &expected, "{}", kernel);
        }
    }

    #[test]
    fn the_mixer_agrees_with_scalar_code(
        seed in 0_u64..1000,
        heads in 1_usize..5,
        head_dim in 1_usize..40,
        d_state in 1_usize..20,
        taps in 1_usize..7,
        n in 1_usize..12,
    ) {
        let sizes = Sizes { heads, head_dim, d_state, taps, n };
        let expected = sizes.mixer(Kernel::scalar(), seed, n);
        for kernel in others(1) {
            for (found, expected) in sizes.mixer(kernel, seed, n).iter().zip(&expected) {
                assert_close(found, expected, 2e-5, kernel.name());
            }
            prop_assert_eq!(&sizes.mixer(kernel.exact(), seed, n), &expected, "{}", kernel);
        }
        // Token by token gives the same bits.
        for kernel in Kernel::available() {
            prop_assert_eq!(sizes.mixer(kernel, seed, 1), sizes.mixer(kernel, seed, n));
        }
    }

    #[test]
    fn routes_send_each_token_to_the_most_probable(
        seed in 0_u64..1000,
        n_experts in 1_usize..20,
        n in 1_usize..9,
    ) {
        let top_k = 1 + n_experts / 3;
        let (d_model, stride) = (20, 32);
        let (router, u) = (values(seed, n_experts * d_model), values(seed + 1, n * stride));
        for kernel in Kernel::available() {
            let config = ModelConfig { n_experts, top_k, ..Preset::Test.config(64) };
            let mut routes = Routes::new(&config, n);
            kernel.run(Route {
                router: Some(&router),
                u: rows(&u, stride),
                routes: &mut routes,
            });
            for token in 0..n {
                let u = &u[token * stride..][..d_model];
                let dot = |w: &[f32]| w.iter().zip(u).map(|(w, u)| f64::from(w * u)).sum::<f64>();
                let logits: Vec<f64> = router.chunks(d_model).map(dot).collect();
                let sum: f64 = logits.iter().map(|x| x.exp()).sum();
                let mut visited = 0;
                for expert in 0..n_experts {
                    let slot = routes.tokens(expert).iter().position(|t| *t == token as u32);
                    let Some(slot) = slot else { continue };
                    visited += 1;
                    let p = f64::from(routes.weights(expert)[slot]);
                    prop_assert!((p - logits[expert].exp() / sum).abs() < 1e-5);
                    let better = logits.iter().filter(|x| **x > logits[expert] + 1e-5).count();
                    prop_assert!(better < top_k, "expert {expert} is not among the best");
                }
                prop_assert_eq!(visited, top_k);
            }
        }
    }
}

/// Sizes of a mixer without projections.
struct Sizes {
    heads: usize,
    head_dim: usize,
    d_state: usize,
    taps: usize,
    n: usize,
}

impl Sizes {
    /// Convolution, step sizes and recurrence of random inputs, `piece` tokens at a time: outputs,
    /// state, memory of the convolution.
    fn mixer(&self, kernel: Kernel, seed: u64, piece: usize) -> [Vec<f32>; 3] {
        let (heads, d_state) = (self.heads, self.d_state);
        let d_inner = heads * self.head_dim;
        let channels = d_inner + 2 * d_state;
        let stride = channels + heads + 3;
        let input = values(seed, self.n * stride);
        let weights = values(seed + 1, self.taps * channels);
        let (bias, d) = (values(seed + 2, channels), values(seed + 3, heads));
        let a: Vec<f32> = values(seed + 4, heads).iter().map(|a| -a.abs()).collect();
        let mut memory = values(seed + 5, (self.taps - 1) * channels);
        let mut h = Hidden::new(d_state, d_inner);
        h.copy_from_slice(&values(seed + 6, d_state * d_inner));
        let mut y = vec![0.0; self.n * d_inner];
        for (input, y) in input
            .chunks(piece * stride)
            .zip(y.chunks_mut(piece * d_inner))
        {
            let n = input.len() / stride;
            let (mut dt, mut decay) = (Table::new(n, heads), Table::new(n, heads));
            let mut xbc = Table::new(n, channels);
            let input = rows(input, stride);
            kernel.run(Convolve {
                x: input,
                taps: &weights,
                bias: &bias,
                memory: &mut memory,
                out: xbc.rows_mut(0, n),
            });
            kernel.run(StepSizes {
                raw: input.columns(channels),
                bias: &d,
                a: &a,
                dt: dt.rows_mut(0, n),
                decay: decay.rows_mut(0, n),
            });
            kernel.run(Recurrence {
                xbc: xbc.rows(0, n),
                dt: dt.rows(0, n),
                decay: decay.rows(0, n),
                d: &d,
                h: &mut h,
                y: RowsMut {
                    values: y,
                    stride: d_inner,
                },
            });
        }
        [y, h.iter().collect(), memory]
    }
}
