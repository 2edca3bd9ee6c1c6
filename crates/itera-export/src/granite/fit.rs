//! Which checkpoints these runtimes can compute.

use anyhow::bail;
use itera_core::{
    config::{ModelConfig, Preset, Routing},
    tokenizer::{Tokenizer, TokenizerKind},
};
use serde_json::Value;

/// Checks that the runtimes compute what the native engine computes.
///
/// # Errors
/// Everything that differs, and the command that trains a model without these differences.
pub(crate) fn check(config: &ModelConfig, tokenizer: &Tokenizer) -> anyhow::Result<()> {
    let (fitting, differences) = fitting(config);
    if differences.is_empty() {
        return Ok(());
    }
    bail!(
        "llama.cpp and transformers do not have this form of the model: {}; train one that fits with `{}`",
        differences.join(", "),
        command(&fitting, tokenizer)
    )
}

/// The config with the fewest changes that fits, and what these changes are.
fn fitting(config: &ModelConfig) -> (ModelConfig, Vec<String>) {
    let mut fitting = config.clone();
    let mut differences = Vec::new();
    let chooses = config.n_experts > 1 && config.top_k < config.n_experts;
    if chooses && config.routing == Routing::All {
        fitting.routing = Routing::Chosen;
        differences.push("routing is all, expected chosen".to_owned());
    }
    let d_inner = 2 * config.d_model;
    if config.d_inner != d_inner {
        fitting.d_inner = d_inner;
        differences.push(format!(
            "d_inner is {}, expected 2 * d_model = {d_inner}",
            config.d_inner
        ));
    }
    if !d_inner.is_multiple_of(config.head_dim) {
        let divides = |width: &usize| d_inner.is_multiple_of(*width);
        fitting.head_dim = (1..=config.head_dim).rev().find(divides).unwrap_or(1);
        differences.push(format!(
            "head_dim is {}, expected a divisor of 2 * d_model",
            config.head_dim
        ));
    }
    if config.d_conv < 2 {
        fitting.d_conv = 4;
        differences.push("d_conv is 1, expected 2 or more".to_owned());
    }
    if config.n_experts == 1 && config.d_shared > 0 {
        fitting.d_expert += config.d_shared;
        fitting.d_shared = 0;
        differences.push(format!(
            "d_shared is {} beside a single expert, expected 0",
            config.d_shared
        ));
    }
    (fitting, differences)
}

/// The command that trains a model of a config, from the nearest preset.
fn command(config: &ModelConfig, tokenizer: &Tokenizer) -> String {
    let sizes = |preset: Preset| sizes(config, &preset.config(config.vocab_size));
    let preset = Preset::ALL
        .into_iter()
        .min_by_key(|preset| sizes(*preset).len())
        .unwrap_or(Preset::Micro);
    let mut words = vec![format!(
        "itera-train fit --preset {preset} --tokenizer {}",
        tokenizer.kind()
    )];
    if tokenizer.kind() == TokenizerKind::Bpe {
        words.push(format!("--vocab-size {}", config.vocab_size));
    }
    words.extend(sizes(preset).iter().map(|size| format!("--size {size}")));
    words.join(" ")
}

/// Fields of a config that differ from those of a preset, as `NAME=VALUE`; those that `--size` takes.
fn sizes(config: &ModelConfig, preset: &ModelConfig) -> Vec<String> {
    let fields = |config| match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (config, preset) = (fields(config), fields(preset));
    let differ = config
        .iter()
        .filter(|(name, value)| preset.get(*name) != Some(value));
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(word) => Some(format!("{name}={word}")),
        Value::Number(number) if number.is_u64() => Some(format!("{name}={number}")),
        _ => None,
    };
    differ.filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use itera_testing::bytes;

    use super::*;

    #[test]
    fn the_suggested_config_has_no_differences_left() {
        for preset in Preset::ALL {
            let odd = ModelConfig {
                head_dim: 24,
                d_inner: 48,
                d_conv: 1,
                n_experts: 1,
                top_k: 1,
                d_shared: 8,
                ..preset.config(257)
            };
            for config in [preset.config(257), odd] {
                let (fits, differences) = fitting(&config);
                assert!(!differences.is_empty());
                assert_eq!(fits.validate(), Ok(()));
                assert!(check(&fits, &bytes()).is_ok(), "{fits:?}");
            }
        }
    }

    #[test]
    fn the_command_names_what_differs_from_the_nearest_preset() {
        let nano = Preset::Nano.config(257);
        let error = check(&nano, &bytes()).unwrap_err().to_string();
        let sizes = "--preset nano --tokenizer bytes --size d_inner=96 --size routing=chosen`";
        assert!(error.ends_with(sizes), "{error}");
        assert!(
            error.contains("d_inner is 64, expected 2 * d_model = 96"),
            "{error}"
        );
    }

    #[test]
    fn routing_is_free_where_every_expert_or_none_is_chosen() {
        let config = ModelConfig {
            d_inner: 32,
            ..Preset::Test.config(257)
        };
        let all = ModelConfig {
            top_k: 4,
            ..config.clone()
        };
        assert!(check(&all, &bytes()).is_ok());
        let dense = ModelConfig {
            n_experts: 1,
            top_k: 1,
            ..config.clone()
        };
        assert!(check(&dense, &bytes()).is_ok());
        assert!(check(&config, &bytes()).is_err());
    }
}
