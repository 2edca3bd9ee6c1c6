//! What there is to report: every result file, read and checked, and what was wrong with others.
//!
//! A bad file never stops the rest. It becomes a [`Problem`] with its reason, which every report
//! lists.

mod clash;
mod curve;
mod edge;
mod feedback;
mod files;
mod gate_check;
mod kinds;
mod load;
mod metrics;
mod prototype;
mod source;
mod training_bench;

use itera_record::{
    AblationRecord, EngineBenchRecord, ExportRecord, HostInfo, PowerRecord, QuantizationRecord,
    ServeBenchRecord, SimulationRecord, TrainingRecord, ValidationRow, ZipRecord,
};

pub(crate) use self::{
    curve::CurvePoint,
    edge::{CExport, Cluster, Controller, Web, WebRow},
    feedback::FeedbackLog,
    gate_check::GateCheck,
    kinds::Kind,
    load::load,
    metrics::{Direction, Metric, MetricsRecord, version_key},
    prototype::{Prototype, PrototypeClaim, PrototypeFigure},
    source::{Place, Problem, Source},
    training_bench::{TrainingBench, TrainingBenchRow},
};

/// Everything that was read, in the order of the file names.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// The files that were read and understood.
    pub(crate) sources: Vec<Source>,
    /// Files that were not used, or not in full.
    pub(crate) problems: Vec<Problem>,
    /// Files of this project that this program does not render.
    pub(crate) unknown: Vec<Problem>,
    /// Rows of all validation records, none twice.
    pub(crate) validation: Vec<Of<ValidationRow>>,
    pub(crate) training: Vec<Of<Training>>,
    pub(crate) training_bench: Vec<Of<TrainingBench>>,
    pub(crate) ablations: Vec<Of<AblationRecord>>,
    pub(crate) engine: Vec<Of<EngineBenchRecord>>,
    pub(crate) export: Vec<Of<ExportRecord>>,
    pub(crate) power: Vec<Of<PowerRecord>>,
    pub(crate) quantization: Vec<Of<QuantizationRecord>>,
    pub(crate) serve_bench: Vec<Of<ServeBenchRecord>>,
    pub(crate) simulation: Vec<Of<SimulationRecord>>,
    pub(crate) gate_check: Vec<Of<GateCheck>>,
    pub(crate) web: Vec<Of<Web>>,
    pub(crate) c_export: Vec<Of<CExport>>,
    pub(crate) zip: Vec<Of<ZipRecord>>,
    pub(crate) cluster: Vec<Of<Cluster>>,
    /// The metrics of releases.
    pub(crate) released: Vec<Of<MetricsRecord>>,
    pub(crate) feedback: Vec<Of<FeedbackLog>>,
}

/// Something and the file that it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Of<T> {
    /// Position in [`Inputs::sources`].
    pub(crate) source: usize,
    pub(crate) item: T,
}

/// Things without their files.
pub(crate) fn items<T>(all: &[Of<T>]) -> impl Iterator<Item = &T> + Clone {
    all.iter().map(|of| &of.item)
}

/// A training run and its curve.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    /// Name of the record's file, which is that of the checkpoint beside it. A first run of two has
    /// a file of its own, while its record may name the model that both were for.
    pub(crate) name: String,
    pub(crate) record: TrainingRecord,
    /// Empty if there is no curve.
    pub(crate) curve: Vec<CurvePoint>,
}

impl Inputs {
    /// The file that something comes from.
    pub(crate) fn source<T>(&self, of: &Of<T>) -> &Source {
        &self.sources[of.source]
    }

    /// The files of some things, each once.
    pub(crate) fn files<'a, T: 'a>(all: impl IntoIterator<Item = &'a Of<T>>) -> Vec<usize> {
        let mut sources: Vec<usize> = all.into_iter().map(|of| of.source).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }
}

/// A machine in words.
pub(crate) fn machine(host: &HostInfo) -> String {
    let widest = host
        .simd
        .last()
        .map_or("no vector extension", String::as_str);
    format!(
        "{}, {} cores, {}, up to {widest}",
        host.cpu, host.cores, host.os
    )
}
