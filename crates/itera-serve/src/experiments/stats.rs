//! What experiments are judged by: pure functions of counts and sums.
//!
//! Whoever assigns by user gets answers that belong together, so a variance is over units (people, keys, requests)
//! and not over answers: a share of answers is a ratio of two sums over units, and has the variance of one (delta
//! method). An interval of a difference holds at all times of looking together: it is the confidence sequence of a
//! normal mixture (Howard et al., arXiv 1810.08240) with the variance estimated, as `GrowthBook` and others have it.

use statrs::distribution::{ChiSquared, ContinuousCDF as _};

use crate::metrics::Wanted;

/// How often any interval of an experiment may miss the truth, at any time of looking.
const ALPHA: f64 = 0.05;

/// Figures of a comparison: the negative share, and bits per byte of each kind of text.
const FIGURES: usize = 1 + Wanted::ALL.len();

/// How often each interval may miss it, so that those of all figures do so in [`ALPHA`] together: of every arm but the
/// first, and of a canary over all its steps.
pub(crate) fn alpha(arms: usize, steps: usize) -> f64 {
    ALPHA / (FIGURES * steps * (arms - 1).max(1)) as f64
}

/// Units that the intervals are narrowest for. They are little wider for ten times as many, or for a third.
const TUNED_FOR: f64 = 1000.0;

/// Least sample size of each arm, in units, for an interval.
pub(crate) const FEWEST: f64 = 50.0;

/// Below this, the division into arms is not what the weights say.
pub(crate) const SAMPLE_RATIO_P: f64 = 0.001;

/// Quantile of the normal distribution for 95 %.
const Z95: f64 = 1.959_963_984_540_054;

/// Sums over units of two quantities, whose ratio is of interest: negative answers `x` of rated answers `y`, say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) units: f64,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) xx: f64,
    pub(crate) xy: f64,
    pub(crate) yy: f64,
}

/// An estimate with its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) estimate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    const fn around(estimate: f64, half: f64) -> Self {
        Self {
            estimate,
            low: estimate - half,
            high: estimate + half,
        }
    }
}

impl Sums {
    /// Counts a unit.
    #[cfg(test)]
    pub(crate) fn add(&mut self, x: f64, y: f64) {
        self.units += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
        self.yy += y * y;
    }

    /// The sum of `x` over that of `y`; none without any `y`.
    pub(crate) fn ratio(&self) -> Option<f64> {
        (self.y > 0.0).then(|| self.x / self.y)
    }

    /// Variance of the ratio; none of fewer units than are believed.
    fn variance(&self) -> Option<f64> {
        let ratio = self.ratio().filter(|_| self.units >= FEWEST)?;
        // Sum of the squares of x - ratio y, whose mean is 0.
        let squares = self.xx - 2.0 * ratio * self.xy + ratio * ratio * self.yy;
        let correction = self.units / (self.units - 1.0);
        Some(correction * squares.max(0.0) / (self.y * self.y))
    }

    /// The same where the ratio is a share: never less than that of so many independent answers, of which one more
    /// is as expected and one is not. Without that, no negative answer of fifty would be proof of none ever.
    fn variance_of_share(&self) -> Option<f64> {
        let share = (self.x + 1.0) / (self.y + 2.0);
        Some(self.variance()?.max(share * (1.0 - share) / self.y))
    }
}

/// The share of so many of so many, with Wilson's interval of 95 %; none of none.
pub(crate) fn wilson(part: f64, all: f64) -> Option<Interval> {
    if all <= 0.0 {
        return None;
    }
    let (share, z2) = (part / all, Z95 * Z95);
    let scale = 1.0 / (1.0 + z2 / all);
    let middle = scale * (share + z2 / (2.0 * all));
    let spread = share * (1.0 - share) / all + z2 / (4.0 * all * all);
    let half = scale * Z95 * spread.sqrt();
    Some(Interval {
        estimate: share,
        low: (middle - half).max(0.0),
        high: (middle + half).min(1.0),
    })
}

