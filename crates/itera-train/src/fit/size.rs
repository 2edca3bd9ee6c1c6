//! Sizes of the model to train.

use std::str::FromStr;

use anyhow::{Context as _, ensure};
use itera_core::config::{MICRO_PARAMETER_BUDGET, ModelConfig, NANO_PARAMETER_BUDGET, Preset};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::config::DenseArg;

/// The one field that is a word.
const ROUTING: &str = "routing";

/// A field of the model's config in place of the preset's, `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SizeArg {
    name: String,
    value: Value,
}

impl FromStr for SizeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        let value = match value.parse::<usize>() {
            Ok(number) => number.into(),
            Err(_) if name == ROUTING => value.into(),
            Err(_) => return Err("expected a number after `=`".to_owned()),
        };
        let name = name.to_owned();
        Ok(Self { name, value })
    }
}

impl Serialize for SizeArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, value } = self;
        match value {
            Value::String(word) => serializer.collect_str(&format_args!("{name}={word}")),
            number => serializer.collect_str(&format_args!("{name}={number}")),
        }
    }
}

/// Sizes of the model. A preset that promises a number of parameters keeps the promise.
pub(crate) fn model_config(
    preset: Preset,
    sizes: &[SizeArg],
    dense: Option<DenseArg>,
    vocab_size: usize,
) -> anyhow::Result<ModelConfig> {
    let config = with_sizes(preset.config(vocab_size), sizes)?;
    let config = match dense {
        None => config,
        Some(DenseArg::Total) => config.dense_twin_of_total(),
        Some(DenseArg::Active) => config.dense_twin_of_active(),
    };
    let budget = match preset {
        Preset::Micro => MICRO_PARAMETER_BUDGET,
        Preset::Nano => NANO_PARAMETER_BUDGET,
        Preset::Tiny | Preset::Test => usize::MAX,
    };
    let parameters = config.parameters();
    ensure!(
        parameters <= budget,
        "preset {preset} with a vocabulary of {vocab_size} entries has {parameters} parameters, more \
         than its budget of {budget}; the largest vocabulary that fits has {} entries",
        vocab_size.saturating_sub((parameters - budget).div_ceil(config.d_model))
    );
    Ok(config)
}

/// The sizes by the names of the config's fields. The vocabulary has an option of its own.
fn with_sizes(config: ModelConfig, sizes: &[SizeArg]) -> anyhow::Result<ModelConfig> {
    if sizes.is_empty() {
        return Ok(config);
    }
    let mut fields = serde_json::to_value(&config)?;
    for SizeArg { name, value } in sizes {
        let is_size = fields.get(name).is_some_and(Value::is_u64) && name != "vocab_size";
        ensure!(
            is_size || name == ROUTING,
            "there is no size `{name}`; sizes are d_model, n_layers, d_inner, d_state, head_dim, \
             d_conv, n_experts, top_k, d_expert, d_shared, chunk, and routing, which is all or chosen"
        );
        fields[name] = value.clone();
    }
    let config: ModelConfig =
        serde_json::from_value(fields).context("the sizes do not fit together")?;
    config.validate().context("the sizes do not fit together")?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use itera_core::config::Routing;

    use super::*;

    #[test]
    fn sizes_replace_those_of_the_preset() {
        let sizes = |text: &str| -> anyhow::Result<ModelConfig> {
            let sizes: Result<Vec<SizeArg>, _> = text.split(',').map(str::parse).collect();
            model_config(Preset::Nano, &sizes.unwrap(), None, 300)
        };
        let config = sizes("d_state=8,n_layers=2").unwrap();
        assert_eq!((config.d_state, config.n_layers), (8, 2));
        let preset = Preset::Nano.config(300);
        assert_eq!(config.d_inner, preset.d_inner);
        assert_eq!(config.routing, Routing::All);
        assert_eq!(sizes("routing=chosen").unwrap().routing, Routing::Chosen);
        for (text, message) in [
            ("depth=3", "there is no size `depth`"),
            ("vocab_size=400", "there is no size `vocab_size`"),
            ("norm_eps=1", "there is no size `norm_eps`"),
            ("d_inner=100", "the sizes do not fit together"),
            ("routing=some", "the sizes do not fit together"),
            ("routing=1", "the sizes do not fit together"),
            ("d_model=96", "more than its budget"),
        ] {
            let error = format!("{:#}", sizes(text).unwrap_err());
            assert!(error.contains(message), "{text}: {error}");
        }
        assert!("d_state".parse::<SizeArg>().is_err());
        assert!("d_state=x".parse::<SizeArg>().is_err());
    }

    #[test]
    fn the_largest_vocabulary_that_fits_fits() {
        for preset in [Preset::Micro, Preset::Nano] {
            let error = model_config(preset, &[], None, 5000)
                .unwrap_err()
                .to_string();
            let largest = error
                .split_whitespace()
                .rev()
                .nth(1)
                .unwrap()
                .parse()
                .unwrap();
            assert!(model_config(preset, &[], None, largest).is_ok(), "{error}");
            assert!(
                model_config(preset, &[], None, largest + 1).is_err(),
                "{error}"
            );
        }
    }
}
