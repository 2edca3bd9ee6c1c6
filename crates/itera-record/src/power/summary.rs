//! Six numbers about a list of numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{self, RecordError};

/// What a list of samples comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of a sample: the divisor is one less than the number of values.
    pub sd: f64,
    /// Least value.
    pub min: f64,
    /// Middle value, or the mean of the two middle ones.
    pub median: f64,
    /// 95th percentile, by linear interpolation between the two nearest ranks.
    pub p95: f64,
    /// Greatest value.
    pub max: f64,
}

impl Summary {
    /// The summary of at least one finite value; the deviation of a single one is 0.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let sorted = sorted(values);
        let n = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / n;
        let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean,
            sd: (squares / (n - 1.0).max(1.0)).sqrt(),
            min: sorted[0],
            median: quantile(&sorted, 0.5),
            p95: quantile(&sorted, 0.95),
            max: sorted[sorted.len() - 1],
        })
    }

    /// The value below which a share `q` of the values lies (0 to 1), by linear interpolation between
    /// the two nearest ranks; none for no value.
    pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
        (!values.is_empty()).then(|| quantile(&sorted(values), q))
    }

    /// Refuses a summary that is not that of `values`.
    pub(super) fn check(&self, field: &str, values: &[f64]) -> Result<(), RecordError> {
        for (part, value) in self.parts() {
            check::finite(&format!("{field}.{part}"), value)?;
        }
        let Some(expected) = Self::of(values) else {
            return check::ensure(false, field, "no values", "at least one finite sample");
        };
        for ((part, found), (_, expected)) in self.parts().into_iter().zip(expected.parts()) {
            // A deviation of nearly equal values has lost most of its digits.
            let tolerance = 1e-9 * self.max.abs().max(self.min.abs());
            let holds = (found - expected).abs() <= tolerance;
            check::ensure(holds, &format!("{field}.{part}"), found, expected)?;
        }
        Ok(())
    }

    const fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("mean", self.mean),
            ("sd", self.sd),
            ("min", self.min),
            ("median", self.median),
            ("p95", self.p95),
            ("max", self.max),
        ]
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, part) = (rank as usize, rank.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_one_to_five_is_what_a_hand_computes() {
        let summary = Summary::of(&[4.0, 1.0, 5.0, 3.0, 2.0]).unwrap();
        assert!((summary.mean - 3.0).abs() < 1e-15);
        // (4 + 1 + 0 + 1 + 4) / 4 = 2.5
        assert!((summary.sd - 2.5_f64.sqrt()).abs() < 1e-15);
        assert_eq!((summary.min, summary.median, summary.max), (1.0, 3.0, 5.0));
        // Rank 0.95 * 4 = 3.8: 4 + 0.8 * (5 - 4).
        assert!((summary.p95 - 4.8).abs() < 1e-12);
    }

    #[test]
    fn an_even_count_has_its_median_between_the_middle_values() {
        let summary = Summary::of(&[10.0, 0.0, 2.0, 4.0]).unwrap();
        assert_eq!((summary.mean, summary.median), (4.0, 3.0));
        assert!((Summary::quantile(&[0.0, 10.0], 0.05).unwrap() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn one_value_has_no_deviation_and_none_has_no_summary() {
        let summary = Summary::of(&[7.0]).unwrap();
        assert_eq!((summary.mean, summary.sd, summary.p95), (7.0, 0.0, 7.0));
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(Summary::quantile(&[], 0.5), None);
    }
}
