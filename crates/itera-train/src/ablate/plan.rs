//! The plan of ablations: a file of studies, each a base and what its variants do otherwise.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use itera_data::Dataset;
use itera_learn::baseline::TransformerConfig;
use serde::Deserialize;

use crate::fit::RunConfig;

/// Steps of a run whose number is not known yet; more than any warm-up.
pub(super) const SOME_STEPS: u64 = 1 << 40;

/// The axis and the name of what variants are compared with.
const BASE: &str = "base";

/// The whole plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(super) studies: Vec<StudyPlan>,
}

/// Runs that compare: one text, one budget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StudyPlan {
    pub(super) name: String,
    /// Bytes of text that a run reads, unless its variant says otherwise.
    pub(super) text_bytes: u64,
    pub(super) seeds: Vec<u64>,
    /// Options of `itera-train fit` without their dashes.
    base: Settings,
    variants: Vec<VariantPlan>,
}

/// What is decided otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantPlan {
    axis: String,
    name: String,
    /// The transformer in place of our architecture.
    #[serde(default)]
    transformer: bool,
    /// Bytes of text that its runs read, for a variant that is compared at equal time.
    text_bytes: Option<u64>,
    /// In place of, or beside, the options of the base.
    #[serde(default)]
    set: Settings,
}

type Settings = BTreeMap<String, Value>;

/// The value of an option, or the values of one that may be repeated.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    One(String),
    Many(Vec<String>),
}

/// A variant with all its arguments; the base is one too.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(super) axis: String,
    pub(super) name: String,
    pub(super) transformer: bool,
    /// Bytes of text in place of the study's.
    pub(super) text_bytes: Option<u64>,
    /// Without seed, steps and output.
    pub(super) arguments: Vec<String>,
}

impl Plan {
    /// Reads a plan and checks the arguments of every variant.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the plan `{name}`; give one with `--plan`"))?;
        let plan: Self =
            serde_json::from_str(&text).with_context(|| format!("`{name}` is not a plan"))?;
        for (index, study) in plan.studies.iter().enumerate() {
            ensure!(
                plan.studies[..index]
                    .iter()
                    .all(|other| other.name != study.name),
                "`{name}` has two studies `{}`; give each a name of its own",
                study.name
            );
            study
                .check()
                .with_context(|| format!("study `{}` of `{name}`", study.name))?;
        }
        Ok(plan)
    }

    /// The data sets that its runs read.
    pub(super) fn datasets(&self) -> anyhow::Result<Vec<Dataset>> {
        let variants = self.studies.iter().flat_map(StudyPlan::variants);
        variants
            .map(|variant| Ok(variant.options(0, SOME_STEPS)?.dataset))
            .collect()
    }
}

impl StudyPlan {
    /// The base and its variants.
    pub(super) fn variants(&self) -> Vec<Variant> {
        let base = Variant {
            axis: BASE.to_owned(),
            name: BASE.to_owned(),
            transformer: false,
            text_bytes: None,
            arguments: words(&self.base),
        };
        let others = self.variants.iter().map(|variant| {
            let mut arguments = self.base.clone();
            arguments.extend(variant.set.clone());
            Variant {
                axis: variant.axis.clone(),
                name: variant.name.clone(),
                transformer: variant.transformer,
                text_bytes: variant.text_bytes,
                arguments: words(&arguments),
            }
        });
        std::iter::once(base).chain(others).collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        let mut texts = self.variants.iter().filter_map(|v| v.text_bytes);
        ensure!(
            self.text_bytes > 0 && texts.all(|bytes| bytes > 0),
            "`text_bytes` is 0; give more"
        );
        ensure!(
            !self.seeds.is_empty(),
            "`seeds` is empty; give at least one"
        );
        let doubled = self
            .seeds
            .iter()
            .enumerate()
            .find(|&(i, seed)| self.seeds[..i].contains(seed));
        if let Some((_, seed)) = doubled {
            bail!("`seeds` has {seed} twice; give each once");
        }
        let variants = self.variants();
        for (index, variant) in variants.iter().enumerate() {
            let options = variant.options(1, SOME_STEPS);
            let options = options.with_context(|| format!("variant `{}`", variant.name))?;
            let train = options.train_config(SOME_STEPS)?;
            ensure!(
                train.replicas == 1,
                "variant `{}` has {} replicas; runs are single-threaded and stand side by side, so give \
                 `\"replicas\": \"1\"`",
                variant.name,
                train.replicas
            );
            ensure!(
                options.evaluate_every != Some(0),
                "variant `{}` is not evaluated; leave out `evaluate-every`",
                variant.name
            );
            if variant.transformer {
                // Any vocabulary size will do: `trains_with` does not use it.
                let transformer = TransformerConfig::micro(512);
                ensure!(
                    transformer.trains_with(&train),
                    "variant `{}` is a transformer, which has a context of {} tokens and neither \
                     `teacher` nor `quantize`; leave them out for it",
                    variant.name,
                    transformer.context
                );
            }
            let twin = variants[..index].iter().find(|v| v.is(variant));
            ensure!(
                twin.is_none(),
                "there are two variants `{}: {}`; name them apart",
                variant.axis,
                variant.name
            );
        }
        Ok(())
    }
}

impl Variant {
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.axis, &self.name) == (&other.axis, &other.name)
    }

    /// Its run with this seed and number of steps.
    pub(super) fn options(&self, seed: u64, steps: u64) -> anyhow::Result<RunConfig> {
        let mut words = vec![FIT.to_owned()];
        words.extend(self.arguments.iter().cloned());
        for (option, value) in [("--seed", seed), ("--steps", steps)] {
            words.extend([option.to_owned(), value.to_string()]);
        }
        FitArguments::try_parse_from(words)?.run.checked()
    }
}

/// The options of `fit` that a plan may have.
#[derive(Parser)]
#[command(name = FIT, disable_help_flag = true)]
struct FitArguments {
    #[command(flatten)]
    run: RunConfig,
}

const FIT: &str = "itera-train fit";

impl RunConfig {
    /// What decides which text is read and into which tokens.
    pub(super) fn text_key(&self) -> String {
        let blank_lines = (self.blank_lines > 0.0).then_some((self.blank_lines, self.seed));
        format!(
            "{:?} {:?} {blank_lines:?} {:?} {:?} {:?} {:?}",
            self.dataset, self.valid, self.tokenizer, self.vocab_size, self.init, self.teacher
        )
    }

    pub(super) fn steps(&self) -> u64 {
        self.budget.steps.unwrap_or(0)
    }
}

/// As `itera-train fit` wants them.
fn words(arguments: &Settings) -> Vec<String> {
    let mut words = Vec::new();
    for (name, value) in arguments {
        let values = match value {
            Value::One(value) => std::slice::from_ref(value),
            Value::Many(values) => values,
        };
        for value in values {
            words.extend([format!("--{name}"), value.clone()]);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_share_a_text_only_in_one_form() {
        let key = |options: &str, seed| {
            let words = format!("--dataset sample --preset test {options}");
            let arguments = words.split_whitespace().map(str::to_owned).collect();
            let variant = Variant {
                axis: "text".to_owned(),
                name: "form".to_owned(),
                transformer: false,
                text_bytes: None,
                arguments,
            };
            variant.options(seed, 1).unwrap().text_key()
        };
        assert_eq!(key("", 1), key("--learning-rate 0.1", 2));
        let with_blank_lines = key("--blank-lines 0.5", 1);
        for other in [
            key("", 1),
            key("--blank-lines 0.4", 1),
            key("--blank-lines 0.5", 2),
        ] {
            assert_ne!(with_blank_lines, other);
        }
    }
}
