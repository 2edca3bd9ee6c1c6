//! The files that a run leaves: checkpoint, metrics, loss curve, record.

use anyhow::Context as _;
use itera_cli::{envelope, model_info, tool};
use itera_core::{digest::sha256_hex, files::write_atomic};
use itera_record::{ModelInfo, Record as _, TrainingRecord};
use serde_json::{Value, json};

use super::{curve, paths::beside, run::Run, settings::as_json};
use crate::TOOL;

/// Rows at the end of a run whose mean is its final loss.
const LAST_ROWS: usize = 10;

/// Writes all files but the record; returns the checkpoint as it stands in the record.
pub(crate) fn write(run: &Run) -> anyhow::Result<ModelInfo> {
    let paths = &run.options.paths;
    let checkpoint = run
        .trainer
        .result()
        .to_checkpoint(&run.data.tokenizer, metadata(run));
    let bytes = checkpoint
        .to_bytes()
        .context("the trained weights cannot be saved; train with a lower `--learning-rate`")?;
    write_atomic(&paths.checkpoint, &bytes)?;
    write_atomic(&paths.metrics, &run.history.csv()?)?;
    let png = curve::png(&paths.name(), &run.history.rows, run.trainer.is_done())?;
    write_atomic(&paths.curve, &png)?;
    Ok(model_info(&paths.name(), &sha256_hex(&bytes), &checkpoint))
}

/// Writes the record of a finished run.
pub(crate) fn write_record(run: &Run, model: &ModelInfo) -> anyhow::Result<()> {
    let json = record(run, model)?
        .to_json()
        .context("cannot write the record of the run")?;
    Ok(write_atomic(&run.options.paths.record, json.as_bytes())?)
}

/// What the checkpoint says about its training. It holds no time, so that a run that was
/// interrupted and one that was not give the same file.
fn metadata(run: &Run) -> Value {
    json!({
        "dataset": run.data.texts.name(),
        "train_sha256": run.settings.train_sha256,
        "valid_sha256": run.settings.valid_sha256,
        "preset": run.settings.preset,
        "tokenizer": run.settings.tokenizer,
        "seed": run.settings.train.seed,
        "steps": run.trainer.step_count(),
        "tokens": run.history.tokens,
        "valid_bits_per_byte": valid_bits_per_byte(run),
        "commit": tool(TOOL).commit,
        "command": command(run).join(" "),
    })
}

fn command(run: &Run) -> Vec<String> {
    run.options.command(&run.settings.train, run.evaluate_every)
}

/// The last evaluation of a finished run.
fn valid_bits_per_byte(run: &Run) -> Option<f64> {
    let last = run.history.rows.last()?;
    last.valid_bits_per_byte.filter(|_| run.trainer.is_done())
}

fn record(run: &Run, model: &ModelInfo) -> anyhow::Result<TrainingRecord> {
    let history = &run.history;
    let last = &history.rows[history.rows.len().saturating_sub(LAST_ROWS)..];
    let nats: f64 = last.iter().map(|row| row.train_nats_per_token).sum();
    Ok(TrainingRecord {
        envelope: envelope::<TrainingRecord>(TOOL, Some(model.clone())),
        command: command(run),
        seed: run.settings.train.seed,
        preset: run.settings.preset.clone(),
        config: as_json(&run.settings.model)?,
        tokenizer: run.settings.tokenizer.clone(),
        protocol: protocol(run)?,
        data: run.data.texts.sources(),
        steps: run.trainer.step_count(),
        tokens: history.tokens,
        seconds: history.seconds,
        tokens_per_s: history.tokens as f64 / history.seconds,
        train_nats_per_token: nats / last.len().max(1) as f64,
        valid_bits_per_byte: valid_bits_per_byte(run),
        curve: Some(beside(&run.options.paths.metrics)),
    })
}

/// Every option that shapes the run.
fn protocol(run: &Run) -> anyhow::Result<Value> {
    let mut protocol = as_json(&run.settings.train)?;
    protocol["backend"] = json!(run.settings.backend);
    protocol["init_sha256"] = json!(run.settings.init_sha256);
    protocol["teacher_sha256"] = json!(run.settings.teacher_sha256);
    protocol["dense"] = json!(run.options.dense.map(crate::args::DenseArg::name));
    protocol["minutes"] = json!(run.settings.minutes);
    protocol["evaluation"] = json!({
        "protocol": "document",
        "text": run.data.texts.valid_label(),
        "documents": run.data.valid.bytes.len(),
        "every_steps": run.evaluate_every,
        "documents_meanwhile": run.documents_meanwhile(),
    });
    Ok(protocol)
}
