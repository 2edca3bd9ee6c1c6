//! The record of `itera-power`: time, memory and energy per token, with their uncertainty.
//!
//! Every energy says by which method it was found; what could not be found is null with a reason,
//! and never 0.

mod check;
mod energy;
mod gate;
mod summary;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Envelope, ModelInfo};

pub use energy::{
    CounterStatus, DominatingTerm, EnergyFigure, Interval, PowerPlatform, SpeedBasis, UNAVAILABLE,
};
pub use gate::{GateComparison, GateResult, GateVerdict};
pub use summary::Summary;

/// Rows of (model, precision, mode) measured one after the other on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerRecord {
    /// Schema, time, tool and host; `model` if all rows are about one.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// How every row was measured.
    pub protocol: PowerProtocol,
    /// The platforms that energy is estimated for.
    pub platforms: Vec<PowerPlatform>,
    /// The energy counters that were looked for on this machine, believed or not.
    pub counters: Vec<CounterStatus>,
    /// How busy the machine was before and after the measurement, while this program slept, the greater of
    /// both: CPU time of all processes over cores and wall time, 0 to 1; null if it cannot be found out.
    pub idle_busy_share: Option<f64>,
    /// One row for each model file, precision and mode.
    pub rows: Vec<PowerRow>,
    /// The comparison with a baseline; null without one.
    pub gate: Option<GateResult>,
    /// What qualifies the figures, in words.
    pub notes: Vec<String>,
}

/// What must be equal for two records to compare, and the effort spent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerProtocol {
    /// Tokens of a pass: of one prompt read (prefill), or of one text written (decode).
    pub seq_len_tokens: u64,
    /// Passes that run side by side, one thread each.
    pub threads: u64,
    /// Where the tokens come from.
    pub tokens: String,
    /// The calibration workload, timed between the samples.
    pub calibration: String,
    /// Processes that measured each row, one after the other, each started anew.
    pub processes: u64,
    /// Samples of each process.
    pub samples: u64,
    /// Time that the samples of a row were planned to take together, in seconds.
    pub min_seconds: f64,
    /// Grams of CO2 equivalent for a kilowatt-hour.
    pub carbon_intensity_g_per_kwh: f64,
}

/// Reading or writing.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PowerMode {
    /// A prompt is read, a chunk at a time.
    Prefill,
    /// A text is written, a token at a time.
    Decode,
}

impl PowerMode {
    /// `prefill` or `decode`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// One model at one precision in one mode. All summaries follow from `samples`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerRow {
    /// The model that was run.
    pub model: ModelInfo,
    /// Reading or writing.
    pub mode: PowerMode,
    /// Arithmetic kernel that the model ran on, for example `avx2`.
    pub kernel: String,
    /// Passes of each thread in a sample.
    pub passes_per_sample: u64,
    /// `passes_per_sample * threads * seq_len_tokens`.
    pub tokens_per_sample: u64,
    /// Multiplications with an addition that one token needs.
    pub multiply_adds_per_token: u64,
    /// Bits per byte of this model at this precision, from a result of `itera-validate`; null if none
    /// was given.
    pub bits_per_byte: Option<f64>,
    /// Wall time of a pass, in seconds.
    pub latency_seconds: Summary,
    /// Tokens of all threads in a second of wall time.
    pub tokens_per_s: Summary,
    /// CPU time of this process for a pass of one thread, in seconds.
    pub cpu_seconds: Summary,
    /// CPU time of the process over wall time: the threads that were busy on the average.
    pub busy_threads: Summary,
    /// Highest resident memory of a process that loads this model and measures this row, and does
    /// nothing else, in bytes; null if the system does not tell.
    pub peak_resident_bytes: Option<u64>,
    /// Wall time of a pass of the calibration workload, in seconds.
    pub calibration_seconds: Summary,
    /// Energy by every counter and for every platform.
    pub energy: Vec<EnergyFigure>,
    /// The raw values.
    pub samples: PowerSamples,
}

/// The raw values of a row, one for each sample in each list: first the samples of the first process,
/// then those of the second, and so on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerSamples {
    /// Wall time of the whole sample.
    pub wall_seconds: Vec<f64>,
    /// CPU time of this process in the same window.
    pub cpu_seconds: Vec<f64>,
    /// Wall time of a pass of the calibration workload, mean of those before and after the sample.
    pub calibration_seconds: Vec<f64>,
    /// CPU time of a pass of the calibration workload, likewise.
    pub calibration_cpu_seconds: Vec<f64>,
    /// Energy of the same windows by each counter that is believed.
    pub counters: Vec<CounterSamples>,
}

/// What one counter has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CounterSamples {
    /// The counter, for example `rapl:package-0`.
    pub source: String,
    /// Energy of the whole sample.
    pub joules: Vec<f64>,
    /// Energy of a pass of the calibration workload, mean of those before and after the sample.
    pub calibration_joules: Vec<f64>,
}

impl PowerRow {
    /// What tells the rows of a record apart: name, precision, mode.
    pub fn key(&self) -> (&str, &str, PowerMode) {
        (&self.model.name, &self.model.precision, self.mode)
    }

    /// Time of a pass over that of the calibration workload around it, of each sample.
    pub fn latency_ratios(&self) -> Vec<f64> {
        let samples = &self.samples;
        self.ratios(&samples.wall_seconds, &samples.calibration_seconds)
    }

    /// The same of CPU time, which other programs on the machine hardly change.
    pub fn cpu_ratios(&self) -> Vec<f64> {
        let samples = &self.samples;
        self.ratios(&samples.cpu_seconds, &samples.calibration_cpu_seconds)
    }

    /// What the passes of each sample took over what one pass of the calibration around it took, for one pass.
    pub fn ratios(&self, work: &[f64], calibration: &[f64]) -> Vec<f64> {
        let passes = self.passes_per_sample as f64;
        let pairs = work.iter().zip(calibration);
        pairs
            .map(|(work, calibration)| work / passes / calibration)
            .collect()
    }
}

impl PowerRecord {
    /// Share of the cores that other programs may use before times on the wall are theirs too.
    pub const BUSY_SHARE: f64 = 0.1;
}

impl EnergyFigure {
    /// Whether it has the power of one machine and the speed of another, which is no headline.
    pub fn is_projection(&self) -> bool {
        self.speed == SpeedBasis::ThisMachine
    }
}

impl PowerSamples {
    /// CPU time over wall time of each sample: the threads that were busy.
    pub fn busy_threads(&self) -> Vec<f64> {
        let pairs = self.cpu_seconds.iter().zip(&self.wall_seconds);
        pairs.map(|(cpu, wall)| cpu / wall).collect()
    }
}

impl PowerProtocol {
    /// The median of each process of values that belong to the samples of a row. Samples of one process
    /// share its memory layout, so that they say less than as many processes would: what is compared is
    /// one number for each process.
    pub fn process_medians(&self, values: &[f64]) -> Vec<f64> {
        let processes = values.chunks(self.samples.max(1) as usize);
        processes
            .filter_map(|values| Summary::quantile(values, 0.5))
            .collect()
    }
}
