//! The comparison as a table and a sentence.

use itera_record::{
    Form::{Change, Fixed, Short, Si, Whole},
    Table, Value, columns,
};

use super::{Comparison, KINDS};
use crate::input::{Direction, Metric};

/// All comparisons as a table.
pub(crate) fn table<'c>(comparisons: impl IntoIterator<Item = &'c Comparison>) -> Table {
    let columns = columns! { Comparison:
        text   "subject" "what"    "" |of| of.metric().map(|metric| Value::code(&metric.subject));
        text   "metric"  "metric"  "" |of| of.metric().map(|metric| &metric.name);
        text   "unit"    "unit"    "" |of| of.metric().map(|metric| &metric.unit);
        text   "better"  "better"  "" |of| of.metric().map(better);
        number "old"     "old"     "" |of| of.old.as_ref().map(value);
        number "new"     "new"     "" |of| of.new.as_ref().map(value);
        number "change"  "change"  "" |of| Change.of(of.change());
        text   "verdict" "verdict" "" |of| if of.is_regression { format!("REGRESSION ({})", of.verdict) } else { of.verdict.to_string() };
    };
    Table::of(&columns, comparisons)
}

const fn better(metric: &Metric) -> &'static str {
    match metric.direction {
        Direction::Lower => "lower",
        Direction::Higher => "higher",
    }
}

/// A value with its interval.
fn value(metric: &Metric) -> Value {
    match metric.interval {
        Some(interval) if metric.value >= 1e4 => Si.within(metric.value, interval),
        Some(interval) => Short.within(metric.value, interval),
        None if metric.value.fract() == 0.0 => Whole.of(metric.value),
        None => Fixed(4).of(metric.value),
    }
}

/// What all of it comes to.
pub(crate) fn verdict_text(comparisons: &[Comparison], max_percent: Option<f64>) -> String {
    let count = |kind: &str| {
        comparisons
            .iter()
            .filter(|of| of.verdict.kind() == kind)
            .count()
    };
    let counts: Vec<String> = KINDS
        .iter()
        .map(|kind| (count(kind), kind))
        .filter(|(n, _)| *n > 0)
        .map(|(n, kind)| format!("{n} {kind}"))
        .collect();
    let text = format!("{} metrics: {}.", comparisons.len(), counts.join(", "));
    let Some(percent) = max_percent else {
        return text;
    };
    let regressions = comparisons.iter().filter(|of| of.is_regression).count();
    let verdict = match regressions {
        0 if !comparisons.iter().any(|of| of.verdict.is_comparison()) => {
            "**Nothing could be compared.**".to_owned()
        }
        0 => format!("**No regression** above {percent} %."),
        1 => format!("**1 regression** above {percent} %."),
        n => format!("**{n} regressions** above {percent} %."),
    };
    format!("{verdict} {text}")
}
