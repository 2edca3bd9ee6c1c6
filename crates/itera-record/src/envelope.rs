//! What every record says about itself: who wrote it, when, where, and about which model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::{self, RecordError},
    num,
};

/// The fields that open every record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Name and version of the file's form, for example `itera.validation/1`.
    pub schema: String,
    /// When the record was made: RFC 3339, UTC.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// The program that made the record.
    pub tool: ToolInfo,
    /// The machine it ran on.
    pub host: HostInfo,
    /// The model that the whole record is about; null if its rows are about several.
    pub model: Option<ModelInfo>,
}

/// A program of this project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolInfo {
    /// Name of the program, for example `itera-validate`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Commit that was checked out when it was built, or `unknown`.
    pub commit: String,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostInfo {
    /// Name of the processor, or `unknown`.
    pub cpu: String,
    /// Logical cores that the program may use.
    pub cores: usize,
    /// Operating system and architecture, for example `linux x86_64`.
    pub os: String,
    /// Vector extensions of the processor that matter here, narrowest first.
    pub simd: Vec<String>,
}

/// A model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelInfo {
    /// Name of the checkpoint, for example `micro-tinystories`.
    pub name: String,
    /// SHA-256 of the checkpoint file, 64 lower-case hexadecimal digits.
    pub file_sha256: String,
    /// Parameters, tied tensors counted once.
    pub params: u64,
    /// Parameters that take part in the computation of one token.
    pub active_params: u64,
    /// Precision of the weights: `fp32`, `int8` or `int4`.
    pub precision: String,
    /// Bytes that the weights need, scales and tables included.
    pub bytes: u64,
    /// `8 * bytes / params`.
    pub bits_per_weight: f64,
}

impl Envelope {
    /// Checks the schema name and the model.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self, schema: &'static str) -> Result<(), RecordError> {
        if self.schema != schema {
            return Err(RecordError::Schema {
                expected: schema,
                found: self.schema.clone(),
            });
        }
        let utc = self.created_at.ends_with('Z') && self.created_at.contains('T');
        check::ensure(
            utc,
            "created_at",
            &self.created_at,
            "an RFC 3339 time in UTC",
        )?;
        self.model.as_ref().map_or(Ok(()), ModelInfo::validate)
    }
}

impl ModelInfo {
    /// The name without the precision, so that the precisions of a model stand together.
    pub fn base_name(&self) -> &str {
        let name = self.name.strip_suffix(&self.precision);
        let name = name.and_then(|name| name.strip_suffix(['.', '-', '_']));
        name.unwrap_or(&self.name)
    }

    /// The model and its precision, for example `micro-tinystories int8`.
    pub fn label(&self) -> String {
        format!("{} {}", self.base_name(), self.precision_label())
    }

    /// The precision; bits per weight where many weights have more than its name says.
    pub fn precision_label(&self) -> String {
        // Shipped files have 4.7 to 5.3 and 8.7 bits, scales and a few exceptions included.
        let most = match self.precision.as_str() {
            "int4" => 5.5,
            "int8" => 10.0,
            _ => f64::INFINITY,
        };
        if self.bits_per_weight > most {
            format!("mixed, {} bits", num::fixed(self.bits_per_weight, 1))
        } else {
            self.precision.clone()
        }
    }

    /// Checks the digest and the sizes.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), RecordError> {
        check::sha256("model.file_sha256", &self.file_sha256)?;
        check::ensure(self.params > 0, "model.params", self.params, "at least 1")?;
        let active = (1..=self.params).contains(&self.active_params);
        check::ensure(
            active,
            "model.active_params",
            self.active_params,
            "1 to `params`",
        )?;
        check::finite("model.bits_per_weight", self.bits_per_weight)
    }
}
