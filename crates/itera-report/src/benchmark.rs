//! Metrics in the form that github-action-benchmark reads: an array of `{name, unit, value, range?,
//! extra?}`, one file for each direction.

use anyhow::Context as _;
use serde::Serialize;

use crate::{
    compare::{Direction, metrics},
    input::Inputs,
    num::significant,
    output::Files,
};

/// The files and the tool name that the action has for them.
const DIRECTIONS: [(Direction, &str); 2] = [
    (Direction::Lower, "benchmark-smaller-is-better.json"),
    (Direction::Higher, "benchmark-bigger-is-better.json"),
];

#[derive(Serialize)]
struct Entry {
    name: String,
    unit: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

/// Both files.
///
/// # Errors
/// Never in practice: the entries are plain JSON.
pub(crate) fn files(inputs: &Inputs) -> anyhow::Result<Files> {
    let metrics = metrics(inputs);
    let mut files = Files::new();
    for (direction, name) in DIRECTIONS {
        let entries: Vec<Entry> = metrics
            .iter()
            .filter(|metric| metric.direction == direction)
            .map(|metric| {
                let protocol = metric
                    .protocol
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}"));
                let extra = std::iter::once(format!("from {}", metric.source)).chain(protocol);
                Entry {
                    name: format!("{}: {}", metric.subject, metric.name),
                    unit: metric.unit.to_owned(),
                    value: metric.value,
                    range: metric
                        .interval
                        .map(|[low, high]| format!("± {}", significant((high - low) / 2.0, 3))),
                    extra: extra.collect::<Vec<_>>().join("\n"),
                }
            })
            .collect();
        let json = serde_json::to_string_pretty(&entries).context("cannot write the metrics")?;
        files.insert(name.to_owned(), format!("{json}\n").into_bytes());
    }
    Ok(files)
}
