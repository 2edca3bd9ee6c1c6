//! The metrics of a set of results, kept with a release so that later results can be compared with it.

use itera_record::GateVerdict;
use serde::{Deserialize, Serialize};

use super::kinds::Plain;

/// All metrics of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MetricsRecord {
    pub(crate) schema: String,
    /// The release, for example `0.1.0`.
    pub(crate) release: String,
    pub(crate) metrics: Vec<Metric>,
}

impl Plain for MetricsRecord {
    fn check(&self) -> Result<(), String> {
        let is_finite = |metric: &Metric| metric.value.is_finite();
        if self.metrics.iter().all(is_finite) {
            Ok(())
        } else {
            Err("has a metric that is NaN or infinite".to_owned())
        }
    }
}

impl MetricsRecord {
    pub(crate) const SCHEMA: &str = "itera.metrics/1";
}

/// A version as numbers, for comparisons.
pub(crate) fn version_key(version: &str) -> Vec<u64> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    Lower,
    Higher,
}

/// A figure that can be compared over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    /// What it is about.
    pub(crate) subject: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) direction: Direction,
    pub(crate) value: f64,
    /// Where the value may lie if it is measured again in the same way; none for a figure without noise.
    pub(crate) interval: Option<[f64; 2]>,
    /// What the calibration workload beside it came to: a machine that was slower while the figure was
    /// measured is taken out by it. None for a figure that has no such workload, or is a multiple of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) calibration: Option<f64>,
    /// What has to be equal, by name.
    pub(crate) protocol: Vec<(String, String)>,
    /// The file that it comes from.
    pub(crate) source: String,
    /// SHA-256 of that file.
    pub(crate) source_sha256: String,
    /// What itera-power found in comparison with the file of this SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) judged: Option<(String, GateVerdict)>,
}
