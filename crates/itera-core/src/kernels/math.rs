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

/// Calls `$pass(at)` for every `$step`-th `at` below `$len`, several steps at a time and the last one by one. Exponentials
/// are computed abreast: each is a chain of operations that wait for one another, and a processor looks only so far ahead
/// for others. With few registers that gains nothing.
macro_rules! abreast {
    ($len:expr, $step:expr, |$at:ident| $pass:ident::<$lanes:ident>($($argument:expr),+)) => {{
        let (len, mut $at) = ($len, 0);
        while $lanes::REGISTERS >= 32 && $at + 4 * $step <= len {
            $pass::<$lanes, 4>($($argument),+);
            $at += 4 * $step;
        }
        while $lanes::REGISTERS >= 8 && $at + 2 * $step <= len {
            $pass::<$lanes, 2>($($argument),+);
            $at += 2 * $step;
        }
        while $at < len {
            $pass::<$lanes, 1>($($argument),+);
            $at += $step;
        }
    }};
}
pub(super) use abreast;

/// The same for every vector.
macro_rules! each {
    ($l:ident, $i:ident => $value:expr) => {{
        let mut out = [$l.zero(); N];
        for $i in 0..N {
            out[$i] = $value;
        }
        out
    }};
}

/// `e^x`, the input clamped to -87 and 88.
#[inline(always)]
pub(super) fn exp<L: Lanes, const N: usize>(l: L, x: [L::F; N]) -> [L::F; N] {
    // The order of the operands keeps NaN, see `Lanes::min`.
    exp_nonpositive(l, each!(l, i => l.min(l.splat(88.0), x[i])))
}

/// `e^x`, the input clamped to -87; it must be at most 88.
///
/// `x = n ln 2 + r` with `|r| <= ln(2) / 2`, and `e^r` by a polynomial of degree 6.
#[inline(always)]
pub(super) fn exp_nonpositive<L: Lanes, const N: usize>(l: L, x: [L::F; N]) -> [L::F; N] {
    let x = each!(l, i => l.max(l.splat(-87.0), x[i]));
    let n = each!(l, i => l.round(l.mul(x[i], l.splat(core::f32::consts::LOG2_E))));
    let r = each!(l, i => l.fma(n[i], l.splat(-cephes::LN_2_HIGH), x[i]));
    let r = each!(l, i => l.fma(n[i], l.splat(-cephes::LN_2_LOW), r[i]));
    let [first, rest @ ..] = cephes::POLYNOMIAL;
    let mut p = [l.splat(first); N];
    for c in rest {
        p = each!(l, i => l.fma(p[i], r[i], l.splat(c)));
    }
    let p = each!(l, i => l.fma(p[i], l.mul(r[i], r[i]), l.add(r[i], l.splat(1.0))));
    each!(l, i => l.scale_by_exp2(p[i], n[i]))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<L: Lanes, const N: usize>(l: L, x: [L::F; N]) -> [L::F; N] {
    let one = l.splat(1.0);
    let exp = exp(l, each!(l, i => l.sub(l.zero(), x[i])));
    each!(l, i => l.div(one, l.add(one, exp[i])))
}

/// `silu(x) = x / (1 + e^-x)` of the first `N` vectors.
#[inline(always)]
pub(super) fn silu<L: Lanes, const N: usize>(l: L, x: &[f32]) -> [L::F; N] {
    let x = each!(l, i => get(l, x, i * WIDTH));
    let sigmoid = sigmoid(l, x);
    each!(l, i => l.mul(x[i], sigmoid[i]))
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e)` with `e = e^-|x|`, and `ln(1 + e) = 2 artanh(s)` with
/// `s = e / (2 + e) <= 1/3`, by the first nine terms of its series.
#[inline(always)]
pub(super) fn softplus<L: Lanes, const N: usize>(l: L, x: [L::F; N]) -> [L::F; N] {
    let e = exp_nonpositive(l, each!(l, i => l.min(x[i], l.sub(l.zero(), x[i]))));
    let s = each!(l, i => l.div(e[i], l.add(l.splat(2.0), e[i])));
    let mut series = [l.splat(1.0 / 17.0); N];
    for odd in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0_f32] {
        series = each!(l, i => l.fma(series[i], l.mul(s[i], s[i]), l.splat(1.0 / odd)));
    }
    let log = each!(l, i => l.mul(l.add(s[i], s[i]), series[i]));
    each!(l, i => l.add(l.max(x[i], l.zero()), log[i]))
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

/// The maximum of a slice, ignoring NaN; negative infinity if it is empty or all NaN.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    // Two vectors, since each comparison waits for the one before. The compiler vectorises these,
    // but not `f32::max`, which treats NaN apart.
    let (blocks, tail) = x.as_chunks::<{ 2 * WIDTH }>();
    let mut lanes = [f32::NEG_INFINITY; 2 * WIDTH];
    for block in blocks {
        for i in 0..2 * WIDTH {
            lanes[i] = if block[i] > lanes[i] {
                block[i]
            } else {
                lanes[i]
            };
        }
    }
    lanes.iter().chain(tail).fold(
        f32::NEG_INFINITY,
        |largest, &x| if x > largest { x } else { largest },
    )
}

/// The square root, rounded as IEEE 754 says with and without std.
#[inline(always)]
pub(super) fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    return libm::sqrtf(x);
}
