//! Energies, and where they come from.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The method of a figure that could not be found.
pub const UNAVAILABLE: &str = "unavailable";

/// Least, likeliest and greatest value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// The figure itself.
    pub nominal: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// Applies a rising function to all three values.
    #[must_use]
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            low: f(self.low),
            nominal: f(self.nominal),
            high: f(self.high),
        }
    }

    /// One over the interval; the bounds change places.
    #[must_use]
    pub fn reciprocal(self) -> Self {
        Self {
            low: 1.0 / self.high,
            nominal: 1.0 / self.nominal,
            high: 1.0 / self.low,
        }
    }
}

/// A machine whose power is modelled from its TDP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerPlatform {
    /// Short name, for example `laptop`.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Cores: a busy thread takes one of them.
    pub cores: u64,
    /// Power at full load, with all cores busy.
    pub tdp_watts: f64,
    /// Power at rest.
    pub idle_watts: f64,
    /// Its speed over that of this machine; null if not known.
    pub relative_speed: Option<f64>,
    /// Where the powers come from.
    pub source: String,
    /// When: year, month and day as far as known.
    pub date: String,
}

/// An energy counter of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CounterStatus {
    /// The counter, for example `rapl:package-0` or `perf:energy-pkg`.
    pub source: String,
    /// `measured(SOURCE)` if it is believed, else `unavailable`.
    pub method: String,
    /// Why it is not believed, and what can be done; null if it is.
    pub reason: Option<String>,
    /// Power at rest, before the measurement, in watts; null if not believed.
    pub idle_watts: Option<f64>,
    /// Power at rest, after the measurement, in watts; null if not believed or not read.
    pub idle_after_watts: Option<f64>,
    /// Power while one thread spun, in watts; null if not believed.
    pub spin_watts: Option<f64>,
    /// The smallest step that the counter was seen to make, in joules; null if not believed.
    pub step_joules: Option<f64>,
}

/// Which speed an energy stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpeedBasis {
    /// This machine, where it was measured.
    Measured,
    /// A projection: the platform's power at this machine's speed.
    ThisMachine,
    /// The platform's power at this machine's speed times its relative speed.
    RelativeSpeed,
}

/// Energy per token by one counter or for one platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnergyFigure {
    /// The counter or the platform: `rapl:package-0`, `tdp:laptop`.
    pub source: String,
    /// `measured(SOURCE)`, `estimated(SOURCE)` or `unavailable`.
    pub method: String,
    /// Why it is unavailable; null if it is not.
    pub reason: Option<String>,
    /// Which speed the figure stands for.
    pub speed: SpeedBasis,
    /// Tokens in a second at that speed, the median.
    pub tokens_per_s: Option<f64>,
    /// Mean power while tokens pass, in watts.
    pub power_watts: Option<Interval>,
    /// Energy of a token with the machine's rest power.
    pub gross_joules_per_token: Option<Interval>,
    /// Energy of a token above the machine's rest power; null if that was not found to be positive.
    pub net_joules_per_token: Option<Interval>,
    /// One over `gross_joules_per_token`.
    pub tokens_per_joule: Option<Interval>,
    /// Which of the uncertainties is widest.
    pub dominating_term: Option<DominatingTerm>,
    /// Carbon of a million tokens by the gross energy, in grams of CO2 equivalent.
    pub co2e_g_per_million_tokens: Option<Interval>,
}

impl PowerPlatform {
    /// Share of the cores that so many busy threads take, 0 to 1.
    pub fn utilisation(&self, busy_threads: f64) -> f64 {
        (busy_threads / self.cores as f64).min(1.0)
    }
}

/// Where the width of an interval comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DominatingTerm {
    /// The cubic load model in place of the linear one.
    CubicLoadModel,
    /// TDP by the share of busy cores, without power at rest, in place of the linear load model.
    ProcessShare,
    /// Full TDP in place of the linear load model.
    FullTdp,
    /// The spread over the samples, 5th to 95th percentile.
    RepeatSpread,
    /// The step of the counter against the energy of a sample.
    CounterStep,
}

impl fmt::Display for DominatingTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CubicLoadModel => "cubic load model",
            Self::ProcessShare => "no power at rest",
            Self::FullTdp => "full TDP",
            Self::RepeatSpread => "spread over repeats",
            Self::CounterStep => "step of the counter",
        })
    }
}
