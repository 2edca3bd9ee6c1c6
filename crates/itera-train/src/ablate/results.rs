//! The record of ablations while it grows.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

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
    /// The record of the file, or a new one, with a place for every variant of the plan. What the plan does
    /// not name stays as it is. Recorded runs of a variant that the plan describes otherwise are dropped if
    /// `replace` is set, else refused.
    pub(super) fn open(
        plan: &Plan,
        plan_path: &Path,
        path: PathBuf,
        replace: bool,
    ) -> anyhow::Result<Self> {
        let mut studies = read(&path)?.map_or_else(Vec::new, |record| record.studies);
        for study in &plan.studies {
            let dropped = prepare(&mut studies, study);
            ensure!(
                dropped.is_empty() || replace,
                "`{}` has runs of study `{}` that the plan describes otherwise now: {}; drop them with \
                 `--replace`, name the variants anew, or give another `--output`",
                path.display(),
                study.name,
                dropped.join(", ")
            );
        }
        let record = AblationRecord {
            envelope: envelope::<AblationRecord>(TOOL, None),
            command: vec![
                TOOL.to_owned(),
                "ablate".to_owned(),
                "--plan".to_owned(),
                plan_path.display().to_string(),
            ],
            studies,
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

/// The record of a file, if there is one.
fn read(path: &Path) -> anyhow::Result<Option<AblationRecord>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("cannot read `{}`", path.display()))?,
    };
    let record = AblationRecord::from_json(&bytes).with_context(|| {
        format!(
            "`{}` holds no ablations to go on with; give another `--output`, or delete it",
            path.display()
        )
    })?;
    Ok(Some(record))
}

/// Makes a place for every variant of a study. Returns the names of those whose runs were dropped, because
/// they were made otherwise.
fn prepare(studies: &mut Vec<AblationStudy>, plan: &StudyPlan) -> Vec<String> {
    let index = studies.iter().position(|study| study.name == plan.name);
    let index = index.unwrap_or_else(|| {
        studies.push(AblationStudy {
            name: plan.name.clone(),
            text_bytes: plan.text_bytes,
            data: Vec::new(),
            validation: String::new(),
            variants: Vec::new(),
        });
        studies.len() - 1
    });
    let study = &mut studies[index];
    let variants = plan.variants();
    let is_changed = |known: &AblationVariant| {
        let named = variants.iter().find(|variant| is_named(known, variant));
        study.text_bytes != plan.text_bytes || named.is_some_and(|variant| !is_of(known, variant))
    };
    let (changed, kept): (Vec<_>, Vec<_>) = study.variants.drain(..).partition(is_changed);
    study.variants = kept;
    study.text_bytes = plan.text_bytes;
    for (place, variant) in variants.into_iter().enumerate() {
        if !study.variants.iter().any(|known| is_of(known, &variant)) {
            let place = place.min(study.variants.len());
            study.variants.insert(place, without_runs(variant));
        }
    }
    // The runs decide on the text: without any, the next may read another.
    if study.variants.iter().all(|variant| variant.runs.is_empty()) {
        study.data = Vec::new();
        study.validation = String::new();
    }
    let dropped = changed
        .into_iter()
        .filter(|variant| !variant.runs.is_empty());
    dropped.map(|v| format!("{}: {}", v.axis, v.name)).collect()
}

fn without_runs(variant: Variant) -> AblationVariant {
    AblationVariant {
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
    }
}

fn is_named(record: &AblationVariant, variant: &Variant) -> bool {
    (&record.axis, &record.name) == (&variant.axis, &variant.name)
}

/// Whether the runs of a record were made as the plan describes the variant.
fn is_of(record: &AblationVariant, variant: &Variant) -> bool {
    is_named(record, variant)
        && record.arguments == variant.arguments
        && record.is_transformer == variant.transformer
        && !record.has_own_head
        && record.text_bytes == variant.text_bytes
}
