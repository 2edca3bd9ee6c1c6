//! The command `logits`: what the native engine computes, for scripts that check others against it.

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, note};
use itera_core::{checkpoint::Precision, files::write_atomic, model::Model};
use serde::Serialize;

use crate::{args::LogitsArgs, bench, onnx, runtime::native};

/// The file that is written.
#[derive(Serialize)]
struct Logits<'a> {
    checkpoint: &'a str,
    /// SHA-256 of the checkpoint's file.
    checkpoint_sha256: &'a str,
    /// Path of the checkpoint's file, for the script to read.
    path: Option<String>,
    tokens: &'a [u32],
    /// After each token, `[tokens, vocab_size]`.
    logits: Vec<Vec<f32>>,
}

/// Reads the first tokens of the sample text from a fresh state and writes what comes out.
pub(crate) fn run(args: &LogitsArgs) -> anyhow::Result<ExitStatus> {
    ensure!(args.seq_len > 0, "`--seq-len` is 0, expected at least 1");
    let loaded = onnx::load(&args.checkpoint, Precision::Fp32)?;
    onnx::files([&loaded])
        .write("`--output`", &args.output)
        .check()?;
    let (_, tokens) = bench::tokens(&loaded, args.seq_len)?;
    let model = Model::from_checkpoint(&loaded.checkpoint)
        .with_context(|| format!("cannot run {}", loaded.name))?;
    let mut logits = Vec::new();
    native::read(&model, &tokens, &mut model.new_state(), &mut |row| {
        logits.push(row.to_vec());
    });
    let path = loaded.path.as_ref().map(|path| path.display().to_string());
    let json = serde_json::to_vec(&Logits {
        checkpoint: &loaded.name,
        checkpoint_sha256: &loaded.file_sha256,
        path,
        tokens: &tokens,
        logits,
    })?;
    write_atomic(&args.output, &json)?;
    note(format!("wrote {}", args.output.display()));
    Ok(ExitStatus::Done)
}
