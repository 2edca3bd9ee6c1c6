//! Plain tables of what runs elsewhere: in a browser, on a controller, on three servers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kinds::Plain;

/// The record of `scripts/check-web.sh`: the model in WebAssembly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Web {
    pub(crate) host: WebHost,
    pub(crate) wasm_bytes: u64,
    pub(crate) wasm_gzip_bytes: u64,
    pub(crate) rows: Vec<WebRow>,
}

/// The machine of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WebHost {
    pub(crate) cpu: String,
}

/// The speed of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WebRow {
    /// `node` or `chromium`.
    #[serde(default = "node")]
    pub(crate) runtime: String,
    pub(crate) model: String,
    pub(crate) precision: String,
    pub(crate) file_bytes: u64,
    pub(crate) decode_tokens_per_s: f64,
    pub(crate) generate_tokens_per_s: f64,
    pub(crate) score_tokens_per_s: f64,
}

/// Older records know no other.
fn node() -> String {
    "node".to_owned()
}

impl WebRow {
    /// The name of the model, without that of the precision.
    pub(crate) fn base_name(&self) -> &str {
        let name = self.model.strip_suffix(&self.precision);
        name.map_or(&self.model, |name| name.trim_end_matches('.'))
    }
}

/// The record of `scripts/check-c.sh`: the model as C for a controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CExport {
    pub(crate) model: String,
    /// Where the C was found to compute what the native engine does.
    pub(crate) equal: Vec<Equal>,
    pub(crate) precisions: Vec<Controller>,
}

/// A compiler and a processor, for so many tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Equal {
    pub(crate) precision: String,
    #[serde(rename = "where")]
    pub(crate) place: String,
    pub(crate) tokens: u64,
}

/// What a precision takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Controller {
    pub(crate) precision: String,
    pub(crate) file_bytes: u64,
    pub(crate) weight_bytes: u64,
    pub(crate) flash_bytes: u64,
    pub(crate) ram_bytes: u64,
    pub(crate) cores: Vec<Core>,
    pub(crate) projections: Vec<Projection>,
}

/// Instructions that an emulator has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Core {
    pub(crate) core: String,
    pub(crate) instructions_per_step: f64,
    pub(crate) instructions_per_draw: f64,
}

/// A board's speed, projected from these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Projection {
    pub(crate) board: String,
    pub(crate) tokens_per_s: f64,
}

impl Controller {
    /// Instructions for a token that is read and drawn.
    pub(crate) fn instructions(&self, core: &str) -> Option<f64> {
        let core = self.cores.iter().find(|of| of.core == core)?;
        Some(core.instructions_per_step + core.instructions_per_draw)
    }

    /// Tokens per second of a board.
    pub(crate) fn speed(&self, board: &str) -> Option<f64> {
        let board = self.projections.iter().find(|of| of.board == board)?;
        Some(board.tokens_per_s)
    }
}

/// The record of `scripts/serve-cluster.sh`: three servers of one database, by what happened to them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Cluster(BTreeMap<String, serde_json::Value>);

impl Cluster {
    pub(super) const SCHEMA: &str = "itera.serve-cluster/1";

    /// Requests while something happened, and how many of them failed.
    pub(crate) fn requests(&self) -> [u64; 2] {
        ["requests", "failed"].map(|field| {
            let counts = self.0.values().filter_map(|of| of[field].as_u64());
            counts.fold(0, u64::saturating_add)
        })
    }
}

impl Plain for Cluster {
    fn check(&self) -> Result<(), String> {
        match self.requests() {
            [requests, failed] if failed > requests || requests == 0 => Err(format!(
                "counts {failed} of {requests} requests that failed"
            )),
            _ => Ok(()),
        }
    }
}

impl Web {
    pub(super) const SCHEMA: &str = "itera.web/1";
}

impl Plain for Web {
    fn check(&self) -> Result<(), String> {
        let speeds = |row: &WebRow| {
            [
                row.decode_tokens_per_s,
                row.generate_tokens_per_s,
                row.score_tokens_per_s,
            ]
        };
        positive("rows", self.rows.iter().flat_map(speeds))
    }
}

impl CExport {
    pub(super) const SCHEMA: &str = "itera.c-export/1";
}

impl Plain for CExport {
    fn check(&self) -> Result<(), String> {
        let sizes = |of: &Controller| {
            [of.file_bytes, of.weight_bytes, of.flash_bytes, of.ram_bytes].map(|bytes| bytes as f64)
        };
        positive("precisions", self.precisions.iter().flat_map(sizes))
    }
}

/// Refuses what can be no speed or size, and a list of nothing.
fn positive(field: &str, figures: impl Iterator<Item = f64>) -> Result<(), String> {
    let figures: Vec<f64> = figures.collect();
    let is_sound = |figure: &f64| figure.is_finite() && *figure > 0.0;
    if figures.is_empty() || !figures.iter().all(is_sound) {
        return Err(format!(
            "field `{field}` has the figures {figures:?}, expected numbers above 0"
        ));
    }
    Ok(())
}