/// The share of `arm` less that of `control`, with limits that hold at all times with probability `1 - alpha`; none
/// as long as there are few units of either.
pub(crate) fn difference_of_shares(arm: &Sums, control: &Sums, alpha: f64) -> Option<Interval> {
    let difference = arm.ratio()? - control.ratio()?;
    let variance = arm.variance_of_share()? + control.variance_of_share()?;
    let half = half_width(variance, arm.units + control.units, alpha);
    Some(Interval::around(difference, half))
}

/// A ratio with such limits: of differences that each unit tells for itself, as where both arms score one text.
pub(crate) fn ratio(sums: &Sums, alpha: f64) -> Option<Interval> {
    let half = half_width(sums.variance()?, sums.units, alpha);
    Some(Interval::around(sums.ratio()?, half))
}

/// Half the width of an interval around an estimate of this variance from so many units. A mixture of normal
/// distributions over the true value bounds, at all times, the sum `S` of units of variance 1:
/// `|S| <= sqrt((n + rho) ln((n + rho) / (rho alpha^2)))`.
fn half_width(variance: f64, units: f64, alpha: f64) -> f64 {
    let log = -2.0 * alpha.ln();
    let rho = TUNED_FOR / (log + log.ln_1p());
    let bound = (1.0 + rho / units) * ((units + rho) / (rho * alpha * alpha)).ln();
    (variance * bound).sqrt()
}

