//! Exponentials and functions of them, against the exact values.

use super::{LENS, values};
use crate::kernels::{
    Kernel, LogSumExp, Op,
    lanes::{Lanes, WIDTH},
    math,
};

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
            let [y] = match self.function {
                Function::Exp => math::exp(l, [x]),
                Function::Sigmoid => math::sigmoid(l, [x]),
                Function::Softplus => math::softplus(l, [x]),
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
