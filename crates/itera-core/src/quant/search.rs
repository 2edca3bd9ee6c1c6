//! The scale of a group: the one with the least squared error of those worth trying.

use half::f16;

use crate::checkpoint::rounding::{Rounded, RowFormat, largest, stored, wide};

/// Scales that are tried for a group, as fractions of the one that just holds its largest weight.
const FRACTIONS: usize = 45;

/// The smallest fraction.
const LEAST_FRACTION: f64 = 0.55;

/// The step from a fraction to the next.
const FRACTION_STEP: f64 = 0.0125;

/// Scales whose errors are computed side by side.
const ABREAST: usize = 8;

/// To the nearest, with the scale of each group that has the least squared error, weighted by the
/// second moments of the inputs (the diagonal of `H`). Where all weights of a row are integers of one
/// scale, each group gets that: alone, it might have a larger one, and equal scales take fewer bytes.
pub(super) fn search(weights: &[f64], moments: &[f64], format: RowFormat) -> Rounded {
    if let Some(scale) = exact_scale(weights, format) {
        return Rounded::with_scales(weights, format, |_, _| scale);
    }
    Rounded::with_scales(weights, format, |index, group| {
        let moments = &moments[index * format.group..][..group.len()];
        best_scale(group, moments, format)
    })
}

/// The scale of a group that has the least squared error, weighted by `moments`; the one that just
/// holds the largest weight if none has less.
pub(super) fn best_scale(weights: &[f64], moments: &[f64], format: RowFormat) -> f16 {
    if let Some(scale) = exact_scale(weights, format) {
        return scale;
    }
    let whole = format.whole_scale(weights);
    let mut scales = vec![whole];
    scales.extend(candidates(weights, format));
    let (mut best, mut least) = (whole, f64::INFINITY);
    for scales in scales.chunks(ABREAST) {
        let errors = errors(weights, moments, scales, format);
        for (scale, error) in scales.iter().zip(errors) {
            if error < least {
                (best, least) = (*scale, error);
            }
        }
    }
    best
}

/// The scale of which all weights of a group are integers, as training for integers leaves them, if
/// there is one.
pub(super) fn exact_scale(weights: &[f64], format: RowFormat) -> Option<f16> {
    let by_magnitude = |a: &&f64, b: &&f64| a.abs().total_cmp(&b.abs());
    let largest = *weights.iter().max_by(by_magnitude)?;
    let is_exact = |scale: &f16| {
        // Equal, whichever sign a zero has: 0 times a negative scale is -0.
        #[expect(clippy::float_cmp, reason = "an exact scale is wanted")]
        let is_value =
            |weight: &f64| f64::from(format.integer(*weight, *scale)) * wide(*scale) == *weight;
        (*scale > f16::ZERO || format.may_be_negative() && *scale < f16::ZERO)
            && weights.iter().all(is_value)
    };
    // Try each integer that the largest weight could be, the smallest first: a multiple of it would do too.
    (1..=format.low.unsigned_abs())
        .flat_map(|q| [f64::from(q), -f64::from(q)])
        .map(|q| stored(largest / q))
        .find(is_exact)
}

/// The weighted squared error of a group for each of up to [`ABREAST`] scales, summed in the order
/// of the weights.
fn errors(weights: &[f64], moments: &[f64], scales: &[f16], format: RowFormat) -> [f64; ABREAST] {
    let (low, high) = (f64::from(format.low), f64::from(format.high));
    let scales: [f64; ABREAST] = std::array::from_fn(|at| scales.get(at).map_or(0.0, |s| wide(*s)));
    // A scale of 0 makes every value 0, whatever the integer.
    let divisors = scales.map(|scale| if scale == 0.0 { 1.0 } else { scale });
    let mut errors = [0.0; ABREAST];
    for (weight, moment) in weights.iter().zip(moments) {
        for ((error, scale), divisor) in errors.iter_mut().zip(scales).zip(divisors) {
            let wrong = round_small((weight / divisor).clamp(low, high)) * scale - weight;
            *error += moment * (wrong * wrong);
        }
    }
    errors
}

/// Rounds each weight of a group to the nearest integer times `scale`.
pub(super) fn round_in_place(weights: &mut [f32], scale: f16, format: RowFormat) {
    let (low, high) = (f64::from(format.low), f64::from(format.high));
    let divisor = if scale == f16::ZERO { 1.0 } else { wide(scale) };
    let scale = scale.to_f32();
    for weight in weights {
        let integer = round_small((f64::from(*weight) / divisor).clamp(low, high));
        *weight = integer as f32 * scale;
    }
}

