//! Sixteen floats at a time, in plain arrays that the compiler turns into vector registers.
//!
//! Code built from these is run through [`dispatch`], which compiles it once per instruction set
//! and picks one at run time. Every sum has a fixed order, so results do not depend on the
//! instruction set.

/// Floats per [`Lane`].
pub(crate) const WIDTH: usize = 16;

/// A register's worth of floats.
pub(crate) type Lane = [f32; WIDTH];

/// All zeros.
pub(crate) const ZERO: Lane = [0.0; WIDTH];

/// A computation to be compiled for several instruction sets; see [`dispatch`] and [`kernel`].
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Runs it.
    fn run(self) -> Self::Output;
}

/// Makes a function of one argument a [`Kernel`]. The function has to be `#[inline(always)]`, and
/// so has everything that it calls in its hot loops: only what is inlined into [`dispatch`] is
/// compiled for the instruction set. (A closure, or a function passed as a value, is not.)
macro_rules! kernel {
    ($vis:vis $name:ident<$life:lifetime>($args:ty) -> $output:ty = $function:path) => {
        $vis struct $name<$life>($vis $args);

        impl<$life> $crate::fused::lanes::Kernel for $name<$life> {
            type Output = $output;

            #[inline(always)]
            fn run(self) -> $output {
                $function(self.0)
            }
        }
    };
}
pub(crate) use kernel;

/// Runs a kernel compiled for the best instruction set of this machine.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    struct Job<K>(K);
    impl<K: Kernel> pulp::WithSimd for Job<K> {
        type Output = K::Output;

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> K::Output {
            self.0.run()
        }
    }
    pulp::Arch::new().dispatch(Job(kernel))
}

/// `a * b + c`.
#[inline(always)]
pub(crate) fn fma(a: Lane, b: Lane, c: Lane) -> Lane {
    std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
}

/// `a * b`.
#[inline(always)]
pub(crate) fn mul(a: Lane, b: Lane) -> Lane {
    std::array::from_fn(|i| a[i] * b[i])
}

/// `value` in every lane.
#[inline(always)]
pub(crate) fn splat(value: f32) -> Lane {
    [value; WIDTH]
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
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_tail) = a.as_chunks::<WIDTH>();
    let (b_lanes, b_tail) = b.as_chunks::<WIDTH>();
    let mut total = ZERO;
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        total = fma(*a, *b, total);
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sum(total) + tail
}

/// `exp(x)` within 2e-7 relative, for |x| up to 87; beyond, clamped. A degree-6 polynomial on
/// `[-ln 2 / 2, ln 2 / 2]` (Cephes' coefficients) scaled by a power of two.
#[inline(always)]
#[expect(
    clippy::excessive_precision,
    reason = "Cephes' constants, as published"
)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_375, x);
    let r = n.mul_add(2.121_944_40e-4, r);
    let mut poly = 1.987_569_15e-4_f32;
    for coefficient in [
        1.398_199_95e-3,
        8.333_451_91e-3,
        4.166_579_59e-2,
        1.666_666_55e-1,
        5.000_000_1e-1,
    ] {
        poly = poly.mul_add(r, coefficient);
    }
    let value = poly.mul_add(r * r, r + 1.0);
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    value * scale
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

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
                (dot(&a, &a) - expected).abs() <= expected * 1e-6,
                "length {len}"
            );
        }
    }
}
