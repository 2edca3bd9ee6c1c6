//! Results that contradict one another: two models under one name, two scores of one thing.

use std::collections::{BTreeMap, BTreeSet};

use itera_record::{Envelope, ModelInfo, ValidationRow};

use super::{Inputs, Of, Problem};

/// Takes out every result about a name that stands for two files, since nobody can say which of
/// them a figure is about; and the second of two scores of the same thing.
pub(super) fn resolve(inputs: &mut Inputs) {
    let ambiguous = ambiguous_names(inputs);
    let is_clear = |name: &String| !ambiguous.contains(name);
    inputs
        .validation
        .retain(|row| is_clear(&row.item.model.name));
    inputs.training.retain(|run| is_clear(&run.item.name));
    for Of { item, .. } in &mut inputs.power {
        item.rows.retain(|row| is_clear(&row.model.name));
    }
    inputs.power.retain(|record| !record.item.rows.is_empty());
    for Of { item, .. } in &mut inputs.export {
        item.files.retain(|file| is_clear(&file.model.name));
        let files = &item.files;
        item.checks
            .retain(|check| files.iter().any(|file| file.file == check.file));
        item.bench = item
            .bench
            .take()
            .filter(|bench| is_clear(&bench.model.name));
    }
    let is_about = |of: &Envelope| of.model.as_ref().is_none_or(|model| is_clear(&model.name));
    inputs.engine.retain(|of| is_about(&of.item.envelope));
    inputs.serve_bench.retain(|of| is_about(&of.item.envelope));
    inputs.simulation.retain(|of| is_about(&of.item.envelope));
    repeated_scores(inputs);
}

/// By digest, the files that name it.
type ByDigest = BTreeMap<String, BTreeSet<usize>>;

/// Names of models that files give different digests; each such file becomes a problem.
fn ambiguous_names(inputs: &mut Inputs) -> BTreeSet<String> {
    let mut models = models(inputs);
    models.retain(|_, by_digest| by_digest.len() > 1);
    for ((name, precision), by_digest) in &models {
        let labels = |sources: &BTreeSet<usize>| {
            let labels = sources.iter().map(|&i| inputs.sources[i].label.as_str());
            labels.collect::<Vec<_>>().join(", ")
        };
        let all: Vec<String> = by_digest
            .iter()
            .map(|(digest, sources)| format!("{} in {}", &digest[..12], labels(sources)))
            .collect();
        let reason = format!(
            "two models are called `{name}` at {precision} (sha256 {}), so what is said about it is left out; \
             measure again with one file, or give the other a name of its own",
            all.join("; ")
        );
        let involved: BTreeSet<usize> = by_digest.values().flatten().copied().collect();
        let problems = involved.into_iter().map(|source| Problem {
            label: inputs.sources[source].label.clone(),
            reason: reason.clone(),
        });
        inputs.problems.extend(problems.collect::<Vec<_>>());
    }
    models.into_keys().map(|(name, _)| name).collect()
}

/// Name and precision of a model.
type Key = (String, String);

/// Every model by its name and precision, with the digests that files give it.
fn models(inputs: &Inputs) -> BTreeMap<Key, ByDigest> {
    let mut models: BTreeMap<Key, ByDigest> = BTreeMap::new();
    let mut note = |name: &str, model: &ModelInfo, source: usize| {
        let key = (name.to_owned(), model.precision.clone());
        let by_digest = models.entry(key).or_default();
        let sources = by_digest.entry(model.file_sha256.clone()).or_default();
        sources.insert(source);
    };
    for Of { source, item } in &inputs.validation {
        note(&item.model.name, &item.model, *source);
    }
    for Of { source, item } in &inputs.training {
        if let Some(model) = &item.record.envelope.model {
            note(&item.name, model, *source);
        }
    }
    let power = inputs.power.iter();
    let rows = power.flat_map(|of| of.item.rows.iter().map(|row| (of.source, &row.model)));
    let export = inputs.export.iter().flat_map(|of| {
        let files = of.item.files.iter().map(|file| &file.model);
        let bench = of.item.bench.iter().map(|bench| &bench.model);
        files.chain(bench).map(|model| (of.source, model))
    });
    let engine = inputs
        .engine
        .iter()
        .map(|of| (of.source, &of.item.envelope));
    let bench = inputs
        .serve_bench
        .iter()
        .map(|of| (of.source, &of.item.envelope));
    let simulation = inputs
        .simulation
        .iter()
        .map(|of| (of.source, &of.item.envelope));
    let envelopes = engine.chain(bench).chain(simulation);
    let named = envelopes.filter_map(|(source, of)| Some((source, of.model.as_ref()?)));
    for (source, model) in rows.chain(export).chain(named) {
        note(&model.name, model, source);
    }
    models
}

/// Keeps the first of several scores of one model on one text in one way. They must be equal.
fn repeated_scores(inputs: &mut Inputs) {
    let what = |row: &ValidationRow| {
        let names = [
            &row.model.file_sha256,
            &row.dataset_sha256,
            &row.split,
            &row.precision,
            &row.engine,
        ];
        (
            names.map(Clone::clone),
            row.kernel.clone(),
            row.protocol.clone(),
            row.shard,
        )
    };
    let mut kept: Vec<Of<ValidationRow>> = Vec::new();
    for row in std::mem::take(&mut inputs.validation) {
        let same = kept
            .iter()
            .find(|other| what(&other.item) == what(&row.item));
        let Some(other) = same else {
            kept.push(row);
            continue;
        };
        let (here, shown) = (row.item.nll_nats, other.item.nll_nats);
        if here.to_bits() != shown.to_bits() {
            let label = |source: usize| inputs.sources[source].label.clone();
            let reason = format!(
                "{} on {} scores {here} nats, but {shown} in {}, which is shown; delete the wrong one",
                row.item.model.label(),
                row.item.text_name(),
                label(other.source)
            );
            inputs.problems.push(Problem {
                label: label(row.source),
                reason,
            });
        }
    }
    inputs.validation = kept;
}
