//! What all servers have seen of an experiment, and how its arms compare with the first.

use std::f64::consts::LN_2;

use itera_core::model::bits_per_byte;

use super::stats::{
    Interval, SAMPLE_RATIO_P, alpha, difference_of_shares, ratio, sample_ratio_p, wilson,
};
use crate::{
    metrics::Wanted,
    store::{ArmSums, Experiment, ExperimentKind, PairSums, SHARES, Store, StoreError},
};

/// What has come of an experiment.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) arms: Vec<ArmReport>,
    /// How probable such a division among the arms is; none while nothing is divided.
    pub(crate) sample_ratio_p: Option<f64>,
    /// Whether units are divided as the weights say.
    pub(crate) holds: bool,
    /// Every arm but the first with the first.
    pub(crate) comparisons: Vec<Comparison>,
}

/// What has come of an arm.
#[derive(Debug)]
pub(crate) struct ArmReport {
    pub(crate) name: String,
    pub(crate) units: f64,
    pub(crate) answers: f64,
    pub(crate) rated: f64,
    /// Of rated answers, with Wilson's interval.
    pub(crate) negative_share: Option<Interval>,
    /// Of accepted texts and of corrections: how many, and bits per byte.
    pub(crate) texts: [(f64, Option<f64>); Wanted::ALL.len()],
    /// Of the latest answers in ms: the middle one, and the one that 1 % are slower than.
    pub(crate) latency_ms: Option<[f64; 2]>,
    /// Microseconds for each token, of the middle answer of these, and how many these are.
    pub(crate) token_us: Option<(f64, usize)>,
}

/// An arm against the first.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) arm: String,
    pub(crate) control: String,
    pub(crate) negative_share: Compared,
    /// Bits per byte of accepted texts and of corrections, which both arms have scored.
    pub(crate) bits_per_byte: [Compared; Wanted::ALL.len()],
}

/// How an arm differs from the first in a figure that is to be low.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Compared {
    /// The division into arms is not what the weights say: whatever is wrong may have made the difference.
    Withheld,
    /// There are too few units to tell anything.
    TooFew,
    /// By so much, with limits that hold at any time.
    By(Interval),
}

impl Compared {
    pub(crate) const fn interval(&self) -> Option<Interval> {
        match self {
            Self::By(interval) => Some(*interval),
            Self::Withheld | Self::TooFew => None,
        }
    }

    /// `better`, `worse`, or why neither.
    pub(crate) fn verdict(&self) -> &'static str {
        match self {
            Self::Withheld => "withheld",
            Self::TooFew => "too_few",
            Self::By(interval) if interval.low > 0.0 => "worse",
            Self::By(interval) if interval.high < 0.0 => "better",
            Self::By(_) => "undecided",
        }
    }
}

impl Report {
    /// Reads what there is.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn read(store: &Store, experiment: &Experiment) -> Result<Self, StoreError> {
        let (id, arms) = (&experiment.id, &experiment.definition.arms);
        let control = &arms[0].name;
        let mut seen = Vec::new();
        for arm in arms {
            let mut pairs = Vec::new();
            for kind in Wanted::ALL {
                pairs.push(store.pair_sums(id, kind.name(), &arm.name, control).await?);
            }
            seen.push(Seen {
                name: arm.name.clone(),
                sums: store.arm_sums(id, &arm.name).await?,
                pairs,
                times: store.times(id, &arm.name).await?,
            });
        }
        let weights: Vec<u32> = arms.iter().map(|arm| arm.weight).collect();
        let steps = match experiment.kind {
            ExperimentKind::Canary => SHARES.len(),
            ExperimentKind::Comparison => 1,
        };
        Ok(Self::of(&seen, &weights, alpha(arms.len(), steps)))
    }

    fn of(seen: &[Seen], weights: &[u32], alpha: f64) -> Self {
        let units: Vec<f64> = seen.iter().map(|arm| arm.sums.units).collect();
        let p = sample_ratio_p(&units, weights);
        let holds = p.is_none_or(|p| p >= SAMPLE_RATIO_P);
        let mut report = Self {
            arms: seen.iter().map(Seen::report).collect(),
            sample_ratio_p: p,
            holds,
            comparisons: Vec::new(),
        };
        let compared = |interval: Option<Interval>| match interval {
            _ if !holds => Compared::Withheld,
            None => Compared::TooFew,
            Some(interval) => Compared::By(interval),
        };
        let (control, others) = seen.split_at(1);
        for arm in others {
            let shares = (&arm.sums.negatives, &control[0].sums.negatives);
            let bits = |kind: Wanted| {
                let nats = ratio(&arm.pairs[kind as usize].differences, alpha);
                compared(nats.map(in_bits))
            };
            report.comparisons.push(Comparison {
                arm: arm.name.clone(),
                control: control[0].name.clone(),
                negative_share: compared(difference_of_shares(shares.0, shares.1, alpha)),
                bits_per_byte: Wanted::ALL.map(bits),
            });
        }
        report
    }
}

