//! Every kernel against the scalar code, at lengths below, at and past the width of a vector.

use proptest::prelude::*;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{
    AddScaled, Buffer, Convolve, GatedNorm, Kernel, LogSumExp, Matrix, Op, Product, Quantize,
    Quantized, Recurrence, RmsNorm, Route, Routes, Rows, RowsMut, StepSizes, SwiGlu, Table,
    lanes::{Lanes, WIDTH},
    math,
};
use crate::{
    checkpoint::{Precision, Tensor, TensorData},
    config::{ModelConfig, Preset, Routing},
};

/// Lengths around the widths of vectors, blocks and panels.
const LENS: [usize; 15] = [1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65];

/// Random values from -1 to 1.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0;
    (0..len).map(|_| draw()).collect()
}

/// Kernels other than the scalar one.
fn others() -> Vec<Kernel> {
    let available = Kernel::available().into_iter();
    available
        .filter(|kernel| *kernel != Kernel::scalar())
        .collect()
}

/// Asserts that two results differ by at most `bound` times the largest magnitude.
fn assert_close(found: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected
        .iter()
        .fold(0.0_f32, |largest, x| largest.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let close = (a - b).abs() <= bound * largest.max(f32::MIN_POSITIVE);
        assert!(close, "{what}: value {i} is {a}, expected {b}");
    }
}

/// `X W^T` by a kernel: outputs `[n, rows]` without what fills up the rows.
fn product(kernel: Kernel, tensor: &Tensor, x: &[f32], chosen: Option<&[u32]>) -> Vec<f32> {
    let matrix = Matrix::from_tensor(tensor, kernel);
    let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
    let n = x.len() / cols;
    let stride = cols.next_multiple_of(WIDTH);
    let mut floats = Buffer::new(n * stride);
    for (to, x) in floats.chunks_mut(stride).zip(x.chunks(cols)) {
        // What lies beyond the columns must not matter.
        to.fill(f32::MAX);
        to[..cols].copy_from_slice(x);
    }
    let mut integers = Quantized::new(n, cols);
    let x = Rows {
        values: &floats,
        stride,
    };
    kernel.run(Quantize {
        matrix: &matrix,
        x,
        to: &mut integers,
    });
    let outputs = chosen.map_or(n, <[u32]>::len);
    let mut out = Table::new(outputs, rows);
    kernel.multiply(Product {
        matrix: &matrix,
        x,
        integers: &integers,
        chosen,
        out: out.rows_mut(0, outputs),
    });
    out.iter().flatten().copied().collect()
}

/// Integers of a tensor, its scales and its group.
fn integers(tensor: &Tensor) -> (Vec<i32>, Vec<f32>, usize) {
    let wide = |values: &[i8]| values.iter().map(|q| i32::from(*q)).collect();
    let floats = |scales: &[half::f16]| scales.iter().map(|s| s.to_f32()).collect();
    match &tensor.data {
        TensorData::Int8 {
            values,
            scales,
            group,
        } => (wide(values), floats(scales), *group),
        TensorData::Int4 {
            packed,
            scales,
            group,
        } => (
            wide(&crate::checkpoint::unpack_nibbles(packed)),
            floats(scales),
            *group,
        ),
        _ => panic!("the tensor is not quantised"),
    }
}

/// The definition of an integer product, without layouts: integers of inputs by the stated rule,
/// exact sums, then floats.
fn integer_definition(tensor: &Tensor, x: &[f32]) -> Vec<f32> {
    let cols = tensor.shape[1];
    let (weights, scales, group) = integers(tensor);
    let mut out = Vec::new();
    for x in x.chunks(cols) {
        for (row, w) in weights.chunks(cols).enumerate() {
            let mut sum = 0.0;
            for (g, (x, w)) in x.chunks(group).zip(w.chunks(group)).enumerate() {
                let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                let inverse = if largest < 1e-30 {
                    0.0
                } else {
                    127.0 / largest
                };
                let dot: i32 = x
                    .iter()
                    .zip(w)
                    .map(|(x, w)| (x * inverse).round_ties_even() as i32 * w)
                    .sum();
                let scale = if largest < 1e-30 {
                    0.0
                } else {
                    largest * (1.0 / 127.0)
                };
                sum += dot as f32 * scale * scales[row * (cols / group) + g];
            }
            out.push(sum);
        }
    }
    out
}

