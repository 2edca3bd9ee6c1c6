//! The comparison as a table and a sentence.

use itera_record::{Column, Form, Table, Value};

use super::Comparison;
use crate::input::{Direction, Metric};

const COLUMNS: [Column<Comparison>; 8] = [
    Column::words("subject", "what", |of| {
        either(of, |metric| Value::code(&metric.subject))
    }),
    Column::words("metric", "metric", |of| {
        either(of, |metric| Value::text(&metric.name))
    }),
    Column::words("unit", "unit", |of| {
        either(of, |metric| Value::text(&metric.unit))
    }),
    Column::words("better", "better", |of| {
        either(of, |metric| {
            Value::text(match metric.direction {
                Direction::Lower => "lower",
                Direction::Higher => "higher",
            })
        })
    }),
    Column::number("old", "old", "", |of| value(of.old.as_ref())),
    Column::number("new", "new", "", |of| value(of.new.as_ref())),
    Column::number("change", "change", "", |of| match (&of.old, &of.new) {
        (Some(old), Some(new)) if of.verdict.is_comparison() && old.value != 0.0 => {
            Value::Number((new.value - old.value) / old.value.abs(), Form::Change)
        }
        _ => Value::None,
    }),
    Column::words("verdict", "verdict", |of| {
        Value::Text(if of.is_regression {
            format!("REGRESSION ({})", of.verdict)
        } else {
            of.verdict.to_string()
        })
    }),
];

/// All comparisons as a table.
pub(crate) fn table<'c>(comparisons: impl IntoIterator<Item = &'c Comparison>) -> Table {
    Table::of(&COLUMNS, comparisons)
}

fn either(of: &Comparison, value: fn(&Metric) -> Value) -> Value {
    of.new
        .as_ref()
        .or(of.old.as_ref())
        .map_or(Value::None, value)
}

/// A value with its interval.
fn value(metric: Option<&Metric>) -> Value {
    let Some(metric) = metric else {
        return Value::None;
    };
    match metric.interval {
        Some(interval) => Value::Within(metric.value, interval, Form::Si),
        None if metric.value.fract() == 0.0 => Value::Number(metric.value, Form::Whole),
        None => Value::Number(metric.value, Form::Fixed(4)),
    }
}

const KINDS: [&str; 7] = [
    "better",
    "worse",
    "the same",
    "within noise",
    "not comparable",
    "new",
    "gone",
];

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
