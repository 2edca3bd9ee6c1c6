//! The comparison of a run with a baseline.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PowerMode;

/// What the gate was asked and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateResult {
    /// SHA-256 of the baseline, a result or a program that was measured in turns with this one: 64
    /// lower-case hexadecimal digits.
    pub baseline_sha256: String,
    /// Whether the baseline is a program that was measured in turns with this one.
    pub is_in_turns: bool,
    /// When the baseline was measured.
    pub baseline_created_at: String,
    /// How much slower or hungrier a row may be, in percent.
    pub max_regression_percent: f64,
    /// Chance of one false alarm in the whole table (Holm's method over all metrics with noise).
    pub alpha: f64,
    /// One for each metric of each row.
    pub comparisons: Vec<GateComparison>,
    /// Whether there is no regression.
    pub passed: bool,
}

impl GateComparison {
    /// The metric of time on the wall.
    pub const LATENCY: &str = "latency / calibration";

    /// The metric of CPU time.
    pub const CPU_TIME: &str = "CPU time / calibration";
}

/// One metric of one row, in the baseline and now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateComparison {
    /// Name of the model.
    pub model: String,
    /// Precision of its weights.
    pub precision: String,
    /// Reading or writing; null for a metric that does not depend on it.
    pub mode: Option<PowerMode>,
    /// The metric. Latency, CPU time and energy are multiples of the calibration workload's.
    pub metric: String,
    /// Its value in the baseline; null if it was not measured there.
    pub old: Option<f64>,
    /// Its value now; null if it was not measured.
    pub new: Option<f64>,
    /// `100 * (new / old - 1)`.
    pub change_percent: Option<f64>,
    /// Median of each process of the baseline; empty for a metric without noise.
    pub old_processes: Vec<f64>,
    /// Median of each process of this run, likewise.
    pub new_processes: Vec<f64>,
    /// Chance of such a difference beyond what is permitted, if there is none (Mann-Whitney over the
    /// processes, one-sided, exact); null for a metric without noise.
    pub p_value: Option<f64>,
    /// What follows.
    pub verdict: GateVerdict,
}

/// What the gate says about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// Within what is permitted.
    Ok,
    /// Better, and no chance.
    Improved,
    /// Worse by more than is permitted, and no chance.
    Regression,
    /// The baseline has no such row or metric.
    NotInBaseline,
    /// This run has no such row or metric.
    NotMeasured,
}

impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Improved => "improved",
            Self::Regression => "REGRESSION",
            Self::NotInBaseline => "not in the baseline",
            Self::NotMeasured => "not measured in this run",
        })
    }
}
