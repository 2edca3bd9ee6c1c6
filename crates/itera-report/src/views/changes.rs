//! What changed since the last release whose metrics lie among the results.

use serde_json::{Value, json};

use super::View;
use crate::{
    compare::{Comparison, Verdict, compare, metrics, table},
    input::{Inputs, MetricsRecord, Of, version_key},
};

/// Changes that a page shows.
const SHOWN: usize = 10;

/// The newest release and every metric against it.
fn against_release(inputs: &Inputs) -> Option<(&Of<MetricsRecord>, Vec<Comparison>)> {
    let releases = inputs.released.iter();
    let release = releases.max_by_key(|of| version_key(&of.item.release))?;
    let mut old = release.item.metrics.clone();
    for metric in &mut old {
        // Its name in release 0.1.0.
        metric.subject = metric
            .subject
            .replace("on tinystories valid", "on tinystories-dev");
    }
    Some((release, compare(old, metrics(inputs), None)))
}

fn has_changed(of: &Comparison) -> bool {
    !matches!(of.verdict, Verdict::Same | Verdict::WithinNoise)
}

/// A figure that moved; one that is new or was measured in another way says nothing of the model.
fn has_moved(of: &Comparison) -> bool {
    matches!(
        of.verdict,
        Verdict::Better | Verdict::Worse | Verdict::NotMeasuredNow
    )
}

/// All comparisons, and the first of those that moved.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let Some((release, all)) = against_release(inputs) else {
        return Vec::new();
    };
    let sources = Inputs::files([release]);
    let changed = all.iter().filter(|of| has_moved(of)).take(SHOWN);
    views! { &sources;
        "changes" "Changes since the last release, all metrics" table(&all);
        "changes-first" "Changes since the last release" table(changed);
    }
}

/// The release and how many metrics changed in which way.
pub(super) fn facts(inputs: &Inputs) -> Option<Value> {
    let (release, all) = against_release(inputs)?;
    let count = |kind: &str| all.iter().filter(|of| of.verdict.kind() == kind).count();
    Some(json!({
        "release": release.item.release,
        "metrics": all.len(),
        "changed": all.iter().filter(|of| has_changed(of)).count(),
        "better": count("better"),
        "worse": count("worse"),
        "added": count("new"),
        "gone": count("gone"),
        "incomparable": count("not comparable"),
    }))
}
