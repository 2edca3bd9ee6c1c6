//! The shape of a model: sizes, presets, and everything that follows from the sizes alone.
//!
//! The names are those of the Mamba-2 paper (Dao & Gu 2024). Derived sizes are methods, so that no
//! size is stored twice.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most parameters that a `micro` model may have, tied tensors counted once.
pub const MICRO_PARAMETER_BUDGET: usize = 293_656;

/// The most parameters that a `nano` model may have, tied tensors counted once.
pub const NANO_PARAMETER_BUDGET: usize = 100_000;

/// Upper bound of every size in a config; keeps products far from overflow in any loader.
const MAX_SIZE: usize = 1 << 16;

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

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a config cannot describe a model.
#[derive(Debug, Error, PartialEq)]
pub enum ConfigError {
    /// A size is zero or beyond what any loader should accept.
    #[error("config field `{field}` is {value}, expected 1 to {MAX_SIZE}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: usize,
    },
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

/// What a tensor is for; decides how it is initialised, decayed, quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorRole {
    /// Token embedding, tied to the output head.
    Embedding,
    /// A large matrix applied to activations; rows are outputs, columns inputs.
    Projection,
    /// Router of the experts.
    Router,
    /// Taps or bias of the depthwise convolution.
    Conv,
    /// `a_log`, `d` or `dt_bias`: dynamics of the state space.
    Dynamics,
    /// Gain of an `RMSNorm`.
    Norm,
}

/// Name, shape and role of one tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the checkpoint, for example `layers.0.mixer.in_proj.weight`.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// What the tensor is for.
    pub role: TensorRole,
}

