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

/// Writes the files of a run; the record only if it is finished.
pub(crate) fn write(run: &Run, is_finished: bool) -> anyhow::Result<()> {
    let (paths, data) = (run.inputs.paths, run.inputs.data);
    let command = command(run)?;
    let checkpoint = run
        .trainer
        .result()
        .to_checkpoint(&data.tokenizer, metadata(run, &command));
    let bytes = checkpoint
        .to_bytes()
        .context("the trained weights cannot be saved; train with a lower `--learning-rate`")?;
    write_atomic(&paths.checkpoint, &bytes)?;
    write_atomic(&paths.metrics, &run.history.csv()?)?;
    let png = curve::png(&paths.name(), &run.history.rows, run.trainer.is_done())?;
    write_atomic(&paths.curve, &png)?;
    if is_finished {
        let model = model_info(&paths.name(), &sha256_hex(&bytes), &checkpoint);
        let json = record(run, command, model)?
            .to_json()
            .context("cannot write the record of the run")?;
        write_atomic(&paths.record, json.as_bytes())?;
    }
    Ok(())
}

/// What the checkpoint says about its training. It holds no time, so that a run that was
/// interrupted and one that was not give the same file.
fn metadata(run: &Run, command: &[String]) -> Value {
    let settings = run.inputs.settings;
    json!({
        "dataset": run.inputs.data.texts.name(),
        "train_sha256": settings.train_sha256,
        "valid_sha256": settings.valid_sha256,
        "preset": settings.preset,
        "tokenizer": settings.tokenizer,
        "seed": settings.train.seed,
        "steps": run.trainer.step_count(),
        "tokens": run.history.tokens,
        "valid_bits_per_byte": valid_bits_per_byte(run),
        "commit": tool(TOOL).commit,
        "command": command.join(" "),
    })
}

fn command(run: &Run) -> anyhow::Result<Vec<String>> {
    let steps = run.inputs.settings.train.schedule.steps;
    run.inputs
        .config
        .command(steps, &run.inputs.paths.checkpoint)
}

/// The last evaluation of a finished run.
fn valid_bits_per_byte(run: &Run) -> Option<f64> {
    let last = run.history.rows.last()?;
    last.valid_bits_per_byte.filter(|_| run.trainer.is_done())
}

fn record(run: &Run, command: Vec<String>, model: ModelInfo) -> anyhow::Result<TrainingRecord> {
    let (history, settings) = (&run.history, run.inputs.settings);
    let last = &history.rows[history.rows.len().saturating_sub(LAST_ROWS)..];
    let nats: f64 = last.iter().map(|row| row.train_nats_per_token).sum();
    Ok(TrainingRecord {
        envelope: envelope::<TrainingRecord>(TOOL, Some(model)),
        command,
        seed: settings.train.seed,
        preset: settings.preset.clone(),
        config: as_json(&settings.model)?,
        tokenizer: settings.tokenizer.clone(),
        protocol: protocol(run)?,
        data: run.inputs.data.texts.sources(),
        steps: run.trainer.step_count(),
        tokens: history.tokens,
        seconds: history.seconds,
        tokens_per_s: history.tokens as f64 / history.seconds,
        train_nats_per_token: nats / last.len().max(1) as f64,
        valid_bits_per_byte: valid_bits_per_byte(run),
        curve: Some(beside(&run.inputs.paths.metrics)),
    })
}

/// Every option that shapes the run.
fn protocol(run: &Run) -> anyhow::Result<Value> {
    let (settings, data) = (run.inputs.settings, run.inputs.data);
    let mut protocol = as_json(&settings.train)?;
    protocol["blank_lines"] = json!(settings.blank_lines);
    protocol["backend"] = json!(settings.backend);
    protocol["init_sha256"] = json!(settings.init_sha256);
    protocol["teacher_sha256"] = json!(settings.teacher_sha256);
    protocol["dense"] = json!(run.inputs.config.dense);
    protocol["minutes"] = json!(settings.minutes);
    protocol["evaluation"] = json!({
        "protocol": "document",
        "text": data.texts.valid_label(),
        "documents": data.valid.bytes.len(),
        "every_steps": run.evaluate_every,
        "documents_meanwhile": run.documents_meanwhile(),
    });
    Ok(protocol)
}
