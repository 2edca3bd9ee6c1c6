//! Axes: which values they reach, where their ticks are, and where a value lies on them.

use itera_record::num::{exponent_of_ten, fixed, power_of_ten, short, si};

/// What an axis shows.
#[derive(Clone, Debug, Default)]
pub struct Scale {
    /// Quantity and unit, for example `bits/byte, lower is better`.
    pub title: String,
    /// Equal ratios are equally far apart.
    pub is_log: bool,
    /// The axis begins here at the latest.
    pub from: Option<f64>,
    /// The axis ends here at the earliest.
    pub to: Option<f64>,
    /// Values beyond this are marked at the edge.
    pub cut: Option<f64>,
}

/// The share of an axis between its edge and the next value.
const EDGE: f64 = 0.03;

impl Scale {
    /// An axis of equal steps.
    pub fn linear(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            ..Self::default()
        }
    }

    /// An axis of equal ratios; its values are above 0.
    pub fn log(title: &str) -> Self {
        Self {
            is_log: true,
            ..Self::linear(title)
        }
    }

    /// The same axis, which has 0 at its beginning.
    #[must_use]
    pub fn from_zero(mut self) -> Self {
        self.from = Some(0.0);
        self
    }

    /// The values, and how far an axis of equal steps has to reach so that none lies on its edge.
    pub(crate) fn padded(&self, values: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let room = if self.is_log || self.from.is_some() {
            0.0
        } else {
            EDGE * (high.min(self.cut.unwrap_or(high)) - low)
        };
        values.into_iter().chain([low - room, high + room])
    }

    /// The axis over some values, with about `count` ticks.
    pub(crate) fn axis(&self, values: impl Iterator<Item = f64>, count: usize) -> Axis {
        let usable = |value: &f64| value.is_finite() && (!self.is_log || *value > 0.0);
        let all = values.chain(self.from).chain(self.to).filter(usable);
        let cut = self.cut.unwrap_or(f64::INFINITY);
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value.min(cut)))
        });
        match (low <= high, self.is_log) {
            (false, _) => Axis::linear(0.0, 1.0, count),
            (true, false) => Axis::linear(low, high, count),
            (true, true) => Axis::log(low, high, count),
        }
    }
}

/// An axis from its low end (0) to its high end (1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    is_log: bool,
    pub(crate) ticks: Vec<f64>,
}

/// Places on an axis that are told apart.
const FINEST: f64 = 1e9;

impl Axis {
    fn linear(low: f64, high: f64, count: usize) -> Self {
        let span = if high > low {
            high - low
        } else {
            low.abs().max(1.0)
        };
        let step = step(span / count.max(1) as f64);
        // Half a step is the least that an axis may reach beyond its values.
        let half = step / 2.0;
        let first = (low / half + 1e-9).floor();
        let last = (high / half - 1e-9).ceil().max(first + 1.0);
        let (low, high) = (first * half, last * half);
        let ticks = ((low / step - 1e-9).ceil() as i64..=(high / step + 1e-9).floor() as i64)
            .map(|i| i as f64 * step)
            .collect();
        Self {
            low,
            high,
            is_log: false,
            ticks,
        }
    }

    fn log(low: f64, high: f64, count: usize) -> Self {
        let decades = exponent_of_ten(low) - 1..=exponent_of_ten(high) + 1;
        let all: Vec<f64> = decades
            .flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * power_of_ten(exponent)))
            .collect();
        let below = all.iter().rposition(|tick| *tick <= low * (1.0 + 1e-9));
        let above = all.iter().position(|tick| *tick >= high * (1.0 - 1e-9));
        let from = below.unwrap_or(0);
        let to = above.unwrap_or(all.len() - 1).max(from + 1);
        let ticks = &all[from..=to];
        let is_power = |tick: &f64| {
            let power = power_of_ten(exponent_of_ten(*tick));
            (tick / power - 1.0).abs() < 1e-9
        };
        let powers: Vec<f64> = ticks.iter().copied().filter(is_power).collect();
        let is_crowded = ticks.len() > count + 1 && powers.len() > 1;
        Self {
            low: all[from],
            high: all[to],
            is_log: true,
            ticks: if is_crowded { powers } else { ticks.to_vec() },
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

    /// The text of every tick: as many decimals as tell the ticks apart, SI prefixes from a thousand.
    pub(crate) fn labels(&self) -> Vec<String> {
        let largest = self
            .ticks
            .iter()
            .fold(0.0_f64, |most, tick| most.max(tick.abs()));
        if self.is_log || largest >= 1e4 || (largest > 0.0 && largest < 1e-3) {
            return self.ticks.iter().map(|tick| plain(*tick)).collect();
        }
        let step = match self.ticks.as_slice() {
            [first, second, ..] => second - first,
            _ => 1.0,
        };
        let decimals = decimals(step);
        self.ticks
            .iter()
            .map(|tick| fixed(*tick, decimals))
            .collect()
    }
}

/// A tick without the zeros that three digits would give it.
fn plain(tick: f64) -> String {
    let text = if tick.abs() >= 1e4 || (tick != 0.0 && tick.abs() < 1e-3) {
        si(tick)
    } else {
        short(tick)
    };
    let (number, prefix) = text.split_once(' ').unwrap_or((&text, ""));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {prefix}").trim_end().to_owned()
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
    let is_enough = |decimals: &usize| {
        let scaled = step * power_of_ten(*decimals as i32);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1e-3)
    };
    (0..9).find(is_enough).unwrap_or(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, values: &[f64]) -> Vec<String> {
        scale.axis(values.iter().copied(), 5).labels()
    }

    #[test]
    fn ticks_are_round_and_reach_over_the_values() {
        let linear = Scale::linear("");
        assert_eq!(
            labels(&linear, &[0.93, 0.98]),
            ["0.93", "0.94", "0.95", "0.96", "0.97", "0.98"]
        );
        assert_eq!(
            labels(&linear.clone().from_zero(), &[6.55]),
            ["0", "2", "4", "6"]
        );
        let speeds = labels(&linear.from_zero(), &[120_000.0]);
        assert_eq!(speeds, ["0", "25 k", "50 k", "75 k", "100 k", "125 k"]);
        assert_eq!(
            labels(&Scale::log(""), &[3.0, 700.0]),
            ["10", "100", "1,000"]
        );
    }

    #[test]
    fn values_lie_where_they_belong() {
        let axis = Scale::log("").axis([1.0, 100.0].into_iter(), 5);
        assert!((axis.at(10.0) - 0.5).abs() < 1e-9);
        assert_eq!((axis.at(0.5), axis.at(1e9)), (0.0, 1.0));
        let cut = Scale {
            cut: Some(2.0),
            ..Scale::linear("")
        };
        assert!(cut.axis([1.0, 7.0].into_iter(), 4).high <= 2.0);
        // Nothing to show is an axis all the same.
        let empty = Scale::log("").axis([].into_iter(), 5);
        assert_eq!(empty.low.to_bits(), 0.0_f64.to_bits());
    }
}
