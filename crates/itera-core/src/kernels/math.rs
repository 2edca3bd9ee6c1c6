//! Exponentials of whole vectors, and slices that end inside a vector.
//!
//! Relative error over all inputs: [`exp`] 3e-7 between -87 and 88, beyond which the input is clamped;
//! [`sigmoid`] 4e-7; [`softplus`] 4e-7, or absolute 1e-38. NaN stays NaN.

use super::{
    cephes,
    lanes::{Lanes, WIDTH},
};

/// Lanes from `at` on, zeros after the end of the slice.
#[inline(always)]
pub(super) fn get<L: Lanes>(l: L, from: &[f32], at: usize) -> L::F {
    match from[at..].first_chunk::<WIDTH>() {
        Some(block) => l.load(block),
        None => l.load_part(&from[at..]),
    }
}

/// Lanes to `at` and after, as far as the slice goes.
#[inline(always)]
pub(super) fn put<L: Lanes>(l: L, x: L::F, to: &mut [f32], at: usize) {
    let to = &mut to[at..];
    match to.first_chunk_mut::<WIDTH>() {
        Some(block) => l.store(x, block),
        None => l.store_part(x, to),
    }
}

/// `e^x`, the input clamped to -87 and 88.
///
/// `x = n ln 2 + r` with `|r| <= ln(2) / 2`, and `e^r` by a polynomial of degree 6.
#[inline(always)]
pub(super) fn exp<L: Lanes>(l: L, x: L::F) -> L::F {
    // The order of the operands keeps NaN, see `Lanes::min`.
    let x = l.max(l.splat(-87.0), l.min(l.splat(88.0), x));
    let n = l.round(l.mul(x, l.splat(std::f32::consts::LOG2_E)));
    let r = l.fma(n, l.splat(-cephes::LN_2_HIGH), x);
    let r = l.fma(n, l.splat(-cephes::LN_2_LOW), r);
    let [first, rest @ ..] = cephes::POLYNOMIAL;
    let mut p = l.splat(first);
    for c in rest {
        p = l.fma(p, r, l.splat(c));
    }
    let p = l.fma(p, l.mul(r, r), l.add(r, l.splat(1.0)));
    l.scale_by_exp2(p, n)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<L: Lanes>(l: L, x: L::F) -> L::F {
    let one = l.splat(1.0);
    l.div(one, l.add(one, exp(l, l.sub(l.zero(), x))))
}

/// `silu(x) = x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn silu<L: Lanes>(l: L, x: L::F) -> L::F {
    l.mul(x, sigmoid(l, x))
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e)` with `e = e^-|x|`, and `ln(1 + e) = 2 artanh(s)` with
/// `s = e / (2 + e) <= 1/3`, by the first nine terms of its series.
#[inline(always)]
pub(super) fn softplus<L: Lanes>(l: L, x: L::F) -> L::F {
    let e = exp(l, l.min(x, l.sub(l.zero(), x)));
    let s = l.div(e, l.add(l.splat(2.0), e));
    let square = l.mul(s, s);
    let mut series = l.splat(1.0 / 17.0);
    for odd in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0_f32] {
        series = l.fma(series, square, l.splat(1.0 / odd));
    }
    let log = l.mul(l.add(s, s), series);
    l.add(l.max(x, l.zero()), log)
}

/// The sum of squares of a slice.
#[inline(always)]
pub(super) fn sum_of_squares<L: Lanes>(l: L, x: &[f32]) -> f32 {
    let mut squares = l.zero();
    for at in (0..x.len()).step_by(WIDTH) {
        let x = get(l, x, at);
        squares = l.fma(x, x, squares);
    }
    l.sum(squares)
}
