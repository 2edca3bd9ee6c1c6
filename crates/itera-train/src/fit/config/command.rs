//! A run as words of a command line, and back.

use std::path::Path;

use clap::{
    Args as _,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use serde::{Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;

use super::{Budget, RunConfig};
use crate::{TOOL, fit::settings::as_json};

impl RunConfig {
    /// The command that repeats a run of `steps` steps, with every default as it is now.
    pub(crate) fn command(&self, steps: u64, output: &Path) -> anyhow::Result<Vec<String>> {
        let run = Self {
            replicas: Some(self.replicas()),
            learning_rate: Some(self.rate()),
            warmup: Some(self.warmup(steps)),
            weight_decay: Some(self.weight_decay()),
            distill: self.distill(),
            evaluate_every: Some(self.evaluate_every(steps)),
            budget: Budget {
                steps: Some(steps),
                minutes: None,
            },
            ..self.clone()
        };
        let fields = as_json(&run)?;
        let mut words = vec![TOOL.to_owned(), "fit".to_owned()];
        for argument in Self::augment_args(clap::Command::new(TOOL)).get_arguments() {
            let name = argument.get_id().as_str();
            let values = match &fields[name] {
                Value::Null => &[],
                Value::Array(values) => &values[..],
                value => std::slice::from_ref(value),
            };
            for value in values {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                words.extend([format!("--{}", name.replace('_', "-")), text]);
            }
        }
        words.extend(["--output".to_owned(), output.display().to_string()]);
        Ok(words)
    }
}

/// Parses the name by which serde knows a value; each of `choices` with its help.
pub(super) fn by_name<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    choices: &[(&'static str, &'static str)],
) -> impl TypedValueParser<Value = T> + use<T> {
    let choices = choices
        .iter()
        .map(|&(name, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(choices).try_map(|name| serde_json::from_value(Value::String(name)))
}

pub(super) fn as_typed<S: Serializer>(
    value: &impl ToString,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(super) fn as_typed_if_any<S: Serializer>(
    value: &Option<impl ToString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value
        .as_ref()
        .map(ToString::to_string)
        .serialize(serializer)
}
