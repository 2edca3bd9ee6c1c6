//! The record of compressed sizes, written by `itera-zip bench`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Envelope, ModelInfo, Record,
    check::{self, RecordError},
};

/// Sizes and speed of `itera-zip` beside those of other compressors. `model` is null: each row has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZipRecord {
    /// Schema, time, tool and host.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Bytes of the program that wrote this, the model that is compiled in included.
    pub program_bytes: u64,
    /// Files and messages.
    pub rows: Vec<ZipRow>,
}

/// One model on one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZipRow {
    /// The model.
    pub model: ModelInfo,
    /// Bytes of its file, which whoever restores the text needs too.
    pub model_file_bytes: u64,
    /// Name of the text.
    pub text: String,
    /// SHA-256 of its file.
    pub text_sha256: String,
    /// Whether each message was compressed alone, or the file as one; of messages, all sizes are sums.
    pub each_alone: bool,
    /// Documents of the file, or messages.
    pub documents: u64,
    /// Bytes of the text, of a file with what separates documents.
    pub bytes: u64,
    /// Bytes after compression, all of them: of a file with its header, of messages before they become characters.
    pub compressed_bytes: u64,
    /// Characters of the messages; null for a file.
    pub characters: Option<u64>,
    /// What the documents take by the model's likelihood of them, as `itera-validate` scores it.
    pub score_bytes: f64,
    /// What the ends of the documents take by the model's likelihood, which the score leaves out.
    pub ends_bytes: f64,
    /// Bytes by `zstd -19`.
    pub zstd_bytes: u64,
    /// Bytes by `xz -9`.
    pub xz_bytes: u64,
    /// Bytes by `bzip2 -9`.
    pub bzip2_bytes: u64,
    /// Bytes by `PPMd` variant H of order 8, without any header.
    pub ppmd_bytes: u64,
    /// Wall time of compressing on one thread, the model being loaded.
    pub compress_seconds: f64,
    /// Wall time of restoring on one thread.
    pub restore_seconds: f64,
}

impl Record for ZipRecord {
    const SCHEMA: &'static str = "itera.zip/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        self.rows.iter().try_for_each(ZipRow::validate)
    }
}

impl ZipRow {
    fn validate(&self) -> Result<(), RecordError> {
        self.model.validate()?;
        check::sha256("text_sha256", &self.text_sha256)?;
        for (field, value) in [
            ("score_bytes", self.score_bytes),
            ("ends_bytes", self.ends_bytes),
            ("compress_seconds", self.compress_seconds),
            ("restore_seconds", self.restore_seconds),
        ] {
            check::finite(field, value)?;
        }
        check::ensure(
            self.each_alone == self.characters.is_some(),
            "characters",
            format!("{:?}", self.characters),
            "a number for messages and null for a file",
        )
    }
}
