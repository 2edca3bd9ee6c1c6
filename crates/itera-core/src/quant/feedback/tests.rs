//! Tests of [`super`].

use proptest::prelude::*;

use super::*;

/// `sum x x^T` over inputs in which neighbours are alike, damped.
fn hessian(size: usize, seed: u64) -> Square {
    let mut state = seed;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f64 / (1_u64 << 23) as f64 - 1.0
    };
    let mut sum = Square::identity(size);
    for _ in 0..2 * size {
        let mut level = 0.0;
        let mut input = || {
            level = 0.8 * level + next();
            level
        };
        let x: Vec<f64> = (0..size).map(|_| input()).collect();
        for i in 0..size {
            for j in 0..size {
                sum.values[i * size + j] += x[i] * x[j];
            }
        }
    }
    sum
}

fn check_range(rounded: &Rounded, format: RowFormat, cols: usize) {
    assert_eq!(rounded.integers.len(), cols);
    assert_eq!(rounded.scales.len(), cols / format.group);
    let range = format.low..=format.high;
    assert!(rounded.integers.iter().all(|q| range.contains(q)));
    let sound = |s: &f16| s.is_finite() && (format.may_be_negative() || *s >= f16::ZERO);
    assert!(rounded.scales.iter().all(sound));
}

#[test]
fn extreme_groups_stay_in_range() {
    for format in RowFormat::TESTED {
        let metric = Metric::new(hessian(64, 1), format.group).unwrap();
        for extreme in [
            0.0,
            1e-300,
            f64::from(f32::MIN_POSITIVE),
            1e-9,
            65504.0,
            3e38,
        ] {
            let mut weights = vec![0.0; 64];
            weights[5] = extreme;
            weights[40] = -extreme;
            for rounded in [
                Rounded::nearest(&weights, format),
                search(&weights, &[1.0; 64], format),
                feedback(&weights, &metric, format),
            ] {
                check_range(&rounded, format, 64);
                assert!(extreme != 0.0 || rounded.integers == [0; 64]);
            }
        }
    }
}

#[test]
fn feedback_uses_that_inputs_are_alike() {
    let format = RowFormat::TESTED[1];
    let weights: Vec<f64> = (0..64)
        .map(|i| f64::from(i * 37 % 64) / 64.0 - 0.5)
        .collect();
    let metric = Metric::new(hessian(64, 7), format.group).unwrap();
    let error = |rounded: &Rounded| metric.error(&weights, rounded, format);
    let moments: Vec<f64> = (0..64).map(|i| metric.hessian.at(i, i)).collect();
    let searched = error(&search(&weights, &moments, format));
    let scales = |rest: &[f64]| candidates(rest, format);
    let pass = error(&with_feedback(&weights, &metric, format, scales));
    let full = error(&feedback(&weights, &metric, format));
    assert!(pass < 0.7 * searched, "{pass} {searched}");
    assert!(full < 0.95 * pass, "{full} {pass}");
}

#[test]
fn a_given_scale_stays_and_leaves_less_error_than_the_nearest_integers() {
    let format = RowFormat {
        group: 64,
        ..RowFormat::TESTED[1]
    };
    let weights: Vec<f64> = (0..64)
        .map(|i| f64::from(i * 37 % 64) / 64.0 - 0.5)
        .collect();
    let metric = Metric::new(hessian(64, 7), 64).unwrap();
    let scale = f16::from_f64(0.1);
    let rounded = at_scale(&weights, &metric, scale, format);
    assert_eq!(rounded.scales, [scale]);
    check_range(&rounded, format, 64);
    let nearest = Rounded::with_scales(&weights, format, |_, _| scale);
    let error = |rounded: &Rounded| metric.error(&weights, rounded, format);
    assert!(error(&rounded) < 0.7 * error(&nearest));
}

#[test]
fn weights_on_the_grid_are_kept() {
    for format in &RowFormat::TESTED[..2] {
        let weights: Vec<f64> = (0..64).map(|i| f64::from(i * 4 % 15 - 7) * 0.125).collect();
        let metric = Metric::new(hessian(64, 3), format.group).unwrap();
        let rounded = feedback(&weights, &metric, *format);
        assert_eq!(rounded.values(format.group).collect::<Vec<f64>>(), weights);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn feedback_is_never_worse_than_nearest(
        weights in prop::collection::vec(-1.0..1.0_f64, 64),
        seed: u64,
        which in 0..RowFormat::TESTED.len(),
    ) {
        let format = RowFormat::TESTED[which];
        let metric = Metric::new(hessian(64, seed), format.group).unwrap();
        let rounded = feedback(&weights, &metric, format);
        check_range(&rounded, format, 64);
        let plain = metric.error(&weights, &Rounded::nearest(&weights, format), format);
        prop_assert!(metric.error(&weights, &rounded, format) <= plain);
    }

    #[test]
    fn searched_scales_have_no_more_squared_error_than_whole_ones(
        weights in prop::collection::vec(-1.0..1.0_f64, 64),
    ) {
        for format in RowFormat::TESTED {
            let error = |rounded: Rounded| -> f64 {
                let values = rounded.values(format.group).zip(&weights);
                values.map(|(v, w)| (v - w).powi(2)).sum()
            };
            let searched = error(search(&weights, &[1.0; 64], format));
            prop_assert!(searched <= error(Rounded::nearest(&weights, format)));
        }
    }
}
