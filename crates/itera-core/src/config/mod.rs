//! The shape of a model: its sizes and their limits, presets, and everything that follows from the
//! sizes alone.
//!
//! The names are those of the Mamba-2 paper (Dao & Gu 2024). Derived sizes are methods, so that no
//! size is stored twice.

mod counts;
mod preset;
mod tensors;

use alloc::string::String;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{
    preset::{MICRO_PARAMETER_BUDGET, NANO_PARAMETER_BUDGET, Preset},
    tensors::{TensorRole, TensorSpec},
};

/// The most parameters of a model, 256 MiB of floats: larger ones could be written, but not read.
pub const MAX_PARAMETERS: u64 = 1 << 26;

/// Upper bound of most sizes; keeps products far from overflow in any loader.
const MAX_SIZE: usize = 1 << 16;

/// Most blocks: their tensors fit the header of a checkpoint.
const MAX_LAYERS: usize = 256;

/// Most experts of a block: the router compares each with every other, for every token.
const MAX_EXPERTS: usize = 256;

/// Most recurrent values of a session, 256 MiB of them.
const MAX_STATE: usize = 1 << 26;

/// Sizes of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Rows of the embedding, which is also the output head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Blocks; each is a mixer followed by a mixture-of-experts feed-forward.
    pub n_layers: usize,
    /// Channels inside the mixer; a multiple of `head_dim`.
    pub d_inner: usize,
    /// State columns per channel (the paper's N).
    pub d_state: usize,
    /// Channels per head (the paper's P); every head has one scalar decay.
    pub head_dim: usize,
    /// Taps of the causal depthwise convolution.
    pub d_conv: usize,
    /// Experts per block; 1 makes a dense feed-forward without a router.
    pub n_experts: usize,
    /// Experts that each token visits.
    pub top_k: usize,
    /// Hidden width of one expert.
    pub d_expert: usize,
    /// Hidden width of the expert that every token visits; 0 for none.
    pub d_shared: usize,
    /// Tokens per chunk of the chunked form. Changes speed, never the function computed.
    pub chunk: usize,
    /// Added to the mean square inside every `RMSNorm`.
    pub norm_eps: f32,
    /// How the weights of the chosen experts are made; left out of JSON where it is the default.
    #[serde(default, skip_serializing_if = "Routing::is_default")]
    pub routing: Routing,
}

/// Over which experts the softmax goes that weighs the outputs of the chosen ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Routing {
    /// All experts: the weights sum to less than one (Switch Transformer, Fedus et al. 2021).
    #[default]
    All,
    /// The chosen ones: the weights sum to one (Mixtral, Jiang et al. 2024; Granite).
    Chosen,
}

impl Routing {
    /// The name used on command lines and in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Chosen => "chosen",
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a config cannot describe a model.
#[derive(Debug, Error, PartialEq)]
pub enum ConfigError {
    /// A size is zero or beyond its limit.
    #[error("config field `{field}` is {value}, expected 1 to {limit}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The largest value that is accepted.
        limit: usize,
    },
    /// The checkpoint would be larger than any that is read.
    #[error("the config has {0} parameters, expected at most {MAX_PARAMETERS}")]
    Parameters(u64),
    /// `d_inner` does not divide into heads.
    #[error("config field `d_inner` is {d_inner}, expected a multiple of `head_dim` = {head_dim}")]
    Heads {
        /// Channels inside the mixer.
        d_inner: usize,
        /// Channels per head.
        head_dim: usize,
    },
    /// The state of a session would not fit into memory: no other size of a file bounds it.
    #[error(
        "config fields `n_layers`, `d_inner` and `d_state` are {n_layers}, {d_inner} and {d_state}, expected a \
         product of at most {MAX_STATE}"
    )]
    State {
        /// Blocks.
        n_layers: usize,
        /// Channels inside the mixer.
        d_inner: usize,
        /// Columns of the state of a channel.
        d_state: usize,
    },
    /// More experts are visited than exist.
    #[error("config field `top_k` is {top_k}, expected at most `n_experts` = {n_experts}")]
    TopK {
        /// Experts visited.
        top_k: usize,
        /// Experts that exist.
        n_experts: usize,
    },
    /// `norm_eps` is not a small positive number.
    #[error("config field `norm_eps` is {0}, expected a value above 0 and at most 0.1")]
    NormEps(f32),
    /// No preset has this name.
    #[error("no preset is called `{0}`; presets are micro, nano, tiny, test")]
    UnknownPreset(String),
}

