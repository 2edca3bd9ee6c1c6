//! Rounding weights to integers that share scales: the plain rule, to the nearest.

use alloc::vec::Vec;

use half::f16;

use super::Precision;

/// How the rows of a matrix of integers are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowFormat {
    /// Values that share a scale.
    pub(crate) group: usize,
    /// The lowest integer.
    pub(crate) low: i8,
    /// The largest integer.
    pub(crate) high: i8,
}

impl RowFormat {
    /// `None` if the precision is not one of integers.
    pub(crate) fn new(precision: Precision, group: usize) -> Option<Self> {
        let (low, high) = (precision.min_integer()?, precision.max_integer()?);
        Some(Self { group, low, high })
    }

    /// Whether a scale may be below 0: where there is one integer more below 0 than above, a negative
    /// scale puts it at the other end of a group.
    pub(crate) const fn may_be_negative(self) -> bool {
        self.low < -self.high
    }

    /// The scale that just holds the largest weight of a group.
    pub(crate) fn whole_scale(self, weights: &[f64]) -> f16 {
        stored(largest(weights) / f64::from(self.high))
    }

    /// The integer nearest to `weight / scale`; 0 where the scale is 0.
    pub(crate) fn integer(self, weight: f64, scale: f16) -> i8 {
        if scale == f16::ZERO {
            return 0;
        }
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        libm::round(weight / wide(scale)).clamp(low, high) as i8
    }
}

/// Integers of some rows and the scales of their groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rounded {
    /// `[cols]`
    pub(crate) integers: Vec<i8>,
    /// `[cols / group]`
    pub(crate) scales: Vec<f16>,
}

impl Rounded {
    /// To the nearest, with the scale that just holds the largest weight of each group.
    pub(crate) fn nearest(weights: &[f64], format: RowFormat) -> Self {
        Self::with_scales(weights, format, |_, group| format.whole_scale(group))
    }

    /// To the nearest, with the scale that `scale` gives for each group, by its index and weights.
    pub(crate) fn with_scales(
        weights: &[f64],
        format: RowFormat,
        scale: impl Fn(usize, &[f64]) -> f16,
    ) -> Self {
        let mut rounded = Self::default();
        for (index, group) in weights.chunks(format.group).enumerate() {
            let scale = scale(index, group);
            let integers = group.iter().map(|weight| format.integer(*weight, scale));
            rounded.integers.extend(integers);
            rounded.scales.push(scale);
        }
        rounded
    }

    /// The values that the integers stand for, `[cols]`.
    pub(crate) fn values(&self, group: usize) -> impl Iterator<Item = f64> + '_ {
        let scale = move |at: usize| wide(self.scales[at / group]);
        let integers = self.integers.iter().enumerate();
        integers.map(move |(at, &q)| f64::from(q) * scale(at))
    }
}

/// The largest magnitude.
pub(crate) fn largest(weights: &[f64]) -> f64 {
    weights
        .iter()
        .fold(0.0, |largest, weight| largest.max(weight.abs()))
}

/// The scale as the file holds it.
pub(crate) fn stored(scale: f64) -> f16 {
    f16::from_f64(scale.clamp(f16::MIN.to_f64(), f16::MAX.to_f64()))
}

/// A scale for arithmetic.
pub(crate) fn wide(scale: f16) -> f64 {
    f64::from(scale.to_f32())
}

#[cfg(test)]
impl RowFormat {
    /// The formats that tests go through.
    pub(crate) const TESTED: [Self; 3] = [
        Self {
            group: 16,
            low: -8,
            high: 7,
        },
        Self {
            group: 32,
            low: -8,
            high: 7,
        },
        Self {
            group: 32,
            low: -127,
            high: 127,
        },
    ];
}
