//! What follows from two numbers, and from two lists of them.

use itera_record::{GateComparison, GateVerdict, Summary};
use statrs::stats_tests::{
    Alternative,
    mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu},
};

/// What was found about a metric with noise.
pub(super) struct Judged {
    pub(super) old: f64,
    pub(super) new: f64,
    pub(super) change_percent: f64,
    pub(super) p_value: f64,
    pub(super) verdict: GateVerdict,
}

/// Compares samples of which less is better; `limit` is the share by which they may grow.
pub(super) fn samples(old: &[f64], new: &[f64], limit: f64, alpha: f64) -> Judged {
    let medians = [old, new].map(median);
    let change = medians[1] / medians[0] - 1.0;
    let moved = |factor: f64| old.iter().map(|value| value * factor).collect::<Vec<_>>();
    let p_worse = chance(new, &moved(1.0 + limit), Alternative::Greater);
    let p_better = chance(new, &moved((1.0 - limit).max(0.0)), Alternative::Less);
    let verdict = if change > limit && p_worse < alpha {
        GateVerdict::Regression
    } else if change < -limit && p_better < alpha {
        GateVerdict::Improved
    } else {
        GateVerdict::Ok
    };
    Judged {
        old: medians[0],
        new: medians[1],
        change_percent: 100.0 * change,
        p_value: p_worse,
        verdict,
    }
}

/// Compares a number of which less is better; it may differ by `epsilon`.
pub(super) fn exact(
    blank: GateComparison,
    metric: &str,
    old: Option<f64>,
    new: Option<f64>,
    epsilon: f64,
) -> GateComparison {
    let verdict = match (old, new) {
        (Some(old), Some(new)) if new > old + epsilon => GateVerdict::Regression,
        (Some(old), Some(new)) if new < old - epsilon => GateVerdict::Improved,
        (Some(_), Some(_)) => GateVerdict::Ok,
        (None, _) => GateVerdict::NotInBaseline,
        (Some(_), None) => GateVerdict::NotMeasured,
    };
    let ratio = old
        .zip(new)
        .filter(|(old, _)| *old > 0.0)
        .map(|(old, new)| new / old);
    GateComparison {
        metric: metric.to_owned(),
        old,
        new,
        change_percent: ratio.map(|ratio| 100.0 * (ratio - 1.0)),
        verdict,
        ..blank
    }
}

/// The p-value of the Mann-Whitney test that `x` is so much on one side of `y` by chance.
fn chance(x: &[f64], y: &[f64], alternative: Alternative) -> f64 {
    let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
    let tested = mannwhitneyu(x, y, method, alternative);
    // Lists of nothing but equal values have no ranks to speak of: nothing is shown.
    tested.map_or(1.0, |(_, p)| if p.is_nan() { 1.0 } else { p })
}

/// The middle value; 0 for no sample, which no caller has.
pub(super) fn median(values: &[f64]) -> f64 {
    Summary::quantile(values, 0.5).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 50 values around `center`, 2 % to either side.
    fn around(center: f64) -> Vec<f64> {
        (0..50)
            .map(|i| center * (0.98 + 0.04 * f64::from(i * 7 % 50) / 49.0))
            .collect()
    }

    fn verdict(old: f64, new: f64, limit: f64) -> GateVerdict {
        samples(&around(old), &around(new), limit, 0.001).verdict
    }

    #[test]
    fn the_test_gives_the_textbook_p_value() {
        // x = 1..10 against y = 6..15: U of x is 12.5 for 5 ties of two.
        let x: Vec<f64> = (1..=10).map(f64::from).collect();
        let y: Vec<f64> = (6..=15).map(f64::from).collect();
        // mu 50, sigma sqrt(100 / 12 * (21 - 30 / 380)) = 13.204; z = (37.5 - 0.5) / 13.204 = 2.802
        let p = chance(&x, &y, Alternative::Less);
        assert!((p - 0.002_54).abs() < 5e-5, "{p}");
        assert!(chance(&x, &y, Alternative::Greater) > 0.99);
        assert!((chance(&[1.0; 9], &[1.0; 9], Alternative::Greater) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_beyond_the_limit_is_a_regression() {
        assert_eq!(verdict(1.0, 1.2, 0.10), GateVerdict::Regression);
        assert_eq!(verdict(1.0, 1.0, 0.10), GateVerdict::Ok);
        assert_eq!(verdict(1.0, 1.09, 0.10), GateVerdict::Ok);
        assert_eq!(verdict(1.0, 1.2, 0.25), GateVerdict::Ok);
        assert_eq!(verdict(1.0, 0.8, 0.10), GateVerdict::Improved);
        assert_eq!(verdict(1.0, 0.95, 0.10), GateVerdict::Ok);
    }

    #[test]
    fn a_median_beyond_the_limit_by_chance_is_none() {
        // Three samples each cannot show anything at this level.
        let judged = samples(&[1.0, 1.01, 1.02], &[1.3, 1.31, 1.32], 0.1, 0.001);
        assert!(judged.change_percent > 25.0);
        assert_eq!(judged.verdict, GateVerdict::Ok);
    }

    #[test]
    fn change_and_medians_are_those_of_the_samples() {
        let judged = samples(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0], 0.1, 0.01);
        assert!((judged.old - 2.0).abs() < 1e-12 && (judged.new - 3.0).abs() < 1e-12);
        assert!((judged.change_percent - 50.0).abs() < 1e-9);
    }
}
