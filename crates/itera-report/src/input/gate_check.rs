//! The record of `scripts/check-gate.sh`: whether the gate of `itera-power` passes equal builds and
//! fails a slower one.

use itera_record::Envelope;
use serde::{Deserialize, Serialize};

use super::kinds::Plain;

/// How often the gate was right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GateCheck {
    /// Schema, time, tool and host.
    #[serde(flatten)]
    pub(crate) envelope: Envelope,
    pub(crate) max_regression_percent: f64,
    pub(crate) slowed_by_percent: f64,
    pub(crate) same_build_passed: u64,
    pub(crate) same_build_runs: u64,
    pub(crate) slowed_build_failed: u64,
    pub(crate) slowed_build_runs: u64,
}

impl Plain for GateCheck {
    fn check(&self) -> Result<(), String> {
        let pairs = [
            (self.same_build_passed, self.same_build_runs),
            (self.slowed_build_failed, self.slowed_build_runs),
        ];
        match pairs.into_iter().find(|(part, all)| part > all) {
            Some((part, all)) => Err(format!("counts {part} of {all} runs, expected at most all")),
            None => Ok(()),
        }
    }
}

impl GateCheck {
    pub(super) const SCHEMA: &str = "itera.gate-check/1";

    /// Whether the gate was always right.
    pub(crate) const fn holds(&self) -> bool {
        self.same_build_passed == self.same_build_runs
            && self.slowed_build_failed == self.slowed_build_runs
    }
}