/// `x.round()`, half away from zero, for |x| below 2^51: without a call, so that loops of it become
/// vector code.
fn round_small(x: f64) -> f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52: adding it rounds, half to even
    let even = (x + ROUND) - ROUND;
    let rest = x - even;
    let away = if rest.abs() >= 0.5 && rest * x > 0.0 {
        1.0_f64.copysign(x)
    } else {
        0.0
    };
    even + away
}

/// Scales worth trying for a group, as stored, each once: positive ones, and where there is a lower
/// integer than `-high`, negative ones, for which it stands at the other end. Zero for a group of
/// zeros.
pub(super) fn candidates(weights: &[f64], format: RowFormat) -> Vec<f16> {
    let fraction = |index: usize| LEAST_FRACTION + FRACTION_STEP * index as f64;
    let both = [1.0, -1.0];
    let signs = if format.may_be_negative() {
        &both[..]
    } else {
        &both[..1]
    };
    let mut scales: Vec<f16> = signs
        .iter()
        .flat_map(|sign| {
            let whole = sign * largest(weights) / f64::from(format.high);
            (0..FRACTIONS).map(move |index| stored(whole * fraction(index)))
        })
        .collect();
    scales.dedup();
    scales
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// [`best_scale`] by its definition: one scale after another, each weight by a call.
    fn best_scale_by_definition(weights: &[f64], moments: &[f64], format: RowFormat) -> f16 {
        let error = |scale: f16| -> f64 {
            let value = |weight: f64| f64::from(format.integer(weight, scale)) * wide(scale);
            let errors = weights.iter().zip(moments);
            errors
                .map(|(w, moment)| moment * (value(*w) - w).powi(2))
                .sum()
        };
        let mut best = format.whole_scale(weights);
        for scale in candidates(weights, format) {
            if error(scale) < error(best) {
                best = scale;
            }
        }
        best
    }

    #[test]
    fn the_lowest_integer_serves_either_sign() {
        let format = RowFormat::TESTED[1];
        for sign in [1.0, -1.0] {
            // On the grid of eighths only with the eight at one end.
            let weights: Vec<f64> = (0..32)
                .map(|i| sign * f64::from(i * 5 % 16 - 7) / 8.0)
                .collect();
            let rounded = search(&weights, &[1.0; 32], format);
            assert_eq!(rounded.values(format.group).collect::<Vec<f64>>(), weights);
            assert!(rounded.integers.contains(&-8));
            assert_eq!(rounded.scales, [stored(-sign / 8.0)]);
        }
    }

    #[test]
    fn a_row_of_one_scale_keeps_it_in_each_group() {
        let format = RowFormat::TESTED[2];
        let weight = |at: usize| f64::from(at as u32 % 32) * if at < 32 { 0.5 } else { 0.25 };
        let weights: Vec<f64> = (0..64).map(weight).collect();
        let rounded = search(&weights, &[1.0; 64], format);
        assert_eq!(rounded.scales, [stored(0.25); 2]);
        assert_eq!(rounded.values(format.group).collect::<Vec<f64>>(), weights);
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for quarters in -40..=40 {
            let x = f64::from(quarters) / 4.0;
            assert!((round_small(x) - x.round()).abs() < 1e-9, "{x}");
        }
        let below = 0.5_f64.next_down();
        assert!(round_small(below).abs() + round_small(-below).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn scales_abreast_are_those_of_the_definition(
            weights in prop::collection::vec(prop_oneof![-1.0..1.0_f64, Just(0.0), -1e-7..1e-7_f64], 32),
            moments in prop::collection::vec(0.0..2.0_f64, 32),
        ) {
            for format in RowFormat::TESTED {
                let (weights, moments) = (&weights[..format.group], &moments[..format.group]);
                let scale = best_scale(weights, moments, format);
                prop_assert_eq!(scale, best_scale_by_definition(weights, moments, format));
                let mut narrow: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
                let integers: Vec<i8> =
                    narrow.iter().map(|w| format.integer(f64::from(*w), scale)).collect();
                round_in_place(&mut narrow, scale, format);
                for (value, q) in narrow.iter().zip(integers) {
                    prop_assert_eq!(value.to_bits(), (f32::from(q) * scale.to_f32()).to_bits());
                }
            }
        }
    }
}
