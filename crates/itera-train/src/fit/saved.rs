//! The file of an interrupted run: one line of JSON, then the trainer's own bytes. One file, so
//! that its two parts always belong together.

use std::{fs, io, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use itera_core::files::write_atomic;
use itera_learn::trainer::Trainer;
use serde::{Deserialize, Serialize};

use super::{data::Data, history::History, options::FitOptions, settings::Settings};

/// Changes whenever a file of before could not be gone on with.
const FORMAT: &str = "itera.resume/1";

/// What the first line holds.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    settings: Settings,
    history: History,
}

/// A file of an interrupted run.
#[derive(Debug)]
pub(crate) struct Saved {
    head: Head,
    trainer: Vec<u8>,
}

/// Saves a run so that [`Saved::restore`] goes on with it.
pub(crate) fn write(
    path: &Path,
    settings: &Settings,
    history: &History,
    trainer: &Trainer,
) -> anyhow::Result<()> {
    let head = Head {
        format: FORMAT.to_owned(),
        settings: settings.clone(),
        history: history.clone(),
    };
    let mut bytes = serde_json::to_vec(&head)?;
    bytes.push(b'\n');
    bytes.extend(trainer.save_resume().context("cannot save the run")?);
    Ok(write_atomic(path, &bytes)?)
}

impl Saved {
    /// Reads the file and its first line.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let mut bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("there is no interrupted run in `{name}`; begin one without `--resume`")
            }
            read => read.with_context(|| format!("cannot read `{name}`"))?,
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let head = end.and_then(|end| serde_json::from_slice::<Head>(&bytes[..end]).ok());
        let (Some(end), Some(head)) = (end, head) else {
            bail!("`{name}` is no interrupted run; delete it to begin anew");
        };
        if head.format != FORMAT {
            bail!(
                "`{name}` is of the form `{}`, this program goes on with `{FORMAT}`; use the version \
                 that began it, or delete it to begin anew",
                head.format
            );
        }
        let trainer = bytes.split_off(end + 1);
        Ok(Self { head, trainer })
    }

    /// Steps of the whole run, for a budget in minutes.
    pub(crate) fn steps(&self) -> anyhow::Result<u64> {
        match (
            self.head.settings.minutes,
            self.head.settings.train.schedule.steps,
        ) {
            (Some(_), steps) => Ok(steps),
            (None, steps) => bail!(
                "cannot resume: the interrupted run was begun with `--steps {steps}`; give the same"
            ),
        }
    }

    /// The trainer and the metrics where the run was interrupted.
    pub(crate) fn restore(
        self,
        settings: &Settings,
        options: &FitOptions,
        data: &Data,
    ) -> anyhow::Result<(Trainer, History)> {
        let path = options.paths.resume.display();
        settings
            .check_same(&self.head.settings)
            .with_context(|| format!("cannot resume `{path}`"))?;
        let end_of_text = data.tokenizer.end_of_text();
        let teacher = data.teacher.as_ref().map(|teacher| &teacher.checkpoint);
        let trainer = Trainer::load_resume(
            &self.trainer,
            Arc::clone(&data.train),
            end_of_text,
            settings.backend,
            teacher,
        )
        .with_context(|| format!("cannot resume `{path}`; delete it to begin anew"))?;
        Ok((trainer, self.head.history))
    }
}