impl TensorSpec {
    /// Elements of the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("n_layers", self.n_layers),
            ("d_inner", self.d_inner),
            ("d_state", self.d_state),
            ("head_dim", self.head_dim),
            ("d_conv", self.d_conv),
            ("n_experts", self.n_experts),
            ("top_k", self.top_k),
            ("d_expert", self.d_expert),
            ("d_shared", self.d_shared.max(1)),
            ("chunk", self.chunk),
        ];
        for (field, value) in sizes {
            if value == 0 || value > MAX_SIZE {
                return Err(ConfigError::OutOfRange { field, value });
            }
        }
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
        Ok(())
    }

    /// Every tensor of a checkpoint with this config, in the order of the forward pass.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut specs = Vec::new();
        let mut push = |name: String, shape: &[usize], role| {
            specs.push(TensorSpec {
                name,
                shape: shape.to_vec(),
                role,
            });
        };
        let (d_model, heads, channels) = (self.d_model, self.n_heads(), self.d_conv_channels());
        push(
            "embedding.weight".into(),
            &[self.vocab_size, d_model],
            TensorRole::Embedding,
        );
        for layer in 0..self.n_layers {
            let at = |part: &str| format!("layers.{layer}.{part}");
            push(at("mixer_norm.weight"), &[d_model], TensorRole::Norm);
            push(
                at("mixer.in_proj.weight"),
                &[self.d_in_proj(), d_model],
                TensorRole::Projection,
            );
            push(
                at("mixer.conv.weight"),
                &[channels, self.d_conv],
                TensorRole::Conv,
            );
            push(at("mixer.conv.bias"), &[channels], TensorRole::Conv);
            push(at("mixer.dt_bias"), &[heads], TensorRole::Dynamics);
            push(at("mixer.a_log"), &[heads], TensorRole::Dynamics);
            push(at("mixer.d"), &[heads], TensorRole::Dynamics);
            push(at("mixer.norm.weight"), &[self.d_inner], TensorRole::Norm);
            push(
                at("mixer.out_proj.weight"),
                &[d_model, self.d_inner],
                TensorRole::Projection,
            );
            push(at("moe_norm.weight"), &[d_model], TensorRole::Norm);
            if self.n_experts > 1 {
                push(
                    at("moe.router.weight"),
                    &[self.n_experts, d_model],
                    TensorRole::Router,
                );
            }
            let (experts, width) = (self.n_experts, self.d_expert);
            push(
                at("moe.w_in"),
                &[experts, 2 * width, d_model],
                TensorRole::Projection,
            );
            push(
                at("moe.w_out"),
                &[experts, d_model, width],
                TensorRole::Projection,
            );
            if self.d_shared > 0 {
                let width = self.d_shared;
                push(
                    at("moe.shared.w_in"),
                    &[2 * width, d_model],
                    TensorRole::Projection,
                );
                push(
                    at("moe.shared.w_out"),
                    &[d_model, width],
                    TensorRole::Projection,
                );
            }
        }
        push("final_norm.weight".into(), &[d_model], TensorRole::Norm);
        specs
    }

    /// Parameters of the model; the embedding serves as output head and counts once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(TensorSpec::len).sum()
    }

    /// Parameters that take part in the computation of one token: all but the experts not chosen.
    /// The embedding counts whole, because as the output head it is read whole.
    pub fn active_parameters(&self) -> usize {
        let idle_experts = self.n_experts - self.top_k;
        self.parameters() - self.n_layers * idle_experts * 3 * self.d_expert * self.d_model
    }

    /// Multiply-adds for one token in the step form, the output head included.
    ///
    /// Counted: every weight matrix, the convolution, and per state element one multiply-add for
    /// the update `h = a h + (dt x) B` (two with the decay) and one for the readout `y = h C`.
    /// Norms, activations and the router's softmax are not counted.
    pub fn multiply_adds_per_token(&self) -> usize {
        let mixer = self.d_model * self.d_in_proj()
            + self.d_conv_channels() * self.d_conv
            + 3 * self.d_inner * self.d_state
            + self.d_inner
            + self.d_inner * self.d_model;
        let router = if self.n_experts > 1 {
            self.n_experts * self.d_model
        } else {
            0
        };
        let experts = (self.top_k * self.d_expert + self.d_shared) * 3 * self.d_model;
        self.n_layers * (mixer + router + experts) + self.vocab_size * self.d_model
    }

    /// Values of recurrent state that one session carries from token to token: for every layer the
    /// SSM state `[n_heads, d_state, head_dim]` and the last `d_conv - 1` convolution inputs.
    pub const fn state_len(&self) -> usize {
        self.n_layers * (self.d_inner * self.d_state + (self.d_conv - 1) * self.d_conv_channels())
    }

    /// A model without routing and as many parameters as this one, but for the router: one expert
    /// as wide as all experts together.
    #[must_use]
    pub fn dense_twin_of_total(&self) -> Self {
        let width = self.n_experts * self.d_expert + self.d_shared;
        Self {
            n_experts: 1,
            top_k: 1,
            d_expert: width,
            d_shared: 0,
            routing: Routing::All,
            ..self.clone()
        }
    }

    /// A model without routing that computes as much per token as this one: one expert as wide as
    /// the experts that a token visits.
    #[must_use]
    pub fn dense_twin_of_active(&self) -> Self {
        let width = self.top_k * self.d_expert + self.d_shared;
        Self {
            n_experts: 1,
            top_k: 1,
            d_expert: width,
            d_shared: 0,
            routing: Routing::All,
            ..self.clone()
        }
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
    fn micro_counts_agree_with_a_count_by_hand() {
        let config = Preset::Micro.config(512);
        // in_proj (2*112 + 2*24 + 7) * 64, conv 160 * 5, dt/A/D 21, norms 64 + 112 + 64,
        // out_proj 64 * 112, router 4 * 64, experts 4 * 3 * 32 * 64
        let layer = 279 * 64 + 800 + 21 + 240 + 7168 + 256 + 24_576;
        assert_eq!(config.parameters(), 512 * 64 + 5 * layer + 64);
        assert_eq!(
            config.active_parameters(),
            config.parameters() - 5 * 2 * 3 * 32 * 64
        );
        // The matrices, 4 taps, 3 operations per state element, D, and the head.
        let madds = 279 * 64 + 160 * 4 + 3 * 112 * 24 + 112 + 7168 + 256 + 2 * 3 * 32 * 64;
        assert_eq!(config.multiply_adds_per_token(), 5 * madds + 512 * 64);
        assert_eq!(config.state_len(), 5 * (112 * 24 + 3 * 160));
    }

    #[test]
    fn dense_twins_keep_what_they_are_named_for() {
        let config = Preset::Micro.config(512);
        let router = config.n_layers * config.n_experts * config.d_model;
        assert_eq!(
            config.dense_twin_of_total().parameters(),
            config.parameters() - router
        );
        let active = config.dense_twin_of_active();
        assert_eq!(
            active.active_parameters(),
            config.active_parameters() - router
        );
        assert_eq!(active.parameters(), active.active_parameters());
    }

    #[test]
    fn broken_relations_between_sizes_are_refused() {
        let config = Preset::Test.config(257);
        assert_eq!(config.validate(), Ok(()));
        let heads = ModelConfig {
            head_dim: 7,
            ..config.clone()
        };
        assert_eq!(
            heads.validate(),
            Err(ConfigError::Heads {
                d_inner: 24,
                head_dim: 7
            })
        );
        let wide = ModelConfig {
            d_inner: 1 << 16,
            d_state: 1 << 16,
            head_dim: 1 << 16,
            ..config.clone()
        };
        assert!(matches!(wide.validate(), Err(ConfigError::State { .. })));
        let top_k = ModelConfig {
            top_k: 5,
            ..config.clone()
        };
        assert_eq!(
            top_k.validate(),
            Err(ConfigError::TopK {
                top_k: 5,
                n_experts: 4
            })
        );
        let zero = ModelConfig {
            chunk: 0,
            ..config.clone()
        };
        assert_eq!(
            zero.validate(),
            Err(ConfigError::OutOfRange {
                field: "chunk",
                value: 0
            })
        );
        let eps = ModelConfig {
            norm_eps: f32::NAN,
            ..config
        };
        assert!(matches!(eps.validate(), Err(ConfigError::NormEps(_))));
    }

    #[test]
    fn names_of_presets_round_trip() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        assert!("huge".parse::<Preset>().is_err());
    }
}
