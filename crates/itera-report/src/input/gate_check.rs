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
    /// Comparisons of a build with itself, and how many of them found a regression.
    pub(crate) same_build_runs: u64,
    pub(crate) same_build_alarms: u64,
    pub(crate) slowed_builds: Vec<SlowedBuild>,
}

/// Comparisons of a build with one that is slower on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlowedBuild {
    pub(crate) slowed_by_percent: f64,
    pub(crate) runs: u64,
    /// How many of them found it.
    pub(crate) found: u64,
}

impl Plain for GateCheck {
    fn check(&self) -> Result<(), String> {
        let same = (self.same_build_alarms, self.same_build_runs);
        let slowed = self.slowed_builds.iter().map(|of| (of.found, of.runs));
        let mut pairs = std::iter::once(same).chain(slowed);
        match pairs.find(|(part, all)| part > all) {
            Some((part, all)) => Err(format!("counts {part} of {all} runs, expected at most all")),
            None => Ok(()),
        }
    }
}

impl GateCheck {
    pub(super) const SCHEMA: &str = "itera.gate-check/2";

    /// Whether at most one comparison in twenty of a build with itself was an alarm, and all builds were
    /// found that are slower by twice what is permitted.
    pub(crate) fn holds(&self) -> bool {
        let far = |of: &&SlowedBuild| of.slowed_by_percent >= 2.0 * self.max_regression_percent;
        let mut far_slower = self.slowed_builds.iter().filter(far);
        20 * self.same_build_alarms <= self.same_build_runs
            && far_slower.all(|of| of.found == of.runs)
    }
}
