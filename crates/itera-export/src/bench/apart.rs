//! What Python has measured apart from the others, where it was run: the files of two scripts, beside the
//! result.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use itera_core::checkpoint::Precision;
use itera_record::{ExportBenchGap, ExportBenchProtocol, ExportBenchRow, ModelInfo, median, p95};
use serde::{Deserialize, de::DeserializeOwned};

/// What both files say of their run.
#[derive(Debug, Deserialize)]
struct Measured<T> {
    schema: String,
    checkpoint_sha256: String,
    seq_len: u64,
    threads: u64,
    #[serde(flatten)]
    rows: T,
}

/// `torchscript.json`, of `scripts/torchscript.py`.
#[derive(Debug, Deserialize)]
struct TorchScript {
    version: String,
    max_abs_difference: f64,
    sample_seconds: Vec<f64>,
    file_bytes: u64,
}

/// `runtimes.json`, of `scripts/runtimes/bench.py`.
#[derive(Debug, Deserialize)]
struct Runtimes {
    rows: Vec<RuntimeRow>,
}

#[derive(Debug, Deserialize)]
struct RuntimeRow {
    runtime: String,
    version: String,
    precision: String,
    sample_seconds: Vec<f64>,
    file_bytes: u64,
}

/// The rows of both files, and what could not be had.
///
/// # Errors
/// A file is there and is not what its script writes.
pub(super) fn rows(
    output: &Path,
    model: &ModelInfo,
    protocol: &ExportBenchProtocol,
) -> anyhow::Result<(Vec<ExportBenchRow>, Vec<ExportBenchGap>)> {
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    let mut gap = |runtime: &str, reason: String| {
        missing.push(ExportBenchGap {
            runtime: runtime.to_owned(),
            precision: Precision::Fp32.to_string(),
            reason,
        });
    };
    let torchscript = Source {
        path: &output.with_file_name("torchscript.json"),
        schema: "itera.torchscript/1",
        script: "scripts/torchscript.py",
    };
    match torchscript.read::<TorchScript>(model, protocol)? {
        Ok(measured) => {
            ensure!(measured.max_abs_difference <= 1e-4, torchscript.broken());
            let row = RuntimeRow {
                runtime: "torchscript".to_owned(),
                version: measured.version,
                precision: Precision::Fp32.to_string(),
                sample_seconds: measured.sample_seconds,
                file_bytes: measured.file_bytes,
            };
            rows.push(torchscript.row(row, protocol)?);
        }
        Err(reason) => gap("torchscript", reason),
    }
    let runtimes = Source {
        path: &output.with_file_name("runtimes.json"),
        schema: "itera.runtimes/1",
        script: "scripts/runtimes/bench.py",
    };
    match runtimes.read::<Runtimes>(model, protocol)? {
        Ok(measured) => {
            for row in measured.rows {
                rows.push(runtimes.row(row, protocol)?);
            }
        }
        Err(reason) => {
            gap("llama.cpp", reason.clone());
            gap("transformers", reason);
        }
    }
    Ok((rows, missing))
}

/// A file and the script that writes it.
struct Source<'a> {
    path: &'a Path,
    schema: &'a str,
    script: &'a str,
}

impl Source<'_> {
    fn broken(&self) -> String {
        format!(
            "`{}` is not what the script writes; run `{}` again",
            self.path.display(),
            self.script
        )
    }

    /// What was measured, or why it is not about this run.
    fn read<T: DeserializeOwned>(
        &self,
        model: &ModelInfo,
        protocol: &ExportBenchProtocol,
    ) -> anyhow::Result<Result<T, String>> {
        let script = self.script;
        if !self.path.is_file() {
            return Ok(Err(format!("not measured; run `{script}`")));
        }
        let json = fs::read(self.path).with_context(|| self.broken())?;
        let measured: Measured<T> = serde_json::from_slice(&json).with_context(|| self.broken())?;
        ensure!(measured.schema == self.schema, self.broken());
        if measured.checkpoint_sha256 != model.file_sha256 {
            return Ok(Err(format!(
                "measured on another checkpoint; run `{script}` again"
            )));
        }
        if (measured.seq_len, measured.threads) != (protocol.seq_len, protocol.threads) {
            return Ok(Err(format!(
                "measured at {} tokens and {} threads; run `{script}` with those of this run",
                measured.seq_len, measured.threads
            )));
        }
        Ok(Ok(measured.rows))
    }

    fn row(
        &self,
        measured: RuntimeRow,
        protocol: &ExportBenchProtocol,
    ) -> anyhow::Result<ExportBenchRow> {
        let median_seconds = median(&measured.sample_seconds);
        ensure!(median_seconds > 0.0, self.broken());
        Ok(ExportBenchRow {
            runtime: measured.runtime,
            version: measured.version,
            precision: measured.precision,
            is_interleaved: false,
            median_seconds,
            p95_seconds: p95(&measured.sample_seconds),
            tokens_per_s: protocol.seq_len as f64 / median_seconds,
            speed_up: 1.0,
            sample_seconds: measured.sample_seconds,
            file_bytes: measured.file_bytes,
        })
    }
}
