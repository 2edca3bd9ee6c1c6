//! Sizes of the model to train.

use anyhow::ensure;
use itera_core::config::{MICRO_PARAMETER_BUDGET, ModelConfig, NANO_PARAMETER_BUDGET, Preset};

use crate::args::DenseArg;

/// Sizes of the model. A preset that promises a number of parameters keeps the promise.
pub(crate) fn model_config(
    preset: Preset,
    dense: Option<DenseArg>,
    vocab_size: usize,
) -> anyhow::Result<ModelConfig> {
    let config = preset.config(vocab_size);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_vocabulary_that_fits_fits() {
        for preset in [Preset::Micro, Preset::Nano] {
            let error = model_config(preset, None, 5000).unwrap_err().to_string();
            let largest = error
                .split_whitespace()
                .rev()
                .nth(1)
                .unwrap()
                .parse()
                .unwrap();
            assert!(model_config(preset, None, largest).is_ok(), "{error}");
            assert!(model_config(preset, None, largest + 1).is_err(), "{error}");
        }
    }
}
