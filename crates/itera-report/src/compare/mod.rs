//! Two sets of results beside one another: old, new, change and verdict for every metric.

mod metrics;
mod table;

use std::fmt;

use itera_record::GateVerdict;

pub(crate) use metrics::metrics;
pub(crate) use table::{table, verdict_text};

use crate::input::{Direction, Metric};
use metrics::difference;

/// Deterministic figures that differ by less than this share are the same: the last digits of a sum
/// of floats may depend on the kernel.
const EPSILON: f64 = 1e-6;

/// One metric in both sets.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) old: Option<Metric>,
    pub(crate) new: Option<Metric>,
    pub(crate) verdict: Verdict,
    /// The new value, had the machine been as fast as before.
    adjusted: Option<Metric>,
    /// Worse by more than is tolerated, or gone.
    pub(crate) is_regression: bool,
}

/// What can be said about a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Better,
    Worse,
    /// A measurement whose intervals overlap.
    WithinNoise,
    /// What differs in the way they were measured.
    NotComparable(String),
    NotMeasuredBefore,
    NotMeasuredNow,
}

/// Verdicts by what somebody has to act on first.
const KINDS: [&str; 7] = [
    "worse",
    "better",
    "not comparable",
    "gone",
    "within noise",
    "same",
    "new",
];

impl Verdict {
    /// The verdict without what differs.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::NotComparable(_) => "not comparable",
            Self::NotMeasuredNow => "gone",
            Self::WithinNoise => "within noise",
            Self::Same => "same",
            Self::NotMeasuredBefore => "new",
        }
    }

    /// How far down the table it stands.
    fn rank(&self) -> usize {
        let position = KINDS.iter().position(|kind| *kind == self.kind());
        position.unwrap_or(KINDS.len())
    }

    /// Whether there was something to compare.
    pub(crate) const fn is_comparison(&self) -> bool {
        matches!(
            self,
            Self::Same | Self::Better | Self::Worse | Self::WithinNoise
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotComparable(why) => write!(f, "not comparable: {why}"),
            verdict => f.write_str(verdict.kind()),
        }
    }
}

/// Compares all metrics: regressions first, then by verdict, then in the order of the results.
pub(crate) fn compare(
    old: Vec<Metric>,
    new: Vec<Metric>,
    max_regression_percent: Option<f64>,
) -> Vec<Comparison> {
    let pairs = pairs(old, new).into_iter();
    let mut all: Vec<Comparison> = pairs
        .map(|(old, new)| Comparison::new(old, new, max_regression_percent))
        .collect();
    // What somebody has to act on comes first.
    all.sort_by_key(|comparison| (!comparison.is_regression, comparison.verdict.rank()));
    all
}

/// A metric before and after, where there is one.
type Pair = (Option<Metric>, Option<Metric>);

/// Metrics of the same thing. One model may be scored on one text in several ways: first all that were measured
/// alike find each other, so that none of them is taken by another.
fn pairs(mut before: Vec<Metric>, after: Vec<Metric>) -> Vec<Pair> {
    let is_alike =
        |old: &Metric, new: &Metric| key(old) == key(new) && difference(old, new).is_none();
    let alike = |new: Metric| (take(&mut before, |old| is_alike(old, &new)), Some(new));
    let mut pairs: Vec<Pair> = after.into_iter().map(alike).collect();
    for (old, new) in &mut pairs {
        let new = new.as_ref().map(key);
        *old = old
            .take()
            .or_else(|| take(&mut before, |old| Some(key(old)) == new));
    }
    pairs.extend(before.into_iter().map(|old| (Some(old), None)));
    pairs
}

/// What tells metrics apart.
fn key(metric: &Metric) -> (&str, &str) {
    (&metric.subject, &metric.name)
}

/// Takes the first of them out that is so.
fn take(metrics: &mut Vec<Metric>, is_so: impl Fn(&Metric) -> bool) -> Option<Metric> {
    let position = metrics.iter().position(is_so)?;
    Some(metrics.remove(position))
}

impl Comparison {
    /// The metric as it is, or as it was.
    fn metric(&self) -> Option<&Metric> {
        self.new.as_ref().or(self.old.as_ref())
    }

    /// The share by which it changed, where that says something.
    fn change(&self) -> Option<f64> {
        let (old, new) = self.old.as_ref().zip(self.adjusted.as_ref())?;
        let is_ratio = self.verdict.is_comparison() && old.value != 0.0;
        is_ratio.then(|| (new.value - old.value) / old.value.abs())
    }

