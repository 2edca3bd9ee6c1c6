//! The file of an interrupted run: the trainer's own, with settings and metrics of the run in its header.

use std::{fs, io, path::Path};

use anyhow::{Context as _, bail};
use itera_core::files::write_atomic;
use itera_learn::{resume::Resume, trainer::Trainer};
use serde::{Deserialize, Serialize};

use super::{history::History, paths::Paths, settings::Settings};

/// What the header holds beside the trainer's place in the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    settings: Settings,
    history: History,
}

/// A file of an interrupted run.
pub(crate) struct Saved<'a>(Resume<'a, Head>);

/// Saves a run so that [`Saved::restore`] resumes it.
pub(crate) fn write(
    path: &Path,
    settings: &Settings,
    history: &History,
    trainer: &Trainer,
) -> anyhow::Result<()> {
    let head = Head {
        settings: settings.clone(),
        history: history.clone(),
    };
    let bytes = trainer.save_resume(&head).context("cannot save the run")?;
    Ok(write_atomic(path, &bytes)?)
}

/// Reads the bytes of the file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no interrupted run in `{name}`; begin one without `--resume`")
        }
        read => read.with_context(|| format!("cannot read `{name}`")),
    }
}

impl<'a> Saved<'a> {
    /// The interrupted run in `bytes` of the file at `path`.
    pub(crate) fn parse(bytes: &'a [u8], path: &Path) -> anyhow::Result<Self> {
        let resume = Resume::read(bytes).with_context(|| unusable(path))?;
        Ok(Self(resume))
    }

    /// Steps of the whole run, for a budget in minutes.
    pub(crate) fn steps(&self) -> anyhow::Result<u64> {
        let settings = &self.0.run().settings;
        match (settings.minutes, settings.train.schedule.steps) {
            (Some(_), steps) => Ok(steps),
            (None, steps) => bail!(
                "cannot resume: the interrupted run was begun with `--steps {steps}`; give the same"
            ),
        }
    }

    /// Refuses settings that the interrupted run does not have.
    pub(crate) fn check(&self, settings: &Settings, paths: &Paths) -> anyhow::Result<()> {
        let path = paths.resume.display();
        settings
            .check_same(&self.0.run().settings)
            .with_context(|| format!("cannot resume `{path}`"))
    }

    /// Takes a run at its start to where it was interrupted, and gives its metrics.
    pub(crate) fn restore(self, paths: &Paths, trainer: &mut Trainer) -> anyhow::Result<History> {
        let head = trainer
            .restore(self.0)
            .with_context(|| unusable(&paths.resume))?;
        Ok(head.history)
    }
}

fn unusable(path: &Path) -> String {
    let path = path.display();
    format!("cannot resume `{path}`; delete it to begin anew")
}
