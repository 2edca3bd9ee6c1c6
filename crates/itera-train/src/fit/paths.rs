//! The files of a run: the checkpoint and its companions beside it.

use std::path::{Path, PathBuf};

use anyhow::{Error, bail, ensure};
use itera_core::files::check_writable;

/// The files of a run.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) checkpoint: PathBuf,
    pub(crate) metrics: PathBuf,
    pub(crate) curve: PathBuf,
    pub(crate) record: PathBuf,
    pub(crate) resume: PathBuf,
}

impl Paths {
    /// The files of the run that writes this checkpoint, if they can be written.
    pub(crate) fn new(checkpoint: PathBuf) -> anyhow::Result<Self> {
        ensure!(
            checkpoint
                .extension()
                .is_some_and(|extension| extension == "safetensors"),
            "`--output` is `{}`, expected a file that ends in .safetensors",
            checkpoint.display()
        );
        let paths = Self {
            metrics: checkpoint.with_extension("metrics.csv"),
            curve: checkpoint.with_extension("curve.png"),
            record: checkpoint.with_extension("training.json"),
            resume: checkpoint.with_extension("resume"),
            checkpoint,
        };
        let Self {
            checkpoint,
            metrics,
            curve,
            record,
            resume,
        } = &paths;
        for path in [checkpoint, metrics, curve, record, resume] {
            if let Err(error) = check_writable(path) {
                bail!(
                    "{:#}; give another `--output`, or make its folder writable",
                    Error::from(error)
                );
            }
        }
        Ok(paths)
    }

    /// The name of the model.
    pub(crate) fn name(&self) -> String {
        let stem = self.checkpoint.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }
}

/// A path relative to the folder of another one, both in the same folder.
pub(crate) fn beside(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
