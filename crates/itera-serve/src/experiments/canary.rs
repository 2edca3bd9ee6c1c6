//! Whether a candidate gets more of the traffic, or none.

use anyhow::Context as _;

use super::{
    report::{Compared, Report},
    stats::Interval,
};
use crate::metrics::Wanted;

/// How much worse a candidate may be and still count as not worse: two points of negative answers, or so many bits
/// per byte of corrections, which is about 1 %.
const SHARE_MARGIN: f64 = 0.02;
const BITS_MARGIN: f64 = 0.02;

/// Answers of the candidate before it gets more, so that a slow or failing one is noticed while few get it.
const FEWEST_ANSWERS: f64 = 100.0;

/// The time of a token may be so much longer in the middle answer of as many of either arm.
const SLOWER: f64 = 1.5;
const FEWEST_TIMES: usize = 200;

/// Failures on one server that are too many: so many, more than this share, and twice the share of the active version.
const FEWEST_FAILURES: f64 = 5.0;
const FAILURE_SHARE: f64 = 0.01;

/// What is known of a step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    /// Answers of the candidate.
    answers: f64,
    /// The candidate's figures less those of the active version.
    negative_share: Option<Interval>,
    bits_per_byte: Option<Interval>,
    /// Microseconds for a token, of candidate and active version.
    token_us: Option<[f64; 2]>,
    /// Failures and answers on this server, of candidate and active version.
    pub(super) failures: [(f64, f64); 2],
}

/// What is to be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Wait,
    /// It is not worse.
    Advance(String),
    /// It is worse, slow or failing.
    RollBack(String),
}

impl Evidence {
    /// What a report says.
    ///
    /// # Errors
    /// It is not that of two arms.
    pub(super) fn of(report: &Report) -> anyhow::Result<Self> {
        let [active, candidate] = report.arms.as_slice() else {
            anyhow::bail!("a canary has two arms");
        };
        let comparison = report.comparisons.first().context("nothing is compared")?;
        let times = [candidate, active].map(|arm| {
            let enough = arm.token_us.filter(|(_, count)| *count >= FEWEST_TIMES);
            enough.map(|(middle, _)| middle)
        });
        let token_us = match times {
            [Some(candidate), Some(active)] => Some([candidate, active]),
            _ => None,
        };
        let of = |compared: &Compared| compared.interval();
        Ok(Self {
            answers: candidate.answers,
            negative_share: of(&comparison.negative_share),
            bits_per_byte: of(&comparison.bits_per_byte[Wanted::Corrected as usize]),
            token_us,
            failures: Default::default(),
        })
    }

    /// What it says.
    pub(super) fn decide(&self) -> Decision {
        if let Some(reason) = self.is_broken().or_else(|| self.is_worse()) {
            return Decision::RollBack(reason);
        }
        match self.is_not_worse() {
            Some(reason) if self.answers >= FEWEST_ANSWERS => Decision::Advance(reason),
            _ => Decision::Wait,
        }
    }

    fn is_broken(&self) -> Option<String> {
        let share = |(failures, answers): (f64, f64)| failures / (failures + answers).max(1.0);
        let [candidate, active] = self.failures.map(share);
        let fails = self.failures[0].0 >= FEWEST_FAILURES && candidate > FAILURE_SHARE;
        if fails && candidate > 2.0 * active {
            let [candidate, active] = [candidate, active].map(|share| share * 100.0);
            return Some(format!(
                "{candidate:.1} % of its answers failed, {active:.1} % of the others"
            ));
        }
        let [candidate, active] = self.token_us?;
        (candidate > SLOWER * active).then(|| {
            format!("a token takes it {candidate:.0} us, and {active:.0} us the active version")
        })
    }

    fn is_worse(&self) -> Option<String> {
        let shares = self.negative_share.filter(|found| found.low > 0.0);
        let bits = self.bits_per_byte.filter(|found| found.low > 0.0);
        let shares = shares.map(|found| format!("more negative answers, {}", points(found)));
        shares.or_else(|| {
            bits.map(|found| format!("corrections are less likely, {}", bits_of(found)))
        })
    }

    fn is_not_worse(&self) -> Option<String> {
        let shares = self
            .negative_share
            .filter(|found| found.high < SHARE_MARGIN);
        let bits = self.bits_per_byte.filter(|found| found.high < BITS_MARGIN);
        let bits = bits.map(|found| format!("corrections are as likely, {}", bits_of(found)));
        bits.or_else(|| shares.map(|found| format!("no more negative answers, {}", points(found))))
    }
}

fn points(found: Interval) -> String {
    let [low, high] = [found.low, found.high].map(|share| share * 100.0);
    format!("{low:+.1} to {high:+.1} points")
}

