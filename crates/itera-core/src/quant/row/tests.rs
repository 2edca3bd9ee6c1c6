//! Tests of [`super`].

use proptest::prelude::*;

use super::*;

const FORMS: [Form; 3] = [
    Form {
        group: 16,
        low: -8,
        high: 7,
    },
    Form {
        group: 32,
        low: -8,
        high: 7,
    },
    Form {
        group: 32,
        low: -127,
        high: 127,
    },
];

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

fn check_range(rounded: &Rounded, form: Form, cols: usize) {
    assert_eq!(rounded.integers.len(), cols);
    assert_eq!(rounded.scales.len(), cols / form.group);
    let range = form.low..=form.high;
    assert!(rounded.integers.iter().all(|q| range.contains(q)));
    let may_be_negative = form.low < -form.high;
    let sound = |s: &f16| s.is_finite() && (may_be_negative || *s >= f16::ZERO);
    assert!(rounded.scales.iter().all(sound));
}

#[test]
fn extreme_groups_stay_in_range() {
    for form in FORMS {
        let metric = Metric::new(hessian(64, 1), form.group).unwrap();
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
                nearest(&weights, form),
                search(&weights, &[1.0; 64], form),
                feedback(&weights, &metric, form),
            ] {
                check_range(&rounded, form, 64);
                assert!(extreme != 0.0 || rounded.integers == [0; 64]);
            }
        }
    }
}

#[test]
fn feedback_uses_that_inputs_are_alike() {
    let form = FORMS[1];
    let weights: Vec<f64> = (0..64)
        .map(|i| f64::from(i * 37 % 64) / 64.0 - 0.5)
        .collect();
    let metric = Metric::new(hessian(64, 7), form.group).unwrap();
    let error = |rounded: &Rounded| metric.error(&weights, rounded, form);
    let moments: Vec<f64> = (0..64).map(|i| metric.hessian.at(i, i)).collect();
    let searched = error(&search(&weights, &moments, form));
    let pass = error(&with_feedback(&weights, &metric, form));
    let full = error(&feedback(&weights, &metric, form));
    assert!(pass < 0.7 * searched, "{pass} {searched}");
    assert!(full < 0.95 * pass, "{full} {pass}");
}

#[test]
fn weights_on_the_grid_are_kept() {
    for form in &FORMS[..2] {
        let weights: Vec<f64> = (0..64).map(|i| f64::from(i * 4 % 15 - 7) * 0.125).collect();
        let metric = Metric::new(hessian(64, 3), form.group).unwrap();
        let rounded = feedback(&weights, &metric, *form);
        assert_eq!(rounded.values(form.group).collect::<Vec<f64>>(), weights);
    }
}

#[test]
fn the_lowest_integer_serves_either_sign() {
    let form = FORMS[1];
    for sign in [1.0, -1.0] {
        // On the grid of eighths only with the eight at one end.
        let weights: Vec<f64> = (0..32)
            .map(|i| sign * f64::from(i * 5 % 16 - 7) / 8.0)
            .collect();
        let rounded = search(&weights, &[1.0; 32], form);
        assert_eq!(rounded.values(form.group).collect::<Vec<f64>>(), weights);
        assert!(rounded.integers.contains(&-8));
        assert_eq!(rounded.scales, [stored(-sign / 8.0)]);
    }
}

/// [`best_scale`] by its definition: one scale after another, each weight by a call.
fn best_scale_by_definition(weights: &[f64], moments: &[f64], form: Form) -> f16 {
    let error = |scale: f16| -> f64 {
        let value = |weight: f64| f64::from(integer(weight, scale, form)) * wide(scale);
        let errors = weights.iter().zip(moments);
        errors
            .map(|(w, moment)| moment * (value(*w) - w).powi(2))
            .sum()
    };
    let mut best = stored(largest(weights) / f64::from(form.high));
    for scale in candidates(weights, form) {
        if error(scale) < error(best) {
            best = scale;
        }
    }
    best
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
    fn feedback_is_never_worse_than_nearest(
        weights in prop::collection::vec(-1.0..1.0_f64, 64),
        seed: u64,
        which in 0..FORMS.len(),
    ) {
        let form = FORMS[which];
        let metric = Metric::new(hessian(64, seed), form.group).unwrap();
        let rounded = feedback(&weights, &metric, form);
        check_range(&rounded, form, 64);
        let plain = metric.error(&weights, &nearest(&weights, form), form);
        prop_assert!(metric.error(&weights, &rounded, form) <= plain);
    }

    #[test]
    fn searched_scales_have_no_more_squared_error_than_whole_ones(
        weights in prop::collection::vec(-1.0..1.0_f64, 64),
    ) {
        for form in FORMS {
            let error = |rounded: Rounded| -> f64 {
                let values = rounded.values(form.group).zip(&weights);
                values.map(|(v, w)| (v - w).powi(2)).sum()
            };
            let searched = error(search(&weights, &[1.0; 64], form));
            prop_assert!(searched <= error(nearest(&weights, form)));
        }
    }

    #[test]
    fn scales_abreast_are_those_of_the_definition(
        weights in prop::collection::vec(prop_oneof![-1.0..1.0_f64, Just(0.0), -1e-7..1e-7_f64], 32),
        moments in prop::collection::vec(0.0..2.0_f64, 32),
    ) {
        for form in FORMS {
            let (weights, moments) = (&weights[..form.group], &moments[..form.group]);
            let scale = best_scale(weights, moments, form);
            prop_assert_eq!(scale, best_scale_by_definition(weights, moments, form));
            let mut narrow: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
            let integers: Vec<i8> =
                narrow.iter().map(|w| integer(f64::from(*w), scale, form)).collect();
            round_in_place(&mut narrow, scale, form);
            for (value, q) in narrow.iter().zip(integers) {
                prop_assert_eq!(value.to_bits(), (f32::from(q) * scale.to_f32()).to_bits());
            }
        }
    }
}