/// How probable a division of units is that is at least as far from the weights (chi-square); none of no units.
pub(crate) fn sample_ratio_p(units: &[f64], weights: &[u32]) -> Option<f64> {
    let all: f64 = units.iter().sum();
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    if all <= 0.0 || units.len() < 2 {
        return None;
    }
    let chi2: f64 = units
        .iter()
        .zip(weights)
        .map(|(found, &weight)| {
            let expected = all * f64::from(weight) / total;
            (found - expected).powi(2) / expected
        })
        .sum();
    let distribution = ChiSquared::new((units.len() - 1) as f64).ok()?;
    Some(distribution.sf(chi2))
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-4, "{found}, {expected}");
    }

    #[test]
    fn wilsons_interval_is_that_of_the_books() {
        let found = wilson(10.0, 100.0).unwrap();
        near(found.low, 0.0552);
        near(found.high, 0.1744);
        let none = wilson(0.0, 20.0).unwrap();
        assert!(none.low.abs() < 1e-12);
        near(none.high, 0.1611);
        assert_eq!(wilson(0.0, 0.0), None);
    }

    #[test]
    fn the_sample_ratio_is_a_chi_square() {
        // 10.83 is the quantile of one degree of freedom at 0.001.
        let off = (10.83_f64 * 1000.0).sqrt() / 2.0;
        near(
            sample_ratio_p(&[500.0 + off, 500.0 - off], &[1, 1]).unwrap(),
            0.001,
        );
        near(sample_ratio_p(&[50.0, 950.0], &[5, 95]).unwrap(), 1.0);
        assert!(sample_ratio_p(&[100.0, 900.0], &[5, 95]).unwrap() < SAMPLE_RATIO_P);
        assert_eq!(sample_ratio_p(&[0.0, 0.0], &[1, 1]), None);
    }

    #[test]
    fn answers_that_belong_together_count_as_one() {
        let (mut alone, mut together) = (Sums::default(), Sums::default());
        for unit in 0..400 {
            let bad = f64::from(u8::from(unit % 4 == 0));
            alone.add(bad, 1.0);
            if unit < 100 {
                together.add(4.0 * bad, 4.0);
            }
        }
        assert_eq!(alone.ratio(), together.ratio());
        let (alone, together) = (alone.variance().unwrap(), together.variance().unwrap());
        assert!(
            (together / alone / 4.0 - 1.0).abs() < 0.02,
            "{together} {alone}"
        );
    }

    #[test]
    fn nothing_is_said_of_few_and_nothing_is_certain() {
        let sums = |units: i32, x: f64| {
            let mut sums = Sums::default();
            for _ in 0..units {
                sums.add(x, 1.0);
            }
            sums
        };
        let (few, many) = (sums(49, 0.0), sums(51, 0.0));
        assert_eq!(difference_of_shares(&few, &many, ALPHA), None);
        let none = difference_of_shares(&many, &many, ALPHA).unwrap();
        assert!(none.low < -0.05 && none.high > 0.05, "{none:?}");
    }

    /// Looks after every answer; tells at how many units the difference of negative shares was first called one.
    fn first_alarm(
        seed: u64,
        shares: [f64; 2],
        units: usize,
        answers_each: u32,
        alpha: f64,
    ) -> Option<usize> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut arms = [Sums::default(); 2];
        (0..units).find(|_| {
            let arm = usize::from(random.next_u32() & 1 == 1);
            // People differ: of some, twice as many answers as of others are bad.
            let own = shares[arm]
                * if random.random_bool(0.5) {
                    4.0 / 3.0
                } else {
                    2.0 / 3.0
                };
            let answers = random.random_range(1..=answers_each);
            let bad = (0..answers).filter(|_| random.random_bool(own)).count();
            arms[arm].add(bad as f64, f64::from(answers));
            let found = difference_of_shares(&arms[1], &arms[0], alpha);
            found.is_some_and(|found| found.low > 0.0 || found.high < 0.0)
        })
    }

    fn alarms(
        seeds: u64,
        shares: [f64; 2],
        units: usize,
        answers_each: u32,
        alpha: f64,
    ) -> (usize, Vec<usize>) {
        let found =
            (0..seeds).filter_map(|seed| first_alarm(seed, shares, units, answers_each, alpha));
        let mut found: Vec<usize> = found.collect();
        found.sort_unstable();
        (found.len(), found)
    }

    #[test]
    fn equal_arms_raise_an_alarm_in_at_most_five_percent_at_any_time_of_looking() {
        for (share, answers_each) in [(0.2, 1), (0.2, 8), (0.02, 1), (0.5, 1)] {
            let (alarms, _) = alarms(1000, [share, share], 2000, answers_each, ALPHA);
            assert!(alarms <= 50, "{alarms} at {share}, {answers_each}");
        }
    }

    #[test]
    fn ten_points_are_found() {
        let (found, when) = alarms(200, [0.2, 0.3], 3000, 1, alpha(2, 1));
        assert!(found >= 198, "{found}");
        let half = when[when.len() / 2];
        assert!(half < 1300, "{half}");
        let (found, _) = alarms(200, [0.3, 0.2], 3000, 1, alpha(2, 1));
        assert!(found >= 198, "{found}");
    }

    #[test]
    fn pairs_of_equal_weights_raise_few_alarms_and_small_differences_are_found() {
        let run = |seed: u64, shift: f64| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut sums = Sums::default();
            (0..1000).any(|_| {
                let bytes = f64::from(random.random_range(10..200_u32));
                // Three uniform numbers: near enough to what texts give, with a variance of 0.01 a byte.
                let noise: f64 = (0..3).map(|_| random.random_range(-0.1..0.1)).sum();
                sums.add(bytes * (noise + shift), bytes);
                ratio(&sums, ALPHA).is_some_and(|found| found.low > 0.0 || found.high < 0.0)
            })
        };
        let alarms = (0..1000).filter(|&seed| run(seed, 0.0)).count();
        assert!(alarms <= 50, "{alarms}");
        let found = (0..100).filter(|&seed| run(seed, 0.02)).count();
        assert!(found >= 95, "{found}");
    }

    #[test]
    fn fair_divisions_rarely_fail_the_sample_ratio_however_often_it_is_looked_at() {
        let fails = |seed: u64, share: f64| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut units = [0.0; 2];
            (0..4000).any(|_| {
                units[usize::from(random.random_bool(share))] += 1.0;
                sample_ratio_p(&units, &[1, 1]).is_some_and(|p| p < SAMPLE_RATIO_P)
            })
        };
        let fair = (0..200).filter(|&seed| fails(seed, 0.5)).count();
        assert!(fair <= 6, "{fair}");
        let unfair = (0..50).filter(|&seed| fails(seed, 0.6)).count();
        assert!(unfair >= 48, "{unfair}");
    }
}
