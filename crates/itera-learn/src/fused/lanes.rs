//! Sixteen floats at a time, in plain arrays that the compiler keeps in vector registers.
//!
//! Code built from these is run through [`dispatch`], which compiles it once per instruction set
//! and picks one at run time. Every sum has a fixed order, so results do not depend on the
//! instruction set.

use itera_core::kernels::cephes;
use pulp::Simd;

/// Floats per [`Lane`].
pub(crate) const WIDTH: usize = 16;

/// A register's worth of floats.
pub(crate) type Lane = [f32; WIDTH];

/// All zeros.
pub(crate) const ZERO: Lane = [0.0; WIDTH];

/// A computation to be compiled for several instruction sets: its fields are the arguments, and
/// [`dispatch`] runs it.
///
/// `run` has to be `#[inline(always)]`, and so has every function that it calls in its hot loops: only
/// inlined code is compiled for the instruction set. (A closure, or a function passed as a value, is
/// not.)
pub(crate) trait Kernel {
    /// Its result.
    type Output;

    /// Runs it.
    fn run<S: Simd>(self, v: Vectors<S>) -> Self::Output;
}

/// Runs a kernel compiled for the best instruction set of this machine.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    struct Job<K>(K);
    impl<K: Kernel> pulp::WithSimd for Job<K> {
        type Output = K::Output;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> K::Output {
            self.0.run(Vectors(simd))
        }
    }
    pulp::Arch::new().dispatch(Job(kernel))
}

/// The instruction set that a kernel is compiled for. Operations on lanes go through it, so that
/// they are vector instructions whatever the compiler makes of loops.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<S>(pub(crate) S);

/// An operation on one register of the instruction set, applied to all registers of a lane.
macro_rules! lanewise {
    ($(#[$doc:meta])* $name:ident($first:ident $(, $other:ident)*) = |$simd:ident| $value:expr) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name(self, $first: Lane $(, $other: Lane)*) -> Lane {
            let $simd = self.0;
            let mut out = $first;
            $(let mut $other = S::as_simd_f32s(&$other).0.iter();)*
            for slot in S::as_mut_simd_f32s(&mut out).0 {
                let $first = *slot;
                $(let Some(&$other) = $other.next() else { break };)*
                *slot = $value;
            }
            out
        }
    };
}

impl<S: Simd> Vectors<S> {
    lanewise! {
        /// `a * b + c`.
        fma(a, b, c) = |simd| simd.mul_add_f32s(a, b, c)
    }

    lanewise! {
        /// `a * b`.
        mul(a, b) = |simd| simd.mul_f32s(a, b)
    }

    lanewise! {
        /// `a + b`.
        add(a, b) = |simd| simd.add_f32s(a, b)
    }

    lanewise! {
        /// `a - b`.
        sub(a, b) = |simd| simd.sub_f32s(a, b)
    }

    lanewise! {
        /// `exp(x)`, see [`exp`].
        exp(x) = |simd| exp_register(simd, x)
    }

    lanewise! {
        /// `1 / (1 + exp(-x))`.
        sigmoid(x) = |simd| {
            let one = simd.splat_f32s(1.0);
            simd.div_f32s(one, simd.add_f32s(one, exp_register(simd, simd.neg_f32s(x))))
        }
    }

    /// `silu(x) = x sigmoid(x)` and its derivative, `sigmoid(x) (1 + x (1 - sigmoid(x)))`.
    #[inline(always)]
    pub(crate) fn silu(self, x: Lane) -> (Lane, Lane) {
        let sigmoid = self.sigmoid(x);
        let silu = self.mul(x, sigmoid);
        // sigmoid + silu (1 - sigmoid)
        let slope = self.add(sigmoid, self.mul(silu, self.sub(splat(1.0), sigmoid)));
        (silu, slope)
    }
}

/// `value` in every lane.
#[inline(always)]
pub(crate) fn splat(value: f32) -> Lane {
    [value; WIDTH]
}

/// The values of a block of sixteen, padded with zeros past the end.
#[inline(always)]
pub(crate) fn load(values: &[f32], block: usize) -> Lane {
    let values = &values[block * WIDTH..];
    if let Some(lane) = values.first_chunk::<WIDTH>() {
        return *lane;
    }
    let mut lane = ZERO;
    lane[..values.len()].copy_from_slice(values);
    lane
}

/// Writes the values of a block of sixteen, dropping those past the end.
#[inline(always)]
pub(crate) fn store(lane: Lane, block: usize, out: &mut [f32]) {
    let out = &mut out[block * WIDTH..];
    if let Some(out) = out.first_chunk_mut::<WIDTH>() {
        *out = lane;
    } else {
        let len = out.len();
        out.copy_from_slice(&lane[..len]);
    }
}

