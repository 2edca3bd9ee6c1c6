//! Which checkpoints are measured at which precision, loaded before the first is measured, so that bad
//! input is found at once.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use itera_cli::model_info;
use itera_core::{
    checkpoint::Precision,
    models::{self, LoadedCheckpoint},
};
use itera_record::{ModelInfo, ValidationRecord};

use crate::{options::Options, workload};

/// One model at one precision, and the tokens that it reads and writes.
pub(crate) struct Job {
    /// Name or path of the checkpoint, as it was given.
    pub(crate) name: String,
    pub(crate) loaded: LoadedCheckpoint,
    pub(crate) tokens: Vec<u32>,
    /// From a result of `itera-validate`, if one was given that has this model.
    pub(crate) bits_per_byte: Option<f64>,
}

impl Job {
    /// What records say about the model.
    pub(crate) fn model_info(&self) -> ModelInfo {
        let loaded = &self.loaded;
        model_info(&loaded.name, &loaded.file_sha256, &loaded.checkpoint)
    }
}

/// The jobs of the options.
pub(crate) fn load(options: &Options) -> anyhow::Result<Vec<Job>> {
    let names = if options.checkpoints.is_empty() {
        models::shipped_models()?
    } else {
        options.checkpoints.clone()
    };
    let mut jobs: Vec<Job> = Vec::new();
    let mut seen = BTreeSet::new();
    for name in &names {
        for job in load_one(name, options)? {
            let model = job.model_info();
            ensure!(
                seen.insert((model.name.clone(), model.precision.clone())),
                "two checkpoints are called `{}` at {}; give each once, or rename a file",
                model.name,
                model.precision
            );
            jobs.push(job);
        }
    }
    Ok(jobs)
}

/// One checkpoint at every precision that is asked for.
fn load_one(name: &str, options: &Options) -> anyhow::Result<Vec<Job>> {
    let own = models::load_checkpoint(name)?;
    let tokens = workload::draw(&own.checkpoint, options.seq_len)
        .with_context(|| format!("cannot run the checkpoint `{name}`"))?;
    let stored = own.checkpoint.precision();
    let wanted = match options.precision {
        Some(precision) => vec![precision],
        // Integers are not rounded again.
        None if stored != Precision::Fp32 => vec![stored],
        None => Precision::ALL.to_vec(),
    };
    let mut jobs = Vec::new();
    for precision in wanted {
        let loaded = models::load_at_precision(name, precision).with_context(|| {
            format!("cannot have `{name}` at {precision}; it is stored as {stored}")
        })?;
        let mut job = Job {
            name: name.to_owned(),
            loaded,
            tokens: tokens.clone(),
            bits_per_byte: None,
        };
        if let Some(validation) = &options.validation {
            job.bits_per_byte = bits_per_byte(validation, &job.model_info())?;
        }
        jobs.push(job);
    }
    Ok(jobs)
}

/// Bits per byte of the very file at this precision; none if the result does not have it.
fn bits_per_byte(validation: &ValidationRecord, model: &ModelInfo) -> anyhow::Result<Option<f64>> {
    let mut rows = validation.rows.iter().filter(|row| {
        row.model.file_sha256 == model.file_sha256 && row.precision == model.precision
    });
    let first = rows.next();
    ensure!(
        rows.next().is_none(),
        "the result of `--validation` has several scores of {} at {}; give one with a single data set",
        model.name,
        model.precision
    );
    Ok(first.map(|row| row.bits_per_byte))
}