#[test]
fn the_extreme_integers_and_scales_of_either_sign_agree_with_their_definition() {
    let (rows, cols) = (33, 64);
    // -8 and 7 next to the largest inputs: the greatest sums that there are.
    let weights = (0..rows * cols).map(|i: usize| if i.is_multiple_of(3) { 7 } else { -8 });
    let sign = |i: usize| if i.is_multiple_of(2) { 0.25 } else { -0.125 };
    let scales = (0..rows * cols / 32).map(|i| half::f16::from_f32(sign(i)));
    let tensor = Tensor::of_integers(
        [rows, cols].into(),
        Precision::Int4,
        32,
        weights.collect(),
        scales.collect(),
    );
    for x in [
        vec![1.0; 2 * cols],
        vec![-1.0; 2 * cols],
        values(5, 2 * cols),
    ] {
        let expected = integer_definition(&tensor, &x);
        for kernel in Kernel::available() {
            for (a, b) in product(kernel, &tensor, &x, None).iter().zip(&expected) {
                assert!(
                    (a - b).abs() <= 1e-5 * b.abs().max(1.0),
                    "{kernel}: {a}, expected {b}"
                );
            }
        }
    }
}

#[test]
fn products_of_every_size_agree_with_their_definition() {
    for (seed, &rows) in LENS.iter().enumerate() {
        for cols in [1, 5, 16, 20, 32, 48, 64, 112] {
            for n in [1, 2, 4, 5, 9] {
                let weights = values(seed as u64, rows * cols);
                let x = values(seed as u64 + 100, n * cols);
                for precision in Precision::ALL {
                    let tensor = Tensor::quantized([rows, cols], weights.clone(), precision);
                    let expected = if tensor.precision() == Precision::Fp32 {
                        let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| x * w).sum();
                        x.chunks(cols)
                            .flat_map(|x| weights.chunks(cols).map(move |w| dot(x, w)))
                            .collect()
                    } else {
                        integer_definition(&tensor, &x)
                    };
                    for kernel in Kernel::available() {
                        let what = format!("{kernel} {precision} {n}x{cols}x{rows}");
                        let found = product(kernel, &tensor, &x, None);
                        // Of `cols` additions of products below 1, each rounded.
                        let bound = cols as f32 * f32::EPSILON;
                        assert_eq!(found.len(), expected.len(), "{what}");
                        for (a, b) in found.iter().zip(&expected) {
                            assert!((a - b).abs() <= bound, "{what}: {a}, expected {b}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn kernels_with_fused_multiply_adds_agree_to_the_last_bit() {
    let (rows, cols, n) = (70, 112, 7);
    let x = values(1, n * cols);
    for precision in Precision::ALL {
        let tensor = Tensor::quantized([rows, cols], values(2, rows * cols), precision);
        let results = others()
            .into_iter()
            .map(|kernel| product(kernel, &tensor, &x, None));
        let results: Vec<_> = results.collect();
        assert!(
            results.windows(2).all(|pair| pair[0] == pair[1]),
            "{precision}"
        );
    }
}

#[test]
fn a_product_does_not_depend_on_what_else_is_in_the_batch() {
    let (rows, cols, n) = (37, 48, 9);
    let x = values(3, n * cols);
    for precision in Precision::ALL {
        let tensor = Tensor::quantized([rows, cols], values(4, rows * cols), precision);
        for kernel in Kernel::available() {
            let together = product(kernel, &tensor, &x, None);
            let alone = x
                .chunks(cols)
                .flat_map(|x| product(kernel, &tensor, x, None));
            assert_eq!(together, alone.collect::<Vec<_>>(), "{kernel} {precision}");
            let chosen = [8, 0, 3, 3, 5];
            let found = product(kernel, &tensor, &x, Some(&chosen));
            let expected = chosen
                .iter()
                .flat_map(|&t| &together[t as usize * rows..][..rows]);
            assert_eq!(
                found,
                expected.copied().collect::<Vec<_>>(),
                "{kernel} {precision}"
            );
        }
    }
}

#[test]
fn extreme_groups_are_exact_or_zero() {
    let cols = 64;
    let mut x = values(5, cols);
    x[..32].fill(0.0);
    for extreme in [0.0, f32::MIN_POSITIVE / 8.0, 1e-20, 1e20] {
        x[40] = extreme;
        for largest in [0.0, 1e-8, 1.0] {
            let weights: Vec<f32> = values(6, 20 * cols).iter().map(|w| w * largest).collect();
            for precision in [Precision::Int8, Precision::Int4] {
                let tensor = Tensor::quantized([20, cols], weights.clone(), precision);
                let expected = integer_definition(&tensor, &x);
                for kernel in Kernel::available() {
                    let found = product(kernel, &tensor, &x, None);
                    assert!(found.iter().all(|x| x.is_finite()), "{kernel} {extreme}");
                    assert_close(&found, &expected, 2e-6, &format!("{kernel} {extreme}"));
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_is_not_lost_in_integers() {
    for (cols, precision) in [
        (64, Precision::Int4),
        (64, Precision::Int8),
        (21, Precision::Int8),
    ] {
        let tensor = Tensor::quantized([5, cols], values(3, 5 * cols), precision);
        for kernel in Kernel::available() {
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, cols - 1] {
                    let mut x = values(4, 3 * cols);
                    x[cols + at] = broken;
                    let found = product(kernel, &tensor, &x, None);
                    let (first, rest) = found.split_at(5);
                    let (second, third) = rest.split_at(5);
                    assert!(
                        first.iter().chain(third).all(|y| y.is_finite()),
                        "{kernel:?}"
                    );
                    assert!(
                        second.iter().all(|y| y.is_nan()),
                        "{kernel:?} {broken}: {second:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_read_back_as_stored() {
    for (rows, cols) in [(5, 20), (70, 64), (130, 48)] {
        for precision in Precision::ALL {
            let tensor = Tensor::quantized([rows, cols], values(7, rows * cols), precision);
            let expected = tensor.to_f32();
            for kernel in Kernel::available() {
                let matrix = Matrix::from_tensor(&tensor, kernel);
                let mut row = vec![0.0; cols];
                for (index, expected) in expected.chunks(cols).enumerate() {
                    matrix.read_row(index, &mut row);
                    assert_eq!(row, expected, "{kernel} {precision} row {index}");
                }
            }
        }
    }
}

/// A function of lanes over a whole slice.
struct Map<'a> {
    function: Function,
    x: &'a mut [f32],
}

#[derive(Clone, Copy)]
enum Function {
    Exp,
    Sigmoid,
    Softplus,
}

const FUNCTIONS: [Function; 3] = [Function::Exp, Function::Sigmoid, Function::Softplus];

impl Function {
    fn exact(self, x: f64) -> f64 {
        match self {
            Self::Exp => x.exp(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Softplus => x.exp().ln_1p(),
        }
    }
}

impl Op for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for at in (0..self.x.len()).step_by(WIDTH) {
            let x = math::get(l, self.x, at);
            let y = match self.function {
                Function::Exp => math::exp(l, x),
                Function::Sigmoid => math::sigmoid(l, x),
                Function::Softplus => math::softplus(l, x),
            };
            math::put(l, y, self.x, at);
        }
    }
}

#[test]
fn functions_stay_within_their_stated_bounds() {
    let inputs: Vec<f32> = (-86_999..88_000).map(|i| i as f32 * 1e-3).collect();
    let bounds = [
        (Function::Exp, 3e-7),
        (Function::Sigmoid, 4e-7),
        (Function::Softplus, 4e-7),
    ];
    for (function, bound) in bounds {
        for kernel in Kernel::available() {
            let mut found = inputs.clone();
            kernel.run(Map {
                function,
                x: &mut found,
            });
            for (x, y) in inputs.iter().zip(found) {
                let expected = function.exact(f64::from(*x));
                let error = (f64::from(y) - expected).abs();
                assert!(
                    error <= bound * expected + 2e-38,
                    "{kernel}: {y} at {x}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn nan_stays_nan_in_its_lane() {
    for kernel in Kernel::available() {
        for function in FUNCTIONS {
            for at in 0..WIDTH {
                let mut x = [0.5; WIDTH];
                x[at] = f32::NAN;
                kernel.run(Map {
                    function,
                    x: &mut x,
                });
                for (lane, y) in x.iter().enumerate() {
                    assert_eq!(y.is_nan(), lane == at, "{kernel}: {x:?}");
                }
            }
        }
    }
}

#[test]
fn one_nan_logit_makes_the_likelihood_nan() {
    for kernel in Kernel::available() {
        for len in LENS {
            for broken in [f32::NAN, f32::INFINITY] {
                for at in 0..len {
                    let mut logits = values(8, len);
                    let sum = kernel.run(LogSumExp(&logits));
                    assert!(sum.is_finite(), "{kernel} {len}");
                    logits[at] = broken;
                    let sum = kernel.run(LogSumExp(&logits));
                    assert!(sum.is_nan(), "{kernel} {len} {at}");
                }
            }
        }
    }
}

#[test]
fn a_nan_router_logit_makes_every_weight_of_its_token_nan() {
    let (n_experts, d_model, stride) = (5, 20, 32);
    let router = values(1, n_experts * d_model);
    for kernel in Kernel::available() {
        for routing in [Routing::All, Routing::Chosen] {
            for expert in 0..n_experts {
                let mut router = router.clone();
                router[expert * d_model..][..2].fill(f32::MAX);
                // For the second token alone the logit is infinity less infinity.
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
                    u: Rows { values: &u, stride },
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

#[test]
fn functions_are_clamped_outside_and_never_infinite() {
    for kernel in Kernel::available() {
        for function in FUNCTIONS {
            let mut x = [-1e30, -1000.0, -88.0, 88.0, 1000.0, 1e30];
            kernel.run(Map {
                function,
                x: &mut x,
            });
            assert!(
                x.iter().all(|y| y.is_finite() && *y >= 0.0),
                "{kernel}: {x:?}"
            );
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
            kernel.run(RmsNorm { x: Rows { values: &x, stride }, gain, eps, out });
            let mut gated = x.clone();
            let y = RowsMut { values: &mut gated, stride };
            kernel.run(GatedNorm { z: Rows { values: &z, stride }, gain, eps, y });
            let mut active = vec![0.0; n * stride];
            let hidden = [&x[..], &z].concat();
            kernel.run(SwiGlu {
                hidden: Rows { values: &hidden, stride: 2 * stride },
                width: stride,
                out: RowsMut { values: &mut active, stride },
            });
            let mut added = z.clone();
            kernel.run(AddScaled { weight: 0.7, x: &x, to: &mut added });
            let sum = kernel.run(LogSumExp(&x[..width])) as f32;
            [normed, gated, active, added, vec![sum]]
        };
        let expected = run(Kernel::scalar());
        for kernel in others() {
            for (found, expected) in run(kernel).iter().zip(&expected) {
                assert_close(found, expected, 3e-6, kernel.name());
            }
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
        for kernel in others() {
            for (found, expected) in sizes.mixer(kernel, seed, n).iter().zip(&expected) {
                assert_close(found, expected, 2e-5, kernel.name());
            }
        }
        // Token by token the very same numbers come out.
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
                u: Rows { values: &u, stride },
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
        let mut h = values(seed + 6, d_state * d_inner);
        let mut y = vec![0.0; self.n * d_inner];
        for (input, y) in input
            .chunks(piece * stride)
            .zip(y.chunks_mut(piece * d_inner))
        {
            let n = input.len() / stride;
            let (mut dt, mut decay) = (Table::new(n, heads), Table::new(n, heads));
            let mut xbc = Table::new(n, channels);
            let input = Rows {
                values: input,
                stride,
            };
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
                d_inner,
                d_state,
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
        [y, h, memory]
    }
}

#[test]
fn names_give_kernels_or_say_what_there_is() {
    for kernel in Kernel::available() {
        assert_eq!(kernel.name().parse(), Ok(kernel));
    }
    let unknown = "mmx".parse::<Kernel>().unwrap_err().to_string();
    assert!(
        unknown.contains("\"mmx\"") && unknown.contains("scalar"),
        "{unknown}"
    );
    let foreign = if cfg!(target_arch = "x86_64") {
        "neon"
    } else {
        "avx2"
    };
    let unavailable = foreign.parse::<Kernel>().unwrap_err().to_string();
    assert!(
        unavailable.contains("cannot run") && unavailable.contains("scalar"),
        "{unavailable}"
    );
}