/// What the database says about an arm.
struct Seen {
    name: String,
    sums: ArmSums,
    /// Of each kind of text.
    pairs: Vec<PairSums>,
    /// Microseconds and tokens.
    times: Vec<(f64, f64)>,
}

impl Seen {
    fn report(&self) -> ArmReport {
        let ArmSums {
            units,
            answers,
            negatives,
        } = &self.sums;
        let texts = Wanted::ALL.map(|kind| {
            let pairs = &self.pairs[kind as usize];
            let bits = (pairs.bytes > 0.0).then(|| bits_per_byte(pairs.nats, pairs.bytes));
            (pairs.texts, bits)
        });
        let ms = self.times.iter().map(|(us, _)| us / 1e3).collect();
        let each = self.times.iter().filter(|(_, tokens)| *tokens > 0.0);
        let each: Vec<f64> = each.map(|(us, tokens)| us / tokens).collect();
        let count = each.len();
        ArmReport {
            name: self.name.clone(),
            units: *units,
            answers: *answers,
            rated: negatives.y,
            negative_share: wilson(negatives.x, negatives.y),
            texts,
            latency_ms: quantiles(ms, [0.5, 0.99]),
            token_us: quantiles(each, [0.5]).map(|[middle]| (middle, count)),
        }
    }
}

const fn in_bits(nats: Interval) -> Interval {
    Interval {
        estimate: nats.estimate / LN_2,
        low: nats.low / LN_2,
        high: nats.high / LN_2,
    }
}

/// Quantiles of values; none of none.
fn quantiles<const N: usize>(mut values: Vec<f64>, shares: [f64; N]) -> Option<[f64; N]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(shares.map(|share| values[((last as f64) * share).ceil() as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::Sums;

    fn seen(name: &str, units: usize, negatives: usize) -> Seen {
        let mut sums = Sums::default();
        for unit in 0..units {
            sums.add(f64::from(u8::from(unit < negatives)), 1.0);
        }
        Seen {
            name: name.to_owned(),
            sums: ArmSums {
                units: units as f64,
                answers: units as f64,
                negatives: sums,
            },
            pairs: vec![PairSums::default(), PairSums::default()],
            times: vec![(2000.0, 2.0), (4000.0, 0.0), (9000.0, 3.0)],
        }
    }

    #[test]
    fn verdicts_are_by_the_limits_and_withheld_where_the_division_fails() {
        let verdict = |arms: &[Seen], weights: &[u32]| {
            let report = Report::of(arms, weights, alpha(arms.len(), 1));
            let compared = report
                .comparisons
                .iter()
                .map(|of| of.negative_share.verdict());
            compared.collect::<Vec<_>>()
        };
        let arms = [
            seen("a", 1000, 200),
            seen("b", 1000, 400),
            seen("c", 1000, 20),
        ];
        assert_eq!(verdict(&arms, &[1, 1, 1]), ["worse", "better"]);
        assert_eq!(verdict(&arms, &[2, 1, 1]), ["withheld", "withheld"]);
        let arms = [seen("a", 1000, 200), seen("b", 1000, 210)];
        assert_eq!(verdict(&arms, &[1, 1]), ["undecided"]);
        assert_eq!(
            verdict(&[seen("a", 10, 2), seen("b", 9, 9)], &[1, 1]),
            ["too_few"]
        );
    }

    #[test]
    fn times_are_quantiles() {
        let arm = seen("a", 10, 2).report();
        assert_eq!(arm.latency_ms, Some([4.0, 9.0]));
        assert_eq!(arm.token_us, Some((3000.0, 2)));
        assert_eq!(quantiles(Vec::new(), [0.5]), None);
    }
}
