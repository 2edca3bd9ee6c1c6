//! The subcommand `prune`: a checkpoint becomes one with fewer parts.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use itera_cli::{Align, ExitStatus, Table, note, print};
use itera_core::{
    checkpoint::Checkpoint,
    files::write_atomic,
    models::{LoadedCheckpoint, load_checkpoint},
    prune::{Kept, Targets, prune},
};
use serde_json::json;

use crate::{
    args::PruneArgs,
    quantize::{Calibration, Text, calibration_texts, checked_files},
};

/// Prunes, writes the file, prints the remaining parts.
pub(crate) fn run(args: &PruneArgs) -> anyhow::Result<ExitStatus> {
    let source = load_checkpoint(&args.checkpoint)?;
    checked_files(args.dataset.as_ref(), [&source])
        .write("`--output`", &args.output)
        .check()?;
    let texts = calibration_texts(args.dataset.as_ref(), &source)?;
    let text = Text::held_out(&texts, &source, args.validate_tokens)?;
    let calibration = Calibration::read(&texts, &source, args.calibration_tokens, 1.0)?;
    note(format_args!("calibrated with {calibration}"));
    let targets = Targets {
        n_heads: args.heads,
        d_state: args.d_state,
        n_experts: args.experts,
        d_expert: args.d_expert,
    };
    let (mut pruned, kept) = prune(&source.checkpoint, targets, &calibration.documents)
        .with_context(|| format!("cannot prune the checkpoint `{}`", source.name))?;
    pruned.training = training(&source, targets);
    let bits = [
        text.bits_per_byte(&source.checkpoint)?,
        text.bits_per_byte(&pruned)?,
    ];
    ensure!(
        bits.iter().all(|bits| bits.is_finite()),
        "`{}` has {} bits/byte before and {} after: its weights overflow; train with a lower `--learning-rate`",
        source.name,
        bits[0],
        bits[1]
    );
    let bytes = pruned.to_bytes()?;
    write_atomic(&args.output, &bytes)?;
    print(report(&source, &pruned, &kept, bytes.len(), bits))?;
    note(format_args!(
        "written to {}; train it on with `itera-train fit --init {}`",
        args.output.display(),
        args.output.display()
    ));
    Ok(ExitStatus::Done)
}

/// The notes of the source, and what was done to it.
fn training(source: &LoadedCheckpoint, targets: Targets) -> serde_json::Value {
    let mut training = source.checkpoint.training.clone();
    let pruned = json!({
        "source_sha256": source.file_sha256,
        "heads": targets.n_heads,
        "d_state": targets.d_state,
        "experts": targets.n_experts,
        "d_expert": targets.d_expert,
    });
    match &mut training {
        serde_json::Value::Object(notes) => {
            notes.insert("pruned".to_owned(), pruned);
            training
        }
        _ => json!({ "pruned": pruned }),
    }
}

/// What is left of each layer, then the whole.
fn report(
    source: &LoadedCheckpoint,
    pruned: &Checkpoint,
    kept: &[Kept],
    file_bytes: usize,
    [before, after]: [f64; 2],
) -> String {
    let mut table = Table::new(&[
        ("layer", Align::Right),
        ("heads left", Align::Left),
        ("experts left", Align::Left),
        ("state columns left", Align::Left),
    ]);
    let list = |indices: &[usize]| {
        let words: Vec<String> = indices.iter().map(usize::to_string).collect();
        words.join(" ")
    };
    for (layer, kept) in kept.iter().enumerate() {
        table.row(vec![
            layer.to_string(),
            list(&kept.heads),
            list(&kept.experts),
            list(&kept.states),
        ]);
    }
    let (was, is) = (
        source.checkpoint.config.parameters(),
        pruned.config.parameters(),
    );
    let mut text = format!("{table}\n");
    let _ = writeln!(
        text,
        "{is} parameters (was {was}, {:.1} % less), file {file_bytes} bytes",
        100.0 * (1.0 - is as f64 / was as f64)
    );
    let _ = writeln!(
        text,
        "bits/byte {before:.5} before, {after:.5} after, {:+.2} %, before training on",
        100.0 * (after / before - 1.0)
    );
    text
}
