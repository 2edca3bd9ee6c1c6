//! Axes: which values they reach, where their ticks are, and where a value lies on them.

use crate::num::{exponent_of_ten, group_label, power_of_ten, significant};

/// Places on an axis that are told apart.
const FINEST: f64 = 1e9;

/// An axis from its low end (0) to its high end (1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    pub(crate) ticks: Vec<f64>,
}

impl Axis {
    /// An axis in equal steps that reaches over all values; about `count` ticks.
    pub(crate) fn linear(low: f64, high: f64, count: usize) -> Self {
        let span = if high > low { high - low } else { 1.0 };
        let step = step(span / count.max(1) as f64);
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil().max(first + 1.0);
        let ticks: Vec<f64> = (0..=(last - first) as usize)
            .map(|i| (first + i as f64) * step)
            .collect();
        Self {
            low: first * step,
            high: last * step,
            is_log: false,
            ticks,
        }
    }

    /// An axis in equal ratios. `low` and `high` are above 0.
    pub(crate) fn logarithmic(low: f64, high: f64) -> Self {
        let low = low.max(f64::MIN_POSITIVE);
        let high = high.max(low);
        let first = exponent_of_ten(low);
        let last = exponent_of_ten(high) + 1;
        let of_decade = |exponent: i32| [1.0, 2.0, 5.0].map(|digit| digit * power_of_ten(exponent));
        let all: Vec<f64> = (first - 1..=last).flat_map(of_decade).collect();
        let below = all.iter().rposition(|&tick| tick <= low * (1.0 + 1e-9));
        let above = all.iter().position(|&tick| tick >= high * (1.0 - 1e-9));
        let from = below.unwrap_or(0);
        let to = above.unwrap_or(all.len() - 1).max(from + 1);
        let (low, high) = (all[from], all[to]);
        // Over many decades a tick at each power of ten is enough.
        let is_power = |tick: &f64| significant(*tick, 1).trim_matches(['0', '.', ',']) == "1";
        let ticks = &all[from..=to];
        let ticks = if ticks.len() > 9 {
            ticks.iter().copied().filter(is_power).collect()
        } else {
            ticks.to_vec()
        };
        Self {
            low,
            high,
            is_log: true,
            ticks,
        }
    }

    /// Where a value lies: 0 at the low end, 1 at the high end, cut off outside.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        // Logarithms differ in their last bit between systems; pixels must not.
        (share.clamp(0.0, 1.0) * FINEST).round() / FINEST
    }

    /// The text of every tick: as many decimals as tell the ticks apart.
    pub(crate) fn labels(&self) -> Vec<String> {
        if self.is_log {
            let label = |tick: &f64| group_label(*tick, decimals(*tick));
            return self.ticks.iter().map(label).collect();
        }
        let step = match self.ticks.as_slice() {
            [first, second, ..] => second - first,
            _ => 1.0,
        };
        let label = |tick: &f64| group_label(*tick, decimals(step));
        self.ticks.iter().map(label).collect()
    }
}

/// The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `least`.
fn step(least: f64) -> f64 {
    let power = power_of_ten(exponent_of_ten(least));
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// Decimals that a step of this size needs.
fn decimals(step: f64) -> usize {
    (0..9)
        .find(|&decimals| {
            let scaled = step * power_of_ten(decimals as i32);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1e-3)
        })
        .unwrap_or(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_over_the_values() {
        let axis = Axis::linear(0.0, 6.55, 6);
        assert_eq!(axis.labels(), ["0", "2", "4", "6", "8"]);
        assert!((axis.at(4.0) - 0.5).abs() < 1e-12);
        let axis = Axis::linear(0.93, 0.98, 4);
        assert_eq!(axis.labels(), ["0.92", "0.94", "0.96", "0.98"]);
        let axis = Axis::linear(0.0, 0.0, 4);
        assert_eq!((axis.at(0.0), axis.at(9.0)), (0.0, 1.0));
        assert_eq!(
            Axis::linear(0.0, 120_000.0, 5).labels(),
            ["0", "25,000", "50,000", "75,000", "100,000", "125,000"]
        );
    }

    #[test]
    fn logarithmic_ticks_are_one_two_five() {
        let axis = Axis::logarithmic(1.9, 94.0);
        assert_eq!(axis.labels(), ["1", "2", "5", "10", "20", "50", "100"]);
        assert!((axis.at(10.0) - 0.5).abs() < 1e-12);
        let axis = Axis::logarithmic(0.003, 90_000.0);
        assert_eq!(axis.labels()[..3], ["0.01", "0.1", "1"]);
    }
}
