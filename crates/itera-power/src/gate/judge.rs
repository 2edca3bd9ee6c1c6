//! What follows from two numbers, and from two lists of them.

use itera_record::{GateComparison, GateVerdict};

/// The chance that values are so far beyond others, if they are as likely below as above: the Mann-Whitney
/// test, one-sided and exact. Ties count for the others.
pub(super) fn chance_greater(values: &[f64], others: &[f64]) -> f64 {
    let above = |value: &f64| others.iter().filter(|other| value > other).count();
    let pairs = values.iter().map(above).sum();
    chance(values.len(), others.len(), pairs)
}

/// The chance of at least so many pairs, of all that `n` and `m` values make, in which the first is greater.
fn chance(n: usize, m: usize, pairs: usize) -> f64 {
    // The number of orders with u such pairs is the coefficient of q^u of the Gaussian binomial, the
    // product of (1 - q^(m + i)) / (1 - q^i) for i from 1 to n. It is symmetric in u.
    let mut orders = vec![0.0; n * m + 1];
    orders[0] = 1.0;
    for i in 1..=n {
        for u in (m + i..orders.len()).rev() {
            orders[u] -= orders[u - m - i];
        }
        for u in i..orders.len() {
            orders[u] += orders[u - i];
        }
    }
    let sum = |orders: &[f64]| orders.iter().sum::<f64>();
    sum(&orders[..=n * m - pairs]) / sum(&orders)
}

/// The least chance that so many values can show.
pub(super) fn least_chance(n: usize, m: usize) -> f64 {
    chance(n, m, n * m)
}

/// Which of these chances are too small to be one, at `alpha` for all together by Holm's method.
pub(super) fn holm(chances: &[f64], alpha: f64) -> Vec<bool> {
    let adjusted = itera_record::holm(chances).into_iter();
    adjusted.map(|chance| chance < alpha).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "{found} instead of {expected}"
        );
    }

    #[test]
    fn the_test_gives_the_chances_of_the_tables() {
        // Of the 6 orders of two and two values, one has 4 pairs, two have at least 3, four at least 2.
        near(chance(2, 2, 4), 1.0 / 6.0);
        near(chance(2, 2, 3), 2.0 / 6.0);
        near(chance(2, 2, 2), 4.0 / 6.0);
        near(chance(2, 2, 0), 1.0);
        // One of 184,756, and the table's critical value for 10 and 10 at 0.005: 16 of 100 the other way.
        near(least_chance(10, 10), 1.0 / 184_756.0);
        assert!(chance(10, 10, 84) <= 0.005 && chance(10, 10, 83) > 0.005);
        near(least_chance(3, 7), 1.0 / 120.0);
    }

    #[test]
    fn values_are_held_against_others() {
        near(chance_greater(&[3.0, 4.0], &[1.0, 2.0]), 1.0 / 6.0);
        near(chance_greater(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        // What is equal shows nothing.
        near(chance_greater(&[1.0; 9], &[1.0; 9]), 1.0);
    }

    #[test]
    fn many_tests_share_the_chance_of_one_false_alarm() {
        // 0.01 / 3, then 0.01 / 2, then 0.01.
        assert_eq!(holm(&[0.004, 0.003, 0.02], 0.01), [true, true, false]);
        assert_eq!(holm(&[0.004, 0.0034, 0.001], 0.01), [true; 3]);
        // The smallest fails, and with it all.
        assert_eq!(holm(&[0.004, 0.009, 0.009], 0.01), [false; 3]);
        assert_eq!(holm(&[], 0.01), [false; 0]);
    }
}