/// Sum of all lanes, in a fixed tree order.
#[inline(always)]
pub(crate) fn sum(a: Lane) -> f32 {
    let b: [f32; 8] = std::array::from_fn(|i| a[i] + a[i + 8]);
    let c: [f32; 4] = std::array::from_fn(|i| b[i] + b[i + 4]);
    (c[0] + c[2]) + (c[1] + c[3])
}

/// Sum of all values, in a fixed order.
#[inline(always)]
pub(crate) fn total(values: &[f32]) -> f32 {
    let (lanes, tail) = values.as_chunks::<WIDTH>();
    let mut sums = ZERO;
    for lane in lanes {
        for (sum, value) in sums.iter_mut().zip(lane) {
            *sum += value;
        }
    }
    sum(sums) + tail.iter().sum::<f32>()
}

/// Inner product.
#[inline(always)]
pub(crate) fn dot<S: Simd>(v: Vectors<S>, a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_tail) = a.as_chunks::<WIDTH>();
    let (b_lanes, b_tail) = b.as_chunks::<WIDTH>();
    let mut total = ZERO;
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        total = v.fma(*a, *b, total);
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sum(total) + tail
}

/// `exp(x)` within 2e-7 relative, for |x| up to 87; beyond, clamped. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    exp_register(pulp::Scalar::new(), x)
}

/// [`exp`] of every float of a register.
#[inline(always)]
fn exp_register<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let round = simd.splat_f32s(12_582_912.0); // 1.5 * 2^23: adding it rounds to an integer
    let x = clamp(simd, x, 87.0);
    let shifted = simd.mul_add_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(shifted, round);
    let r = simd.mul_add_f32s(n, simd.splat_f32s(-cephes::LN_2_HIGH), x);
    let r = simd.mul_add_f32s(n, simd.splat_f32s(-cephes::LN_2_LOW), r);
    let [first, rest @ ..] = cephes::POLYNOMIAL;
    let mut poly = simd.splat_f32s(first);
    for coefficient in rest {
        poly = simd.mul_add_f32s(poly, r, simd.splat_f32s(coefficient));
    }
    let value = simd.mul_add_f32s(
        poly,
        simd.mul_f32s(r, r),
        simd.add_f32s(r, simd.splat_f32s(1.0)),
    );
    let bits = simd.transmute_u32s_f32s(shifted);
    let shift = simd.splat_u32s(23);
    let exponent = simd.wrapping_dyn_shl_u32s(bits, shift);
    let scale = simd.add_u32s(exponent, simd.splat_u32s(0x3f80_0000));
    simd.mul_f32s(value, simd.transmute_f32s_u32s(scale))
}

/// `x` between `-limit` and `limit`. By comparisons: minimum and maximum may lose NaN.
#[inline(always)]
fn clamp<S: Simd>(simd: S, x: S::f32s, limit: f32) -> S::f32s {
    let (low, high) = (simd.splat_f32s(-limit), simd.splat_f32s(limit));
    let x = simd.select_f32s(simd.greater_than_f32s(x, high), high, x);
    simd.select_f32s(simd.less_than_f32s(x, low), low, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ExpLane(Lane);
    impl Kernel for ExpLane {
        type Output = Lane;

        #[inline(always)]
        fn run<S: Simd>(self, v: Vectors<S>) -> Lane {
            v.exp(self.0)
        }
    }

    struct Dot<'a>(&'a [f32]);
    impl Kernel for Dot<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, v: Vectors<S>) -> f32 {
            dot(v, self.0, self.0)
        }
    }

    /// Without the vectors of 256 bits, training took seventeen times as long where there are none of 512.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn vectors_of_the_machine_are_used() {
        let has_vectors = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let is_scalar = matches!(pulp::Arch::new(), pulp::Arch::Scalar);
        assert!(!(has_vectors && is_scalar));
    }

    #[test]
    fn exp_of_lanes_is_exp() {
        for step in -6000..6000 {
            let lane = std::array::from_fn(|i| (step * 16 + i as i32) as f32 * 0.001);
            let found = dispatch(ExpLane(lane)).map(f32::to_bits);
            assert_eq!(found, lane.map(|x| exp(x).to_bits()));
        }
    }

    #[test]
    fn nan_stays_nan_in_its_lane() {
        for at in 0..WIDTH {
            let mut lane = [0.5; WIDTH];
            lane[at] = f32::NAN;
            let found = dispatch(ExpLane(lane));
            for (i, y) in found.iter().enumerate() {
                assert_eq!(y.is_nan(), i == at, "{found:?}");
            }
        }
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn exp_stays_within_its_error() {
        for step in -8700..=8700 {
            let x = step as f32 * 0.01;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2e-7, "exp({x}) is off by {error:e}");
        }
    }

    #[test]
    fn dot_covers_every_tail() {
        for len in 0..70 {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let expected: f32 = (0..len).map(|i| (i * i) as f32).sum();
            assert!(
                (dispatch(Dot(&a)) - expected).abs() <= expected * 1e-6,
                "length {len}"
            );
        }
    }
}
