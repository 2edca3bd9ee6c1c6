//! The record beside a file of rows, written by `itera-validate score`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Envelope, ModelInfo, Record, ShardInfo,
    check::{self, RecordError},
};

/// What a file of rows was made of, and its sums. The file's name is this one's without `.summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoresRecord {
    /// Schema, time, tool, host and model.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The model that the first is compared with; null without one.
    pub against: Option<ModelInfo>,
    /// Names of the inputs, as they were given.
    pub inputs: Vec<String>,
    /// SHA-256 of ids and texts in order; null of rows that were joined, or of an empty input.
    pub input_sha256: Option<String>,
    /// Field or column of the text.
    pub text_field: String,
    /// Field or column of the id; null where ids are places.
    pub id_field: Option<String>,
    /// What a document of a plain text is; null where each file decides.
    pub document_rule: Option<String>,
    /// What a row is about: `documents` or `tokens`.
    pub rows: String,
    /// Which part of the input; null for all.
    pub shard: Option<ShardInfo>,
    /// SHA-256 of everything that decides the rows but the inputs' bytes and the shard.
    pub run_sha256: String,
    /// The sums.
    pub totals: ScoresTotals,
    /// Wall time, that of interrupted runs included.
    pub seconds: f64,
    /// SHA-256 of the file of rows; null where they went to standard output.
    pub output_sha256: Option<String>,
    /// Bytes at the beginning of the file that are no rows.
    pub header_bytes: u64,
}

/// Sums over documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoresTotals {
    /// Documents read, with a row or without.
    pub documents: u64,
    /// Rows written.
    pub rows: u64,
    /// Records that were broken and left out.
    pub broken: u64,
    /// Bytes of the documents.
    pub bytes: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Tokens that stand for a character outside the vocabulary.
    pub unknown_tokens: u64,
    /// Negative log-likelihood of the documents.
    pub nll_nats: f64,
}

impl ScoresTotals {
    /// Adds the sums of more documents.
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.rows += other.rows;
        self.broken += other.broken;
        self.bytes += other.bytes;
        self.tokens += other.tokens;
        self.unknown_tokens += other.unknown_tokens;
        self.nll_nats += other.nll_nats;
    }
}

impl Record for ScoresRecord {
    const SCHEMA: &'static str = "itera.scores/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        if let Some(against) = &self.against {
            against.validate()?;
        }
        check::finite("seconds", self.seconds)?;
        check::finite("totals.nll_nats", self.totals.nll_nats)?;
        check::sha256("run_sha256", &self.run_sha256)?;
        for (field, digest) in [
            ("input_sha256", &self.input_sha256),
            ("output_sha256", &self.output_sha256),
        ] {
            if let Some(digest) = digest {
                check::sha256(field, digest)?;
            }
        }
        check::ensure(
            ["documents", "tokens"].contains(&self.rows.as_str()),
            "rows",
            &self.rows,
            "documents or tokens",
        )
    }
}