impl ModelConfig {
    /// Heads of the mixer (the paper's H).
    pub const fn n_heads(&self) -> usize {
        self.d_inner / self.head_dim
    }

    /// Channels that pass through the convolution: x, B and C.
    pub const fn d_conv_channels(&self) -> usize {
        self.d_inner + 2 * self.d_state
    }

    /// Rows of the input projection: z, x, B, C and dt.
    pub const fn d_in_proj(&self) -> usize {
        2 * self.d_inner + 2 * self.d_state + self.n_heads()
    }

    /// Checks every size and every relation between sizes.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_ranges()?;
        if !self.d_inner.is_multiple_of(self.head_dim) {
            return Err(ConfigError::Heads {
                d_inner: self.d_inner,
                head_dim: self.head_dim,
            });
        }
        let state = self.d_inner.saturating_mul(self.d_state);
        if state.saturating_mul(self.n_layers) > MAX_STATE {
            return Err(ConfigError::State {
                n_layers: self.n_layers,
                d_inner: self.d_inner,
                d_state: self.d_state,
            });
        }
        if self.top_k > self.n_experts {
            return Err(ConfigError::TopK {
                top_k: self.top_k,
                n_experts: self.n_experts,
            });
        }
        if !(self.norm_eps > 0.0 && self.norm_eps <= 0.1) {
            return Err(ConfigError::NormEps(self.norm_eps));
        }
        let parameters = self.tensors().iter().map(TensorSpec::elements).sum();
        if parameters > MAX_PARAMETERS {
            return Err(ConfigError::Parameters(parameters));
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("d_model", self.d_model, MAX_SIZE),
            ("n_layers", self.n_layers, MAX_LAYERS),
            ("d_inner", self.d_inner, MAX_SIZE),
            ("d_state", self.d_state, MAX_SIZE),
            ("head_dim", self.head_dim, MAX_SIZE),
            ("d_conv", self.d_conv, MAX_SIZE),
            ("n_experts", self.n_experts, MAX_EXPERTS),
            ("top_k", self.top_k, MAX_EXPERTS),
            ("d_expert", self.d_expert, MAX_SIZE),
            ("d_shared", self.d_shared.max(1), MAX_SIZE),
            ("chunk", self.chunk, MAX_SIZE),
        ];
        for (field, value, limit) in sizes {
            if !(1..=limit).contains(&value) {
                return Err(ConfigError::OutOfRange {
                    field,
                    value,
                    limit,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of the test preset after `edit`.
    fn refusal(edit: fn(&mut ModelConfig)) -> ConfigError {
        let mut config = Preset::Test.config(257);
        assert_eq!(config.validate(), Ok(()));
        edit(&mut config);
        config.validate().unwrap_err()
    }

    #[test]
    fn sizes_have_limits() {
        let out_of_range = |field, value, limit| ConfigError::OutOfRange {
            field,
            value,
            limit,
        };
        let refused = refusal(|config| config.chunk = 0);
        assert_eq!(refused, out_of_range("chunk", 0, MAX_SIZE));
        let refused = refusal(|config| config.n_experts = 257);
        assert_eq!(refused, out_of_range("n_experts", 257, 256));
        let refused = refusal(|config| config.n_layers = 257);
        assert_eq!(refused, out_of_range("n_layers", 257, 256));
        let refused = refusal(|config| (config.d_model, config.d_expert) = (128, 22_000));
        assert!(matches!(refused, ConfigError::Parameters(_)), "{refused}");
        let refused = refusal(|config| {
            config.d_inner = 1 << 16;
            config.d_state = 1 << 16;
        });
        assert!(matches!(refused, ConfigError::State { .. }), "{refused}");
    }

    #[test]
    fn broken_relations_between_sizes_are_refused() {
        let (d_inner, head_dim) = (24, 7);
        let refused = refusal(|config| config.head_dim = 7);
        assert_eq!(refused, ConfigError::Heads { d_inner, head_dim });
        let (top_k, n_experts) = (5, 4);
        let refused = refusal(|config| config.top_k = 5);
        assert_eq!(refused, ConfigError::TopK { top_k, n_experts });
        let refused = refusal(|config| config.norm_eps = f32::NAN);
        assert!(matches!(refused, ConfigError::NormEps(_)), "{refused}");
    }
}