    fn new(old: Option<Metric>, new: Option<Metric>, max_percent: Option<f64>) -> Self {
        let adjusted = new.as_ref().map(|new| adjusted(old.as_ref(), new));
        let verdict = verdict(old.as_ref(), adjusted.as_ref());
        let change = old
            .as_ref()
            .zip(adjusted.as_ref())
            .map_or(0.0, |(old, new)| {
                100.0 * (new.value - old.value).abs() / old.value.abs().max(f64::MIN_POSITIVE)
            });
        let is_judged = old.as_ref().zip(new.as_ref()).and_then(judged).is_some();
        // What is not measured any more cannot be shown to be no worse.
        let is_regression = max_percent.is_some_and(|percent| match verdict {
            Verdict::Worse => is_judged || change > percent,
            Verdict::NotMeasuredNow => true,
            _ => false,
        });
        Self {
            old,
            new,
            verdict,
            adjusted,
            is_regression,
        }
    }
}

/// The new figure, had the calibration workload beside it taken what it took before: a machine that other
/// programs slow down, or that has another clock today, is no change of the build.
fn adjusted(old: Option<&Metric>, new: &Metric) -> Metric {
    let factor = match (old.and_then(|old| old.calibration), new.calibration) {
        (Some(old), Some(new)) if old > 0.0 && new > 0.0 => old / new,
        _ => 1.0,
    };
    Metric {
        value: factor * new.value,
        interval: new
            .interval
            .map(|bounds| bounds.map(|bound| factor * bound)),
        ..new.clone()
    }
}

/// What itera-power found, if it compared these very results: it times a calibration workload between
/// samples and measures again where it doubts, so it can tell a slow build from a slow quarter of an
/// hour. Two records alone cannot.
fn judged((old, new): (&Metric, &Metric)) -> Option<Verdict> {
    let (baseline, verdict) = new.judged.as_ref()?;
    if *baseline != old.source_sha256 {
        return None;
    }
    Some(match verdict {
        GateVerdict::Ok => Verdict::WithinNoise,
        GateVerdict::Improved => Verdict::Better,
        GateVerdict::Regression => Verdict::Worse,
        GateVerdict::NotInBaseline => Verdict::NotMeasuredBefore,
        GateVerdict::NotMeasured => Verdict::NotMeasuredNow,
    })
}

