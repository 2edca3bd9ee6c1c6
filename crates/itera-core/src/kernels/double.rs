//! Functions of f64 that are made of additions, multiplications and divisions alone: the same to the last bit on
//! every machine, where those of a system's library differ.

use core::f64::consts::LOG2_E;

// ln 2 in two parts; products of the high one with the exponents of f64 are exact.
const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// Bits of the mantissa.
const MANTISSA: u32 = 52;

/// `exp(x)` for `x` from -708 to 709, within 4e-16 of the true value relatively. NaN stays NaN, and other inputs give
/// any number.
///
/// `exp(x) = 2^k exp(r)` with `|r| <= ln 2 / 2`, and Taylor's polynomial for the latter. There are neither branches
/// nor calls, so that the compiler vectorises it.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    // 1.5 * 2^52: adding it rounds to an integer, ties to even, which then stands in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const EXPONENT_BIAS: u64 = 1023;
    let shifted = x * LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let mut polynomial = 0.0;
    for n in (0..TAYLOR.len()).rev() {
        polynomial = polynomial * r + TAYLOR[n];
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(EXPONENT_BIAS) << MANTISSA);
    polynomial * power
}

/// `exp(x)` of a float as a float, within half a unit of its last place and a little; 0 or infinite beyond its range.
pub fn exp_f32(x: f32) -> f32 {
    exp(f64::from(x).clamp(-700.0, 700.0)) as f32
}

/// `exp(x)` for `x <= 0`; 0 below -708, where results would leave the normal numbers, and for NaN.
#[inline(always)]
pub fn exp_nonpositive(x: f64) -> f64 {
    let power = exp(x);
    if x >= -708.0 { power } else { 0.0 }
}

/// `1 / n!`; the first term left out is below 1e-17 for `|r| <= ln 2 / 2`.
const TAYLOR: [f64; 14] = {
    let mut coefficients = [1.0; 14];
    let mut factorial = 1.0;
    let mut n = 1;
    while n < coefficients.len() {
        factorial *= n as f64;
        coefficients[n] = 1.0 / factorial;
        n += 1;
    }
    coefficients
};

/// `ln(x)` for normal numbers above 0, within 8e-16 of the true value relatively; NaN for others.
///
/// `x = 2^k m` with `m` from `sqrt(1/2)` to `sqrt(2)`, and `ln(m) = 2 artanh(s)` with `s = (m - 1) / (m + 1)`, by
/// the series of the latter.
pub fn ln(x: f64) -> f64 {
    // The first bits of sqrt(1/2).
    const LEAST: i64 = 0x3fe6_a09e_667f_3bcd;
    // 1 / (2 n + 1); the first term left out is below 1e-17.
    const TERMS: u32 = 11;
    if !(f64::MIN_POSITIVE..f64::INFINITY).contains(&x) {
        return f64::NAN;
    }
    let bits = x.to_bits().cast_signed();
    let k = (bits - LEAST) >> MANTISSA;
    let m = f64::from_bits((bits - (k << MANTISSA)).cast_unsigned());
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut series = 0.0;
    for n in (0..TERMS).rev() {
        series = series * square + 1.0 / f64::from(2 * n + 1);
    }
    let k = k as f64;
    k * LN_2_HIGH + (2.0 * s * series + k * LN_2_LOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_and_logarithms_are_those_of_std_to_the_last_bits() {
        for step in -70_800..70_900 {
            let x = f64::from(step) / 100.0;
            let (found, expected) = (exp(x), x.exp());
            let error = (found - expected).abs();
            assert!(error <= 4e-16 * expected, "exp({x}): {found}, {expected}");
            let error = (ln(found) - found.ln()).abs();
            assert!(error <= 8e-16 * x.abs(), "ln({found}): {x}, {error}");
        }
        for step in 1..100_000 {
            let x = f64::from(step) / 30_011.0;
            let (found, expected) = (ln(x), x.ln());
            let error = (found - expected).abs();
            assert!(
                error <= 8e-16 * expected.abs(),
                "ln({x}): {found}, {expected}"
            );
        }
        assert_eq!((exp(0.0), ln(1.0)), (1.0, 0.0));
    }

    #[test]
    fn what_is_hopeless_is_nothing() {
        assert_eq!(exp_nonpositive(0.0).to_bits(), 1.0_f64.to_bits());
        for x in [f64::NEG_INFINITY, f64::NAN, -709.0] {
            assert_eq!(exp_nonpositive(x).to_bits(), 0.0_f64.to_bits(), "{x}");
        }
    }

    #[test]
    fn what_has_no_logarithm_gives_nan() {
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0] {
            assert!(ln(x).is_nan(), "{x}");
        }
        assert!(exp(f64::NAN).is_nan());
    }
}
