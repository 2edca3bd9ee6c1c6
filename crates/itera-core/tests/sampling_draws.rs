//! Draws of the sampler, and the log-probabilities used for scoring.

use itera_core::sampling::{Sampler, SamplingConfig, SamplingError, argmax, log_softmax_at};
use proptest::prelude::*;

const DEFAULT: SamplingConfig = SamplingConfig {
    temperature: 1.0,
    top_k: None,
    top_p: None,
    seed: 7,
};

fn draws(config: SamplingConfig, logits: &[f32], n: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(config).unwrap();
    (0..n).map(|_| sampler.sample(logits)).collect()
}

/// The ids that ever come up.
fn support(config: SamplingConfig, logits: &[f32]) -> Vec<u32> {
    let mut ids = draws(config, logits, 2000);
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[test]
fn greedy_takes_the_first_maximum() {
    let greedy = SamplingConfig {
        temperature: 0.0,
        ..DEFAULT
    };
    assert_eq!(draws(greedy, &[1.0, 3.0, -2.0, 3.0], 2), [1, 1]);
    assert_eq!(argmax(&[f32::NAN, -1.0, f32::NAN]), 1);
    assert_eq!(argmax(&[f32::NAN, f32::NAN]), 0);
    assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), 0);
}

#[test]
fn a_seed_gives_the_same_tokens_everywhere() {
    let logits: Vec<f32> = (0..32).map(|id| (id * 7 % 32) as f32 / 8.0).collect();
    assert_eq!(
        draws(DEFAULT, &logits, 12),
        [25, 15, 1, 9, 12, 9, 11, 8, 18, 31, 18, 20]
    );
    let other = SamplingConfig { seed: 8, ..DEFAULT };
    assert_ne!(draws(other, &logits, 12), draws(DEFAULT, &logits, 12));
}

#[test]
fn frequencies_follow_the_softmax_at_the_temperature() {
    let logits = [0.0, 1.0, 2.0, f32::NEG_INFINITY];
    for temperature in [0.5, 1.0, 2.0] {
        let n = 20_000;
        let drawn = draws(
            SamplingConfig {
                temperature,
                ..DEFAULT
            },
            &logits,
            n,
        );
        let scaled = logits.map(|logit| logit / temperature);
        for id in 0..logits.len() {
            let expected = log_softmax_at(&scaled, id).exp();
            let found =
                drawn.iter().filter(|&&drawn| drawn as usize == id).count() as f64 / n as f64;
            // Four standard deviations.
            let margin = 4.0 * (expected * (1.0 - expected) / n as f64).sqrt();
            assert!(
                (found - expected).abs() <= margin,
                "{id}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn top_k_keeps_the_most_probable_and_ties_the_lower_ids() {
    let top = |k| SamplingConfig {
        top_k: Some(k),
        ..DEFAULT
    };
    assert_eq!(support(top(1), &[0.0, 2.0, 2.0, 1.0]), [1]);
    assert_eq!(support(top(2), &[0.0, 1.0, 1.5, 1.0]), [1, 2]);
    assert_eq!(support(top(1), &[-0.0, 0.0]), [0]);
    assert_eq!(support(top(99), &[0.0, 1.0]), [0, 1]);
}

#[test]
fn top_p_keeps_the_fewest_that_reach_it() {
    // Probabilities 0.5, 0.25, 0.125, 0.125.
    let logits = [0.25_f32.ln(), 0.5_f32.ln(), 0.125_f32.ln(), 0.125_f32.ln()];
    let top = |p| SamplingConfig {
        top_p: Some(p),
        ..DEFAULT
    };
    assert_eq!(support(top(0.01), &logits), [1]);
    assert_eq!(support(top(0.49), &logits), [1]);
    assert_eq!(support(top(0.6), &logits), [0, 1]);
    assert_eq!(support(top(0.8), &logits), [0, 1, 2]);
    assert_eq!(support(top(1.0), &logits), [0, 1, 2, 3]);
    // Among the top 2, id 1 has two thirds.
    let both = SamplingConfig {
        top_k: Some(2),
        ..top(0.65)
    };
    assert_eq!(support(both, &logits), [1]);
}

#[test]
fn logits_without_a_distribution_fall_back_to_greedy() {
    assert_eq!(support(DEFAULT, &[0.0, f32::INFINITY, 1.0]), [1]);
    assert_eq!(
        support(DEFAULT, &[f32::NEG_INFINITY, f32::NEG_INFINITY]),
        [0]
    );
    assert_eq!(support(DEFAULT, &[f32::NAN, 0.0]), [1]);
    let cold = SamplingConfig {
        temperature: f32::MIN_POSITIVE,
        ..DEFAULT
    };
    assert_eq!(support(cold, &[0.0, 0.1, -0.1]), [1]);
}

#[test]
fn senseless_settings_are_refused() {
    let refused = |config| Sampler::new(config).map(drop).unwrap_err();
    for temperature in [-1.0, f32::INFINITY] {
        let config = SamplingConfig {
            temperature,
            ..DEFAULT
        };
        assert_eq!(refused(config), SamplingError::Temperature(temperature));
    }
    let not_a_number = refused(SamplingConfig {
        temperature: f32::NAN,
        ..DEFAULT
    });
    assert!(matches!(not_a_number, SamplingError::Temperature(_)));
    assert_eq!(
        refused(SamplingConfig {
            top_k: Some(0),
            ..DEFAULT
        }),
        SamplingError::TopK
    );
    for top_p in [0.0, -0.5, 1.5] {
        let config = SamplingConfig {
            top_p: Some(top_p),
            ..DEFAULT
        };
        assert_eq!(refused(config), SamplingError::TopP(top_p));
    }
}

#[test]
fn log_softmax_survives_large_logits() {
    assert!((log_softmax_at(&[1e30, 1e30], 1) + 2.0_f64.ln()).abs() < 1e-15);
    assert!(log_softmax_at(&[0.0, f32::NEG_INFINITY], 1) < f64::MIN);
    assert!(log_softmax_at(&[0.0, f32::NAN], 0).is_nan());
}

proptest! {
    #[test]
    fn log_softmax_equals_its_definition(
        logits in prop::collection::vec(-80.0_f32..80.0, 1..40),
        place: prop::sample::Index,
    ) {
        let index = place.index(logits.len());
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let expected = f64::from(logits[index]) - sum.ln();
        let found = log_softmax_at(&logits, index);
        prop_assert!((found - expected).abs() < 1e-12 * (1.0 + expected.abs()), "{found} {expected}");
    }

    #[test]
    fn draws_stay_inside_the_vocabulary(
        logits in prop::collection::vec(any::<f32>(), 1..40),
        temperature in 0.0_f32..3.0,
        top_k in prop::option::of(1_usize..50),
        top_p in prop::option::of(0.01_f32..=1.0),
        seed: u64,
    ) {
        let config = SamplingConfig { temperature, top_k, top_p, seed };
        for id in draws(config, &logits, 4) {
            prop_assert!((id as usize) < logits.len());
            let is_nan = logits[id as usize].is_nan();
            prop_assert!(!is_nan || logits.iter().all(|logit| logit.is_nan()));
        }
    }
}
