//! The record of one quantisation, written by `itera-train quantize`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    DataSource, Envelope, ModelInfo, Record,
    check::{self, RecordError},
};

/// One quantised checkpoint: how it was made, and what each tensor has lost. `model` is the
/// quantised checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantizationRecord {
    /// Schema, time, tool, host and model.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The checkpoint that the quantised one stands for.
    pub source: ModelInfo,
    /// SHA-256 of the checkpoint whose weights were rounded, if that is another, trained on from
    /// `source` for this precision.
    #[serde(default)]
    pub tuned_sha256: Option<String>,
    /// How weights were rounded: `nearest`, `search` or `gptq`.
    pub method: String,
    /// Instruction set that the model ran with on calibration and validation text.
    pub kernel: String,
    /// Text that the rounding was calibrated with; null if none.
    pub calibration: Option<CalibrationText>,
    /// Bytes of the quantised file, header and tokenizer included.
    pub file_bytes: u64,
    /// What quantisation costs in prediction; null if not measured.
    pub validation: Option<QuantizationCost>,
    /// Every tensor, in the order of the forward pass.
    pub tensors: Vec<QuantizedTensor>,
}

/// Calibration text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CalibrationText {
    /// The file.
    pub source: DataSource,
    /// Tokens that were read, from the beginning of the text.
    pub tokens: u64,
}

/// Bits per byte before and after, each document scored from a fresh state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantizationCost {
    /// The text, in words.
    pub text: String,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Documents that were scored, from the beginning of the text.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the checkpoint that the quantised one stands for.
    pub bits_per_byte_before: f64,
    /// Of the quantised checkpoint.
    pub bits_per_byte_after: f64,
}

/// One tensor of a quantised checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantizedTensor {
    /// Name in the checkpoint.
    pub name: String,
    /// Values.
    pub params: u64,
    /// How they are stored: `fp32`, `fp16`, `int8` or `int4`.
    pub precision: String,
    /// Values that share a scale; null for floats.
    pub group: Option<u64>,
    /// Stored bits for each value, scales included.
    pub bits_per_weight: f64,
    /// Mean of `(stored - original)^2`.
    pub mean_square_error: f64,
    /// The same divided by the mean of `original^2`.
    pub relative_error: f64,
    /// Bytes of values and scales.
    pub bytes: u64,
    /// What quantising this tensor alone adds to the bits per byte; null if not measured.
    pub bits_per_byte_cost: Option<f64>,
}

impl Record for QuantizationRecord {
    const SCHEMA: &'static str = "itera.quantization/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        self.source.validate()?;
        if let Some(tuned) = &self.tuned_sha256 {
            check::sha256("tuned_sha256", tuned)?;
        }
        if let Some(calibration) = &self.calibration {
            check::sha256("calibration.source.sha256", &calibration.source.sha256)?;
        }
        if let Some(cost) = &self.validation {
            check::sha256("validation.sha256", &cost.sha256)?;
            check::finite("validation.bits_per_byte_before", cost.bits_per_byte_before)?;
            check::finite("validation.bits_per_byte_after", cost.bits_per_byte_after)?;
        }
        for (i, tensor) in self.tensors.iter().enumerate() {
            tensor.validate(&format!("tensors[{i}]"))?;
        }
        let bytes: u64 = self.tensors.iter().map(|tensor| tensor.bytes).sum();
        check::ensure(
            bytes <= self.file_bytes,
            "file_bytes",
            self.file_bytes,
            format_args!("at least the {bytes} bytes of the tensors"),
        )
    }
}

impl QuantizedTensor {
    fn validate(&self, path: &str) -> Result<(), RecordError> {
        let field = |name: &str| format!("{path}.{name}");
        check::finite(&field("mean_square_error"), self.mean_square_error)?;
        check::finite(&field("relative_error"), self.relative_error)?;
        if let Some(cost) = self.bits_per_byte_cost {
            check::finite(&field("bits_per_byte_cost"), cost)?;
        }
        check::ensure(self.params > 0, &field("params"), self.params, "at least 1")?;
        let bits = 8.0 * self.bytes as f64 / self.params as f64;
        check::close(&field("bits_per_weight"), self.bits_per_weight, bits)
    }
}
