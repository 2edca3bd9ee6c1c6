//! The files of a run: the checkpoint and its companions beside it.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use itera_cli::Files;

use super::config::RunConfig;
use crate::tokenizer::TokenizerSource;

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
    /// The files of the run that writes this checkpoint.
    pub(crate) fn new(checkpoint: PathBuf) -> anyhow::Result<Self> {
        ensure!(
            checkpoint
                .extension()
                .is_some_and(|extension| extension == "safetensors"),
            "`--output` is `{}`, expected a file that ends in .safetensors",
            checkpoint.display()
        );
        Ok(Self {
            metrics: checkpoint.with_extension("metrics.csv"),
            curve: checkpoint.with_extension("curve.png"),
            record: checkpoint.with_extension("training.json"),
            resume: checkpoint.with_extension("resume"),
            checkpoint,
        })
    }

    /// These files, and those that the run reads, but for the checkpoints that are found by name.
    pub(crate) fn files(&self, run: &RunConfig) -> Files {
        let mut files = Files::default().read_dataset("`--dataset`", &run.dataset);
        if let Some(valid) = &run.valid {
            files = files.read("`--valid`", valid);
        }
        if let Some(TokenizerSource::File(path)) = &run.tokenizer {
            files = files.read("`--tokenizer`", path);
        }
        files = files.write("`--output`", &self.checkpoint);
        for path in [&self.metrics, &self.curve, &self.record, &self.resume] {
            let what = format!("`{}` beside `--output`", beside(path));
            files = files.write(what, path);
        }
        files
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