fn bits_of(found: Interval) -> String {
    format!("{:+.3} to {:+.3} bits per byte", found.low, found.high)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        experiments::{
            Sums,
            stats::{alpha, difference_of_shares, ratio},
        },
        store::SHARES,
    };

    /// Whether a candidate is rolled back of which so many more answers are bad and that takes corrections so many bits
    /// per byte more (`worse`). Looks after each of 2,000 people at each step, or goes on to the next when it may, if
    /// `advances`.
    fn is_rolled_back(seed: u64, share: f64, worse: [f64; 2], advances: bool) -> bool {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let alpha = alpha(2, SHARES.len());
        for percent in SHARES {
            let (mut arms, mut pairs) = ([Sums::default(); 2], Sums::default());
            for _ in 0..2000 {
                let is_candidate = random.random_bool(f64::from(percent) / 100.0);
                // People differ: of some, twice as many answers as of others are bad.
                let often = if random.random_bool(0.5) { 4.0 } else { 2.0 };
                let own = (share + if is_candidate { worse[0] } else { 0.0 }) * often / 3.0;
                let answers = random.random_range(1..=3_u32);
                let bad = (0..answers).filter(|_| random.random_bool(own)).count();
                arms[usize::from(is_candidate)].add(bad as f64, f64::from(answers));
                // A correction of each bad answer, which both arms score.
                for _ in 0..bad {
                    let bytes = f64::from(random.random_range(10..200_u32));
                    let noise: f64 = (0..3).map(|_| random.random_range(-0.2..0.2)).sum();
                    pairs.add(bytes * (noise + worse[1]), bytes);
                }
                let evidence = Evidence {
                    answers: arms[1].y,
                    negative_share: difference_of_shares(&arms[1], &arms[0], alpha),
                    bits_per_byte: ratio(&pairs, alpha),
                    ..Evidence::default()
                };
                match evidence.decide() {
                    Decision::RollBack(_) => return true,
                    Decision::Advance(_) if advances => break,
                    Decision::Advance(_) | Decision::Wait => {}
                }
            }
        }
        false
    }

    #[test]
    fn equal_candidates_are_rarely_rolled_back_and_worse_ones_are() {
        let count = |seeds: u64, share: f64, worse: [f64; 2], advances: bool| {
            (0..seeds)
                .filter(|&seed| is_rolled_back(seed, share, worse, advances))
                .count()
        };
        // As it goes, and where no step ends before the last of its people: 4 and 8, as documents tell.
        for (share, advances) in [(0.2, true), (0.5, false)] {
            let found = count(1000, share, [0.0, 0.0], advances);
            assert!(found <= 10, "{found} at {share}");
        }
        assert_eq!(count(100, 0.2, [0.2, 0.0], false), 100);
        assert_eq!(count(100, 0.2, [0.0, 0.05], false), 100);
    }

    fn between(low: f64, high: f64) -> Interval {
        Interval {
            estimate: f64::midpoint(low, high),
            low,
            high,
        }
    }

    #[test]
    fn a_candidate_advances_when_either_figure_shows_that_it_is_not_worse() {
        let good = Evidence {
            answers: 100.0,
            bits_per_byte: Some(between(-0.2, 0.01)),
            ..Evidence::default()
        };
        assert!(matches!(good.decide(), Decision::Advance(_)));
        let few = Evidence {
            answers: 99.0,
            ..good
        };
        assert_eq!(few.decide(), Decision::Wait);
        let unsure = Evidence {
            bits_per_byte: Some(between(-0.2, 0.03)),
            ..good
        };
        assert_eq!(unsure.decide(), Decision::Wait);
        let liked = Evidence {
            negative_share: Some(between(-0.1, 0.015)),
            ..unsure
        };
        assert!(matches!(liked.decide(), Decision::Advance(_)));
        let disliked = Evidence {
            negative_share: Some(between(0.001, 0.1)),
            ..good
        };
        assert!(matches!(disliked.decide(), Decision::RollBack(_)));
        let unlikely = Evidence {
            bits_per_byte: Some(between(0.001, 0.002)),
            ..good
        };
        assert!(matches!(unlikely.decide(), Decision::RollBack(_)));
        assert_eq!(Evidence::default().decide(), Decision::Wait);
    }

    #[test]
    fn a_candidate_that_fails_or_is_slow_is_rolled_back_at_once() {
        let failures = |candidate, active| Evidence {
            failures: [candidate, active],
            ..Evidence::default()
        };
        let decided = failures((5.0, 45.0), (2.0, 948.0)).decide();
        let Decision::RollBack(reason) = decided else {
            panic!("{decided:?}");
        };
        assert!(
            reason.starts_with("10.0 % of its answers failed"),
            "{reason}"
        );
        // All fail alike, few fail, or hardly any.
        for (candidate, active) in [
            ((5.0, 45.0), (95.0, 855.0)),
            ((4.0, 6.0), (0.0, 950.0)),
            ((5.0, 995.0), (0.0, 950.0)),
        ] {
            assert_eq!(failures(candidate, active).decide(), Decision::Wait);
        }
        let times = |candidate: f64| Evidence {
            token_us: Some([candidate, 100.0]),
            ..Evidence::default()
        };
        assert!(matches!(times(151.0).decide(), Decision::RollBack(_)));
        assert_eq!(times(149.0).decide(), Decision::Wait);
    }
}
