//! Metrics for other programs: for github-action-benchmark an array of `{name, unit, value, range?,
//! extra?}`, one file for each direction; and for later comparisons all of them in one file.

use anyhow::Context as _;
use itera_record::num::significant;
use serde::Serialize;

use crate::{
    compare::metrics,
    input::{Direction, Inputs, Metric, MetricsRecord, version_key},
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

impl Entry {
    fn new(metric: &Metric) -> Self {
        let protocol = metric
            .protocol
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let extra = std::iter::once(format!("from {}", metric.source)).chain(protocol);
        Self {
            name: format!("{}: {}", metric.subject, metric.name),
            unit: metric.unit.clone(),
            value: metric.value,
            range: metric
                .interval
                .map(|[low, high]| format!("± {}", significant((high - low) / 2.0, 3))),
            extra: extra.collect::<Vec<_>>().join("\n"),
        }
    }
}

/// Both files of the action.
///
/// # Errors
/// Never in practice: the entries are plain JSON.
pub(crate) fn files(inputs: &Inputs) -> anyhow::Result<Files> {
    let metrics = metrics(inputs);
    let file = |(direction, name): (Direction, &str)| {
        let metrics = metrics
            .iter()
            .filter(|metric| metric.direction == direction);
        let entries: Vec<Entry> = metrics.map(Entry::new).collect();
        Ok((name.to_owned(), json(&entries)?))
    };
    DIRECTIONS.into_iter().map(file).collect()
}

/// All metrics in one file, to be kept with the release of the tools that measured: `metrics-VERSION.json`.
///
/// # Errors
/// Never in practice: the record is plain JSON.
pub(crate) fn release(inputs: &Inputs) -> anyhow::Result<Files> {
    let versions = inputs
        .sources
        .iter()
        .filter_map(|source| source.tool.split_once(' '));
    let newest = versions
        .map(|(_, version)| version)
        .max_by_key(|version| version_key(version));
    let release = newest.unwrap_or(env!("CARGO_PKG_VERSION"));
    let record = MetricsRecord {
        schema: MetricsRecord::SCHEMA.to_owned(),
        release: release.to_owned(),
        metrics: metrics(inputs),
    };
    Ok(Files::from([(
        format!("metrics-{release}.json"),
        json(&record)?,
    )]))
}

fn json(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let json = serde_json::to_string_pretty(value).context("cannot write the metrics")?;
    Ok(format!("{json}\n").into_bytes())
}