fn verdict(old: Option<&Metric>, new: Option<&Metric>) -> Verdict {
    let (Some(old), Some(new)) = (old, new) else {
        return if old.is_none() {
            Verdict::NotMeasuredBefore
        } else {
            Verdict::NotMeasuredNow
        };
    };
    if let Some(difference) = difference(old, new) {
        return Verdict::NotComparable(difference);
    }
    if let Some(verdict) = judged((old, new)) {
        return verdict;
    }
    let is_noisy = old.interval.zip(new.interval);
    if let Some(([old_low, old_high], [new_low, new_high])) = is_noisy
        && old_low <= new_high
        && new_low <= old_high
    {
        return Verdict::WithinNoise;
    }
    let scale = old.value.abs().max(new.value.abs());
    let is_same = (new.value - old.value).abs() <= EPSILON * scale;
    let is_lower = new.value < old.value;
    match (is_same, is_lower == (new.direction == Direction::Lower)) {
        (true, _) => Verdict::Same,
        (false, true) => Verdict::Better,
        (false, false) => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(value: f64, interval: Option<[f64; 2]>, direction: Direction) -> Metric {
        Metric {
            subject: "model".to_owned(),
            name: "metric".to_owned(),
            unit: "unit".to_owned(),
            direction,
            value,
            interval,
            calibration: None,
            protocol: vec![("text".to_owned(), "a".to_owned())],
            source: "file".to_owned(),
            source_sha256: "new".to_owned(),
            judged: None,
        }
    }

    fn judge(old: &Metric, new: &Metric, percent: f64) -> (Verdict, bool) {
        let comparison = Comparison::new(Some(old.clone()), Some(new.clone()), Some(percent));
        (comparison.verdict, comparison.is_regression)
    }

    #[test]
    fn deterministic_metrics_are_judged_by_their_digits() {
        let exact = |value| metric(value, None, Direction::Lower);
        assert_eq!(
            judge(&exact(1.0), &exact(1.0 + 1e-9), 0.0),
            (Verdict::Same, false)
        );
        assert_eq!(
            judge(&exact(1.0), &exact(0.99), 0.0),
            (Verdict::Better, false)
        );
        assert_eq!(
            judge(&exact(1.0), &exact(1.02), 1.0),
            (Verdict::Worse, true)
        );
        assert_eq!(
            judge(&exact(1.0), &exact(1.02), 3.0),
            (Verdict::Worse, false)
        );
        assert_eq!(judge(&exact(0.0), &exact(0.0), 0.0), (Verdict::Same, false));
    }

    #[test]
    fn noisy_metrics_are_judged_by_their_intervals() {
        let noisy = |value: f64| {
            let interval = Some([value * 0.95, value * 1.05]);
            metric(value, interval, Direction::Higher)
        };
        assert_eq!(
            judge(&noisy(100.0), &noisy(93.0), 1.0),
            (Verdict::WithinNoise, false)
        );
        assert_eq!(
            judge(&noisy(100.0), &noisy(80.0), 1.0),
            (Verdict::Worse, true)
        );
        assert_eq!(
            judge(&noisy(100.0), &noisy(80.0), 25.0),
            (Verdict::Worse, false)
        );
        assert_eq!(
            judge(&noisy(100.0), &noisy(120.0), 1.0),
            (Verdict::Better, false)
        );
    }

    #[test]
    fn a_slower_machine_is_taken_out_and_a_slower_build_is_not() {
        let energy = |value: f64, calibration: f64| {
            let interval = Some([value * 0.98, value * 1.02]);
            let mut metric = metric(value, interval, Direction::Lower);
            metric.calibration = Some(calibration);
            metric
        };
        let old = energy(100.0, 0.002);
        let noise = judge(&old, &energy(150.0, 0.003), 2.0);
        assert_eq!(noise, (Verdict::WithinNoise, false));
        assert_eq!(
            judge(&old, &energy(165.0, 0.003), 2.0),
            (Verdict::Worse, true)
        );
        assert_eq!(
            judge(&old, &energy(110.0, 0.002), 2.0),
            (Verdict::Worse, true)
        );
    }

    #[test]
    fn the_gate_of_itera_power_has_the_last_word_on_the_very_baseline() {
        let noisy = |value: f64| {
            let interval = Some([value * 0.95, value * 1.05]);
            metric(value, interval, Direction::Lower)
        };
        let mut old = noisy(100.0);
        old.source_sha256 = "old".to_owned();
        let mut new = noisy(180.0);
        assert_eq!(judge(&old, &new, 2.0), (Verdict::Worse, true));
        new.judged = Some(("old".to_owned(), GateVerdict::Ok));
        assert_eq!(judge(&old, &new, 2.0), (Verdict::WithinNoise, false));
        new.judged = Some(("another".to_owned(), GateVerdict::Ok));
        assert_eq!(judge(&old, &new, 2.0), (Verdict::Worse, true));
        let mut slower = noisy(101.0);
        slower.judged = Some(("old".to_owned(), GateVerdict::Regression));
        assert_eq!(judge(&old, &slower, 2.0), (Verdict::Worse, true));
    }

    #[test]
    fn what_was_measured_alike_is_compared_whatever_comes_before() {
        let scored = |value: f64, protocol: &str| {
            let mut metric = metric(value, None, Direction::Lower);
            metric.protocol = vec![("protocol".to_owned(), protocol.to_owned())];
            metric
        };
        let before = vec![scored(1.0, "document")];
        let after = vec![scored(0.5, "stream"), scored(2.0, "document")];
        let pairs = pairs(before, after);
        assert_eq!(pairs.len(), 2);
        assert!(pairs[0].0.is_none());
        let (Some(old), Some(new)) = &pairs[1] else {
            panic!("{pairs:?}");
        };
        assert_eq!(judge(old, new, 1.0), (Verdict::Worse, true));
    }

    #[test]
    fn what_was_measured_otherwise_is_not_compared() {
        let old = metric(1.0, None, Direction::Lower);
        let mut new = metric(9.0, None, Direction::Lower);
        new.protocol = vec![("text".to_owned(), "b".to_owned())];
        let (verdict, is_regression) = judge(&old, &new, 0.0);
        assert_eq!(verdict.to_string(), "not comparable: text was a, is b");
        assert!(!is_regression && !verdict.is_comparison());
        new.protocol = vec![("platform".to_owned(), "15 W".to_owned())];
        let (verdict, _) = judge(&old, &new, 0.0);
        assert_eq!(
            verdict.to_string(),
            "not comparable: platform was not said, is 15 W"
        );
        let gone = Comparison::new(Some(old), None, Some(0.0));
        assert_eq!(gone.verdict, Verdict::NotMeasuredNow);
        assert!(gone.is_regression, "a figure that is gone passes no gate");
    }
}
