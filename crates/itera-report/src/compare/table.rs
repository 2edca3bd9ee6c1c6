//! The comparison as Markdown.

use super::{Comparison, Metric, Verdict};
use crate::{
    md::{Doc, Table, code},
    num::{change_percent, significant},
};

/// The table and one sentence that sums it up.
pub(crate) fn text(comparisons: &[Comparison], max_regression_percent: Option<f64>) -> String {
    let mut doc = Doc::default();
    doc.heading(3, "Comparison with the old results");
    doc.paragraph(&verdict(comparisons, max_regression_percent));
    let mut table = Table::new([
        "what", "metric", "unit", "better", ">old", ">new", ">change", "verdict",
    ]);
    for comparison in comparisons {
        row(&mut table, comparison);
    }
    if !table.is_empty() {
        doc.table(&table);
    }
    doc.finish()
}

/// What all of it comes to.
fn verdict(comparisons: &[Comparison], max_percent: Option<f64>) -> String {
    let count = |wanted: fn(&Verdict) -> bool| {
        comparisons
            .iter()
            .filter(|comparison| wanted(&comparison.verdict))
            .count()
    };
    let mut text = format!(
        "{} metrics: {} better, {} worse, {} the same, {} within noise, {} not comparable, {} not \
         measured in the old results, {} not measured in the new results.",
        comparisons.len(),
        count(|verdict| *verdict == Verdict::Better),
        count(|verdict| *verdict == Verdict::Worse),
        count(|verdict| *verdict == Verdict::Same),
        count(|verdict| *verdict == Verdict::WithinNoise),
        count(|verdict| matches!(verdict, Verdict::NotComparable(_))),
        count(|verdict| *verdict == Verdict::NotMeasuredBefore),
        count(|verdict| *verdict == Verdict::NotMeasuredNow),
    );
    if let Some(percent) = max_percent {
        let regressions = comparisons
            .iter()
            .filter(|comparison| comparison.is_regression)
            .count();
        let verdict = match regressions {
            _ if !comparisons.iter().any(|c| c.verdict.is_comparison()) => {
                "**Nothing could be compared.**".to_owned()
            }
            0 => format!("**No regression** above {percent} %."),
            1 => format!("**1 regression** above {percent} %."),
            n => format!("**{n} regressions** above {percent} %."),
        };
        text = format!("{verdict} {text}");
    }
    text
}

fn row(table: &mut Table, comparison: &Comparison) {
    let Comparison {
        old,
        new,
        verdict,
        is_regression,
    } = comparison;
    let Some(either) = new.as_ref().or(old.as_ref()) else {
        return;
    };
    let value = |metric: &Option<Metric>| metric.as_ref().map_or("–".to_owned(), value);
    let change = old
        .as_ref()
        .zip(new.as_ref())
        .filter(|_| verdict.is_comparison());
    table.row([
        code(&either.subject),
        either.name.clone(),
        either.unit.to_owned(),
        match either.direction {
            super::Direction::Lower => "lower",
            super::Direction::Higher => "higher",
        }
        .to_owned(),
        value(old),
        value(new),
        change.map_or("–".to_owned(), |(old, new)| {
            change_percent(old.value, new.value)
        }),
        if *is_regression {
            format!("**REGRESSION** ({verdict})")
        } else {
            verdict.to_string()
        },
    ]);
}

/// A value with its interval.
fn value(metric: &Metric) -> String {
    // From a thousand up the whole digits say enough.
    let digits = |value: f64| match value.abs() {
        1000.0.. => crate::num::group_label(value, 0),
        _ => significant(value, 4),
    };
    match metric.interval {
        None if metric.value.fract() == 0.0 => crate::num::thousands(metric.value as u64),
        None => significant(metric.value, 6),
        Some([low, high]) => {
            format!(
                "{} [{}, {}]",
                digits(metric.value),
                digits(low),
                digits(high)
            )
        }
    }
}
