//! Everything that decides the weights of a run.

use anyhow::bail;
use itera_core::{config::ModelConfig, digest::sha256_hex};
use itera_learn::{Backend, trainer::TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{config::RunConfig, data::Data};

/// In place of the name of a preset: the sizes of the checkpoint that the run starts from.
const CUSTOM: &str = "custom";

/// Digests of the teachers: a string where there is one, as it was when there could be no more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Teachers {
    One(String),
    Several(Vec<String>),
}

impl Teachers {
    fn of(data: &Data) -> Option<Self> {
        let digests = data.teachers.iter().map(|t| t.file_sha256.clone());
        match &digests.collect::<Vec<_>>()[..] {
            [] => None,
            [one] => Some(Self::One(one.clone())),
            several => Some(Self::Several(several.to_vec())),
        }
    }
}

/// Two runs with equal settings give equal weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Digest of the training text.
    pub(crate) train_sha256: String,
    /// Digest of the text for evaluation, if that is another.
    pub(crate) valid_sha256: Option<String>,
    /// Share of the documents whose line ends are blank lines.
    #[serde(default)]
    pub(crate) blank_lines: f64,
    /// Kind and entries, for example `bpe 512`.
    pub(crate) tokenizer: String,
    /// Digest of the tokenizer's JSON.
    pub(crate) tokenizer_sha256: String,
    pub(crate) preset: String,
    pub(crate) model: ModelConfig,
    /// Digest of the checkpoint that the run starts from, if it does.
    pub(crate) init_sha256: Option<String>,
    /// Digests of the teachers, if there are any.
    #[serde(default)]
    pub(crate) teacher_sha256: Option<Teachers>,
    pub(crate) backend: Backend,
    /// The budget that the number of steps came from, if it was one of time.
    pub(crate) minutes: Option<f64>,
    pub(crate) train: TrainConfig,
}

impl Settings {
    pub(crate) fn new(
        config: &RunConfig,
        data: &Data,
        model: ModelConfig,
        train: TrainConfig,
    ) -> Self {
        let tokenizer = &data.tokenizer;
        Self {
            train_sha256: data.texts.train_sha256().to_owned(),
            valid_sha256: data.texts.valid_sha256().map(str::to_owned),
            blank_lines: config.blank_lines,
            tokenizer: format!("{} {}", tokenizer.kind(), tokenizer.vocab_size()),
            tokenizer_sha256: sha256_hex(tokenizer.to_json().to_string().as_bytes()),
            preset: config
                .preset
                .map_or_else(|| CUSTOM.to_owned(), |preset| preset.to_string()),
            model,
            init_sha256: data.init.as_ref().map(|init| init.file_sha256.clone()),
            teacher_sha256: Teachers::of(data),
            backend: config.backend,
            minutes: config.budget.minutes,
            train,
        }
    }

    /// Refuses settings that differ from `saved`, the ones of an interrupted run. The steps that minutes came to
    /// may replace the minutes.
    pub(crate) fn check_same(&self, saved: &Self) -> anyhow::Result<()> {
        let mut saved = saved.clone();
        if self.minutes.is_none() {
            saved.minutes = None;
        }
        let [here, there] = [as_json(self)?, as_json(&saved)?];
        if let Some((name, here, there)) = difference("", &here, &there) {
            bail!(
                "`{name}` is {here}, the interrupted run has {there}; repeat the command that began \
                 it, or delete the file to begin anew"
            );
        }
        Ok(())
    }
}

/// A value as the JSON that is written of it. The direct way would widen 32-bit floats: 0.9 would
/// become 0.899999976.
pub(crate) fn as_json(value: &impl Serialize) -> serde_json::Result<Value> {
    serde_json::from_str(&serde_json::to_string(value)?)
}

/// The dotted name and both values of the first difference.
fn difference(name: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            // What is not set may have no key.
            let only_there = b.keys().filter(|&key| !a.contains_key(key));
            a.keys().chain(only_there).find_map(|key| {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                let [a, b] = [a, b].map(|object| object.get(key).unwrap_or(&Value::Null));
                difference(&name, a, b)
            })
        }
        (a, b) if a == b => None,
        (a, b) => Some((name.to_owned(), a.to_string(), b.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let a = json!({"model": {"d": 1, "e": 2}, "seed": 0});
        let mut b = a.clone();
        assert_eq!(difference("", &a, &b), None);
        b["model"]["e"] = json!(3);
        let (name, here, there) = difference("", &a, &b).unwrap();
        assert_eq!([name, here, there], ["model.e", "2", "3"]);
    }

    #[test]
    fn what_one_side_lacks_is_a_difference() {
        let with = json!({"train": {"average": 0.999, "seed": 0}});
        let without = json!({"train": {"seed": 0}});
        let named = |a, b| difference("", a, b).map(|(name, here, there)| [name, here, there]);
        let [set, none] = ["0.999".to_owned(), "null".to_owned()];
        let name = "train.average".to_owned();
        assert_eq!(
            named(&with, &without),
            Some([name.clone(), set.clone(), none.clone()])
        );
        assert_eq!(named(&without, &with), Some([name, none, set]));
    }
}
