//! Named sizes.

use alloc::borrow::ToOwned;
use core::{fmt, str::FromStr};

use super::{ConfigError, ModelConfig, Routing};

/// The most parameters that a `micro` model may have, tied tensors counted once.
pub const MICRO_PARAMETER_BUDGET: usize = 293_656;

/// The most parameters that a `nano` model may have, tied tensors counted once.
pub const NANO_PARAMETER_BUDGET: usize = 100_000;

/// Named sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The product: at most [`MICRO_PARAMETER_BUDGET`] parameters.
    Micro,
    /// The smallest useful model: at most [`NANO_PARAMETER_BUDGET`] parameters.
    Nano,
    /// The teacher for distillation, about 1.1 million parameters.
    Tiny,
    /// A few thousand parameters, for fast tests.
    Test,
}

impl Preset {
    /// Every preset, largest use first.
    pub const ALL: [Self; 4] = [Self::Micro, Self::Nano, Self::Tiny, Self::Test];

    /// The name used on command lines and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Nano => "nano",
            Self::Tiny => "tiny",
            Self::Test => "test",
        }
    }

    /// The config of this preset for a vocabulary of `vocab_size` entries.
    pub fn config(self, vocab_size: usize) -> ModelConfig {
        let base = ModelConfig {
            vocab_size,
            d_model: 64,
            n_layers: 5,
            d_inner: 112,
            d_state: 24,
            head_dim: 16,
            d_conv: 4,
            n_experts: 4,
            top_k: 2,
            d_expert: 32,
            d_shared: 0,
            chunk: 32,
            norm_eps: 1e-5,
            routing: Routing::All,
        };
        match self {
            Self::Micro => base,
            // Rows of multiples of 16, so that all are stored in 4 bits: a hundredth of `tiny` in floats.
            Self::Nano => ModelConfig {
                d_model: 48,
                n_layers: 2,
                d_inner: 64,
                d_state: 16,
                d_expert: 16,
                ..base
            },
            Self::Tiny => ModelConfig {
                d_model: 128,
                d_inner: 256,
                d_state: 32,
                d_expert: 64,
                ..base
            },
            Self::Test => ModelConfig {
                d_model: 16,
                n_layers: 2,
                d_inner: 24,
                d_state: 6,
                head_dim: 8,
                d_expert: 8,
                chunk: 8,
                ..base
            },
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == name)
            .ok_or_else(|| ConfigError::UnknownPreset(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_keep_their_budgets() {
        for vocab_size in [96, 257, 512] {
            assert!(Preset::Micro.config(vocab_size).parameters() <= MICRO_PARAMETER_BUDGET);
            assert!(Preset::Nano.config(vocab_size).parameters() <= NANO_PARAMETER_BUDGET);
        }
        assert!(Preset::Test.config(64).parameters() < 10_000);
        assert!((1_000_000..1_200_000).contains(&Preset::Tiny.config(512).parameters()));
    }

    #[test]
    fn names_of_presets_round_trip() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        assert!("huge".parse::<Preset>().is_err());
    }
}
