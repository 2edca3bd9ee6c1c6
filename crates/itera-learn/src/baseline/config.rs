//! Sizes of the baseline.

use itera_core::config::{MICRO_PARAMETER_BUDGET, Preset};
use serde::{Deserialize, Serialize};

use crate::trainer::TrainConfig;

/// Sizes of a transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerConfig {
    /// Rows of the embedding, which is also the output head.
    pub vocab_size: usize,
    /// Width of the residual stream; a multiple of `2 * n_heads`.
    pub d_model: usize,
    /// Blocks; each is attention followed by a feed-forward.
    pub n_layers: usize,
    /// Heads of queries; a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Heads of keys and values.
    pub n_kv_heads: usize,
    /// Hidden width of the feed-forward.
    pub d_ff: usize,
    /// The most tokens that are read together.
    pub context: usize,
    /// Added to the mean square inside every `RMSNorm`.
    pub norm_eps: f32,
}

impl TransformerConfig {
    /// Whether a run with these settings can train it: on text alone, in floats, within the context.
    pub const fn trains_with(&self, config: &TrainConfig) -> bool {
        config.length <= self.context && config.quantize.is_none() && config.distill.is_none()
    }

    /// The shape of `stories260K` with as wide a feed-forward as the parameters of
    /// [`Preset::Micro`] with this vocabulary allow: 286,912 of 287,417 at 512 entries.
    pub fn micro(vocab_size: usize) -> Self {
        let ours = Preset::Micro.config(vocab_size);
        let narrow = Self {
            vocab_size,
            d_model: 64,
            n_layers: 5,
            n_heads: 8,
            n_kv_heads: 4,
            d_ff: 0,
            context: 512,
            norm_eps: ours.norm_eps,
        };
        let room = ours.parameters().min(MICRO_PARAMETER_BUDGET);
        let room = room.saturating_sub(narrow.parameters());
        Self {
            d_ff: room / (narrow.n_layers * 3 * narrow.d_model),
            ..narrow
        }
    }

    /// Channels of a head.
    pub const fn head_dim(&self) -> usize {
        self.d_model / self.n_heads
    }

    /// Rows of the matrix that makes queries, keys and values.
    pub const fn d_qkv(&self) -> usize {
        (self.n_heads + 2 * self.n_kv_heads) * self.head_dim()
    }

    /// Parameters, the tied matrix counted once.
    pub const fn parameters(&self) -> usize {
        let attention = (self.d_qkv() + self.d_model) * self.d_model;
        let feed_forward = 3 * self.d_ff * self.d_model;
        let norms = 2 * self.d_model;
        self.vocab_size * self.d_model
            + self.n_layers * (attention + feed_forward + norms)
            + self.d_model
    }

    /// # Panics
    /// If the sizes do not divide into heads and pairs of channels.
    pub(super) fn check(&self) {
        let Self {
            d_model,
            n_heads,
            n_kv_heads,
            ..
        } = *self;
        assert!(
            n_heads > 0 && d_model.is_multiple_of(2 * n_heads),
            "`d_model` is {d_model}, expected a multiple of twice `n_heads` = {n_heads}"
        );
        assert!(
            n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads),
            "`n_heads` is {n_heads}, expected a multiple of `n_kv_heads` = {n_kv_heads}"
        );
        assert!(self.d_ff > 0 && self.context > 0, "a size is 0");
    }
}
