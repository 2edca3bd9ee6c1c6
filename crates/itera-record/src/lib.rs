//! The serde types of training records and of the files under `results/` that have a JSON Schema, their checks
//! and the schemas.
//!
//! A record is written by one tool and read by others (`itera-report`, `itera-validate merge`), so
//! this crate is the whole contract between them. Units are in the field names (`seconds`, `bytes`,
//! `nll_nats`); a field without a unit is a count or a ratio. Both [`Record::to_json`] and
//! [`Record::from_json`] check the record, because `serde_json` writes a NaN as `null` without a
//! word. A float survives the way through JSON to the last bit.
//!
//! This crate opens no file and reads no clock.

mod ablation;
mod adaptation;
mod check;
pub mod columns;
mod engine_bench;
mod envelope;
mod export;
mod format;
pub mod num;
mod power;
mod quantization;
mod retraining;
mod scores;
mod serve_bench;
mod statistics;
mod table;
mod training;
mod validation;
mod zip;

pub use ablation::{AblationRecord, AblationRun, AblationStudy, AblationVariant};
pub use adaptation::{
    AttackRun, SimulationAdaptation, SimulationAttack, SimulationProtocol, SimulationRecord,
    SimulationRun, SimulationWindow,
};
pub use check::RecordError;
pub use engine_bench::{
    ContextCost, EngineBenchProtocol, EngineBenchRecord, EngineBenchRow, MachineLimits, MemoryCost,
    median,
};
pub use envelope::{Envelope, HostInfo, ModelInfo, ToolInfo};
pub use export::{
    ExportBench, ExportBenchGap, ExportBenchProtocol, ExportBenchRow, ExportCheck, ExportFigures,
    ExportFile, ExportRecord, ExportRoundTrip, ExportShape, ExportVerdict, p95,
};
pub use power::{
    CounterSamples, CounterStatus, DominatingTerm, EnergyFigure, GateComparison, GateResult,
    GateVerdict, Interval, PowerMode, PowerPlatform, PowerProtocol, PowerRecord, PowerRow,
    PowerSamples, SpeedBasis, Summary, UNAVAILABLE,
};
pub use quantization::{CalibrationText, QuantizationCost, QuantizationRecord, QuantizedTensor};
pub use retraining::{RetrainingGate, RetrainingRecord, RetrainingText};
pub use scores::{ScoresRecord, ScoresTotals};
pub use serve_bench::{
    ServeAdaptation, ServeBar, ServeBenchRecord, ServeLoad, ServeMeasurement, ServeProtocol,
};
pub use statistics::{holm, student_t};
pub use table::{Align, Column, Form, Head, Table, Value};
pub use training::{DataSource, TrainingRecord};
pub use validation::{
    AdaptationProtocol, Baselines, Bootstrap, CodeLength, Divergence, Documents, LEAST_DOCUMENTS,
    MixProtocol, PartSource, PrimingText, ProtocolKind, ScoringProtocol, ShardInfo, StateError,
    StaticScore, ValidationRecord, ValidationRow, ci95,
};
pub use zip::{ZipRecord, ZipRow};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A file under `results/`.
pub trait Record: Serialize + DeserializeOwned + JsonSchema {
    /// Name and version of the file's form, the value of its field `schema`.
    const SCHEMA: &'static str;

    /// Checks every rule that the types alone cannot state.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn validate(&self) -> Result<(), RecordError>;

    /// Reads and checks a record.
    ///
    /// # Errors
    /// If the text is no JSON, of another schema or version, or breaks a rule.
    fn from_json(json: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            schema: Option<String>,
        }
        let head: Head = serde_json::from_slice(json)?;
        let found = head.schema.unwrap_or_default();
        if found != Self::SCHEMA {
            return Err(RecordError::Schema {
                expected: Self::SCHEMA,
                found,
            });
        }
        let record: Self = serde_json::from_slice(json)?;
        record.validate()?;
        Ok(record)
    }

    /// Checks the record and writes it as indented JSON with a final line end.
    ///
    /// # Errors
    /// If the record breaks a rule.
    fn to_json(&self) -> Result<String, RecordError> {
        self.validate()?;
        format::to_string(self)
    }

    /// The JSON Schema of this record, indented, with a final line end.
    ///
    /// # Errors
    /// Never in practice: a schema is plain JSON.
    fn schema_json() -> Result<String, RecordError> {
        format::to_string(&schemars::schema_for!(Self))
    }
}
