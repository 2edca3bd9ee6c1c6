//! The record of ablations while it grows.

use std::{fs, io::ErrorKind, path::PathBuf};

use anyhow::{Context as _, ensure};
use itera_cli::envelope;
use itera_core::files::write_atomic;
use itera_record::{AblationRecord, AblationStudy, AblationVariant, Record as _};

use super::{
    plan::{Plan, StudyPlan, Variant},
    run::Outcome,
};
use crate::TOOL;

/// The record, and where it is written.
pub(super) struct Results {
    path: PathBuf,
    record: AblationRecord,
}

impl Results {
    /// A record of this plan: with the runs of the file, as far as they are of the plan.
    pub(super) fn open(
        plan: &Plan,
        plan_path: &std::path::Path,
        path: PathBuf,
    ) -> anyhow::Result<Self> {
        let old = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            read => {
                let bytes = read.with_context(|| format!("cannot read `{}`", path.display()))?;
                let record = AblationRecord::from_json(&bytes).with_context(|| {
                    format!(
                        "`{}` holds no ablations to go on with; give another `--output`, or delete it",
                        path.display()
                    )
                })?;
                Some(record)
            }
        };
        let old = old.map_or_else(Vec::new, |record| record.studies);
        let studies = plan.studies.iter().map(|study| study_record(study, &old));
        let record = AblationRecord {
            envelope: envelope::<AblationRecord>(TOOL, None),
            command: vec![
                TOOL.to_owned(),
                "ablate".to_owned(),
                "--plan".to_owned(),
                plan_path.display().to_string(),
            ],
            studies: studies.collect(),
        };
        Ok(Self { path, record })
    }

    pub(super) const fn record(&self) -> &AblationRecord {
        &self.record
    }

    /// Whether a run stands in the record.
    pub(super) fn has(&self, study: &StudyPlan, variant: &Variant, seed: u64) -> bool {
        let studies = self.record.studies.iter();
        let mut variants = studies
            .filter(|record| record.name == study.name)
            .flat_map(|record| &record.variants);
        variants.any(|v| is_of(v, variant) && v.runs.iter().any(|run| run.seed == seed))
    }

    /// Adds a run and writes the file.
    pub(super) fn add(
        &mut self,
        study: &StudyPlan,
        variant: &Variant,
        outcome: Outcome,
    ) -> anyhow::Result<()> {
        let path = self.path.display().to_string();
        let mut records = self.record.studies.iter_mut();
        let record = records
            .find(|record| record.name == study.name)
            .context("the study is of the plan")?;
        ensure!(
            record.data.is_empty() || record.data == outcome.data,
            "`{path}` has runs of study `{}` on another text; give another `--output`, or delete it",
            study.name
        );
        record.data = outcome.data;
        record.validation = outcome.validation;
        let mut variants = record.variants.iter_mut();
        let row = variants
            .find(|row| is_of(row, variant))
            .context("the variant is of the plan")?;
        row.params = outcome.size.params as u64;
        row.active_params = outcome.size.active_params as u64;
        row.bytes_per_token = outcome.size.bytes_per_token;
        row.runs.push(outcome.run);
        row.runs.sort_by_key(|run| run.seed);
        let json = self.record.to_json()?;
        Ok(write_atomic(&self.path, json.as_bytes())?)
    }
}

/// The study with those runs of `old` that are the same in every argument.
fn study_record(study: &StudyPlan, old: &[AblationStudy]) -> AblationStudy {
    let old = old
        .iter()
        .find(|old| old.name == study.name && old.text_bytes == study.text_bytes);
    let variants = study.variants().into_iter();
    let variants: Vec<_> = variants
        .map(|variant| {
            let known = old.and_then(|old| old.variants.iter().find(|v| is_of(v, &variant)));
            known.cloned().unwrap_or(AblationVariant {
                axis: variant.axis,
                name: variant.name,
                arguments: variant.arguments,
                is_transformer: variant.transformer,
                has_own_head: false,
                text_bytes: variant.text_bytes,
                params: 0,
                active_params: 0,
                bytes_per_token: 0.0,
                runs: Vec::new(),
            })
        })
        .collect();
    // The text is that of the runs: without any, the next may be on another.
    let old = old.filter(|_| variants.iter().any(|variant| !variant.runs.is_empty()));
    AblationStudy {
        name: study.name.clone(),
        text_bytes: study.text_bytes,
        data: old.map_or_else(Vec::new, |old| old.data.clone()),
        validation: old.map_or_else(String::new, |old| old.validation.clone()),
        variants,
    }
}

fn is_of(record: &AblationVariant, variant: &Variant) -> bool {
    record.axis == variant.axis
        && record.name == variant.name
        && record.arguments == variant.arguments
        && record.is_transformer == variant.transformer
        && !record.has_own_head
        && record.text_bytes == variant.text_bytes
}
