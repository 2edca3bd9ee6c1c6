//! A file that is there already is not replaced by a worse one unasked.

use std::path::Path;

use anyhow::ensure;
use itera_core::{
    models::{LoadedCheckpoint, load_checkpoint},
    quant::Provenance,
};

/// How good the rounding of a file is, by how it was made.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Quality {
    /// Without the text of the training.
    Rounded,
    /// Calibrated with the text of the training.
    Calibrated,
    /// Of weights that were trained on for integers.
    Trained,
}

/// Refuses to replace a file for the same checkpoint that was made better.
pub(super) fn check(
    path: &Path,
    new: &Provenance,
    source: &LoadedCheckpoint,
) -> anyhow::Result<()> {
    let loaded = path.to_str().filter(|_| path.is_file());
    let Some(Ok(there)) = loaded.map(load_checkpoint) else {
        return Ok(());
    };
    let Some(old) = Provenance::of(&there.checkpoint) else {
        return Ok(());
    };
    let quality = |provenance: &Provenance| {
        let trained_on = &source.checkpoint.training["train_sha256"];
        let calibrated_on = provenance.calibration.as_ref();
        if provenance.tuned_sha256.is_some() {
            Quality::Trained
        } else if calibrated_on.is_some_and(|text| *trained_on == text.sha256) {
            Quality::Calibrated
        } else {
            Quality::Rounded
        }
    };
    let is_better = old.source_sha256 == new.source_sha256 && quality(&old) > quality(new);
    ensure!(
        !is_better,
        "`{}` is a better file: its weights were {}; give another `--output`, or `--replace` to \
         replace it",
        path.display(),
        match quality(&old) {
            Quality::Trained => "trained on for integers",
            _ => "rounded with the text that the checkpoint was trained on",
        }
    );
    Ok(())
}
