//! Whether prompts are still like those of the reference window, by their bits per byte: two one-sided sums (CUSUM,
//! Page 1954) of ranks among the reference. Ranks make the rate of false alarms the same for every distribution.

/// Prompts of the reference window.
pub(crate) const REFERENCE: usize = 500;

/// What a prompt may be off from the middle, in standard deviations of a rank, before it counts.
const ALLOWANCE: f64 = 0.3;

/// The sum that is an alarm. With this allowance and window, under 1 % of streams of 10,000 independent prompts
/// without a change have one, and prompts that are harder by a standard deviation have one after about 40.
const THRESHOLD: f64 = 25.0;

/// What prompts have become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Harder,
    Easier,
}

impl Change {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Harder => "harder",
            Self::Easier => "easier",
        }
    }
}

/// What a prompt has led to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Nothing,
    /// The reference window is full: its bits per byte.
    Reference(Vec<f64>),
    /// The prompts are others than before. Those that follow are the new reference.
    Alarm(Change),
}

/// The watch over prompts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drift {
    /// Bits per byte of the reference, in order of size once it is full.
    reference: Vec<f64>,
    harder: f64,
    easier: f64,
    prompts: u64,
    alarms: u64,
}

impl Drift {
    /// Goes on with a full reference window of an earlier time.
    pub(crate) fn resume(reference: Vec<f64>) -> Self {
        let mut drift = Self {
            reference,
            ..Self::default()
        };
        drift.reference.truncate(REFERENCE);
        drift.reference.sort_by(f64::total_cmp);
        drift
    }

    /// A prompt of so many bits per byte has come.
    pub(crate) fn add(&mut self, bits_per_byte: f64) -> Seen {
        self.prompts += 1;
        if self.reference.len() < REFERENCE {
            self.reference.push(bits_per_byte);
            if self.reference.len() < REFERENCE {
                return Seen::Nothing;
            }
            self.reference.sort_by(f64::total_cmp);
            return Seen::Reference(self.reference.clone());
        }
        let off = self.off_middle(bits_per_byte);
        self.harder = (self.harder + off - ALLOWANCE).max(0.0);
        self.easier = (self.easier - off - ALLOWANCE).max(0.0);
        if self.score() < 1.0 {
            return Seen::Nothing;
        }
        let change = if self.harder > self.easier {
            Change::Harder
        } else {
            Change::Easier
        };
        *self = Self {
            prompts: self.prompts,
            alarms: self.alarms + 1,
            ..Self::default()
        };
        Seen::Alarm(change)
    }

    /// How near the next alarm is: 0 to 1.
    pub(crate) fn score(&self) -> f64 {
        self.harder.max(self.easier) / THRESHOLD
    }

    /// Prompts of the reference window so far.
    pub(crate) const fn reference(&self) -> usize {
        self.reference.len()
    }

    /// Prompts so far.
    pub(crate) const fn prompts(&self) -> u64 {
        self.prompts
    }

    /// Alarms so far.
    pub(crate) const fn alarms(&self) -> u64 {
        self.alarms
    }

    /// The rank among the reference, in standard deviations from its middle.
    fn off_middle(&self, value: f64) -> f64 {
        let below = self.reference.partition_point(|known| *known < value);
        let not_above = self.reference.partition_point(|known| *known <= value);
        let rank = (below + not_above) as f64 / (2 * self.reference.len()) as f64;
        (rank - 0.5) * 12_f64.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::tests::Draw;

    /// Prompts until the first alarm in a stream, `most` at most.
    fn first_alarm(
        seed: u64,
        most: usize,
        reference: fn(&mut Draw) -> f64,
        later: fn(&mut Draw) -> f64,
    ) -> Option<(usize, Change)> {
        let (mut draw, mut drift) = (Draw::new(seed), Drift::default());
        for _ in 0..REFERENCE {
            drift.add(reference(&mut draw));
        }
        (1..=most).find_map(|at| match drift.add(later(&mut draw)) {
            Seen::Alarm(change) => Some((at, change)),
            _ => None,
        })
    }

    #[test]
    fn of_a_thousand_streams_without_a_change_one_percent_have_an_alarm() {
        // Ranks are the same for every distribution, so the quickest to draw will do.
        let value = Draw::uniform;
        let alarms = (0..1000).filter(|seed| first_alarm(*seed, 10_000, value, value).is_some());
        let alarms = alarms.count();
        assert!(alarms <= 10, "{alarms} of 1000");
    }

    #[test]
    fn prompts_that_have_become_others_are_noticed_soon() {
        let normal = |draw: &mut Draw| 4.0 + 0.7 * draw.normal();
        let harder = |draw: &mut Draw| 4.7 + 0.7 * draw.normal();
        let easier = |draw: &mut Draw| 3.65 + 0.7 * draw.normal();
        let delay = |later: fn(&mut Draw) -> f64, expected: Change| {
            let mut delays: Vec<usize> = (0..200)
                .map(|seed| {
                    let (at, change) = first_alarm(seed, 3000, normal, later).unwrap();
                    assert_eq!(change, expected);
                    at
                })
                .collect();
            delays.sort_unstable();
            delays[100]
        };
        let (one, half) = (delay(harder, Change::Harder), delay(easier, Change::Easier));
        assert!((20..=50).contains(&one), "{one}");
        assert!((60..=150).contains(&half), "{half}");
    }

    #[test]
    fn after_an_alarm_the_prompts_that_follow_are_the_reference() {
        let mut drift = Drift::default();
        let mut last = Seen::Nothing;
        for number in 0..REFERENCE {
            last = drift.add(number as f64);
        }
        let Seen::Reference(values) = last else {
            panic!("{last:?}");
        };
        let mut resumed = Drift::resume(values);
        for drift in [&mut drift, &mut resumed] {
            let alarm = (0..100).find(|_| drift.add(1e3) == Seen::Alarm(Change::Harder));
            assert!(alarm.is_some_and(|at| at < 30), "{alarm:?}");
            assert_eq!((drift.alarms(), drift.reference()), (1, 0));
            // What was an alarm is usual now, and equal values are no change.
            assert!((0..2000).all(|_| !matches!(drift.add(1e3), Seen::Alarm(_))));
            assert!(drift.score() < 1e-9);
        }
    }
}
