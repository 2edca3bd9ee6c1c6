//! What `scripts/torchscript.py` has measured, where it was run.

use std::{fs, path::Path};

use anyhow::Context as _;
use itera_record::{ExportBenchProtocol, ExportBenchRow, ModelInfo, median, p95};
use serde::Deserialize;

use super::beside;

/// Name of the runtime.
pub(super) const NAME: &str = "torchscript";

/// The file that the script writes, beside the result.
const FILE: &str = "torchscript.json";

/// What the script writes.
#[derive(Debug, Deserialize)]
struct Measured {
    schema: String,
    version: String,
    checkpoint_sha256: String,
    seq_len: u64,
    threads: u64,
    max_abs_difference: f64,
    sample_seconds: Vec<f64>,
    file_bytes: u64,
}

/// The row of `TorchScript`, or why there is none.
///
/// # Errors
/// The file is there and is not what the script writes.
pub(super) fn row(
    output: &Path,
    model: &ModelInfo,
    protocol: &ExportBenchProtocol,
) -> anyhow::Result<Result<ExportBenchRow, String>> {
    const REMEDY: &str = "run `scripts/torchscript.py`";
    let path = beside(output, FILE);
    if !path.is_file() {
        return Ok(Err(format!("not measured; {REMEDY}")));
    }
    let context = || {
        format!(
            "`{}` is not what the script writes; {REMEDY} again",
            path.display()
        )
    };
    let json = fs::read(&path).with_context(context)?;
    let measured: Measured = serde_json::from_slice(&json).with_context(context)?;
    anyhow::ensure!(measured.schema == "itera.torchscript/1", "{}", context());
    if measured.checkpoint_sha256 != model.file_sha256 {
        return Ok(Err(format!(
            "measured on another checkpoint; {REMEDY} again"
        )));
    }
    if (measured.seq_len, measured.threads) != (protocol.seq_len, protocol.threads) {
        return Ok(Err(format!(
            "measured at {} tokens and {} threads; {REMEDY} with those of this run",
            measured.seq_len, measured.threads
        )));
    }
    let median_seconds = median(&measured.sample_seconds);
    anyhow::ensure!(median_seconds > 0.0, "{}", context());
    anyhow::ensure!(measured.max_abs_difference <= 1e-4, "{}", context());
    Ok(Ok(ExportBenchRow {
        runtime: NAME.to_owned(),
        version: measured.version,
        precision: "fp32".to_owned(),
        is_interleaved: false,
        median_seconds,
        p95_seconds: p95(&measured.sample_seconds),
        tokens_per_s: protocol.seq_len as f64 / median_seconds,
        speed_up: 1.0,
        sample_seconds: measured.sample_seconds,
        file_bytes: measured.file_bytes,
    }))
}
