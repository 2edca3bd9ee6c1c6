//! `config.json` of transformers: the sizes under other names, and switches that this model does not have.

use anyhow::{Context as _, bail, ensure};
use itera_core::config::{ModelConfig, Routing};
use serde::{Deserialize, Serialize};

use crate::granite::{CONTEXT, expect};

/// The class of the model in transformers.
const CLASS: &str = "GraniteMoeHybridForCausalLM";

/// The same in a `config.json`.
const MODEL_TYPE: &str = "granitemoehybrid";

/// The fields that are written, and read with the defaults of transformers where they are left out.
#[derive(Debug, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches of another program's file"
)]
pub(super) struct HfConfig {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    model_type: String,
    pub(super) vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    #[serde(default = "silu")]
    hidden_act: String,
    #[serde(default)]
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    #[serde(default)]
    use_cache: bool,
    pad_token_id: Option<u32>,
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_id: Option<u32>,
    #[serde(default)]
    pub(super) tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default = "one")]
    embedding_multiplier: f64,
    #[serde(default = "one")]
    logits_scaling: f64,
    #[serde(default = "one")]
    residual_multiplier: f64,
    #[serde(default = "one")]
    attention_multiplier: f64,
    num_local_experts: usize,
    num_experts_per_tok: usize,
    shared_intermediate_size: usize,
    position_embedding_type: Option<String>,
    #[serde(alias = "layers_block_type")]
    layer_types: Vec<String>,
    mamba_n_heads: usize,
    mamba_n_groups: usize,
    mamba_d_state: usize,
    mamba_d_head: MambaHead,
    mamba_d_conv: usize,
    mamba_expand: usize,
    mamba_chunk_size: usize,
    #[serde(default = "yes")]
    mamba_conv_bias: bool,
    #[serde(default)]
    mamba_proj_bias: bool,
    #[serde(default)]
    dtype: Option<String>,
}

/// Channels of a head: a number, or `auto` for what the others come to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum MambaHead {
    Size(usize),
    Word(String),
}

fn silu() -> String {
    "silu".to_owned()
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

impl HfConfig {
    /// The config of a model, with the identity layer.
    pub(super) fn new(config: &ModelConfig, end_of_text: u32) -> Self {
        let mut layer_types = vec!["mamba".to_owned(); config.n_layers];
        layer_types.push("attention".to_owned());
        let is_dense = config.n_experts == 1;
        Self {
            architectures: vec![CLASS.to_owned()],
            model_type: MODEL_TYPE.to_owned(),
            vocab_size: config.vocab_size,
            hidden_size: config.d_model,
            intermediate_size: config.d_expert,
            num_hidden_layers: layer_types.len(),
            num_attention_heads: 1,
            num_key_value_heads: Some(1),
            hidden_act: silu(),
            max_position_embeddings: CONTEXT,
            rms_norm_eps: config.norm_eps,
            use_cache: true,
            pad_token_id: None,
            bos_token_id: Some(end_of_text),
            eos_token_id: Some(end_of_text),
            tie_word_embeddings: true,
            attention_bias: false,
            embedding_multiplier: 1.0,
            logits_scaling: 1.0,
            residual_multiplier: 1.0,
            attention_multiplier: 1.0,
            num_local_experts: if is_dense { 0 } else { config.n_experts },
            num_experts_per_tok: config.top_k,
            shared_intermediate_size: if is_dense {
                config.d_expert
            } else {
                config.d_shared
            },
            position_embedding_type: None,
            layer_types,
            mamba_n_heads: config.n_heads(),
            mamba_n_groups: 1,
            mamba_d_state: config.d_state,
            mamba_d_head: MambaHead::Size(config.head_dim),
            mamba_d_conv: config.d_conv,
            mamba_expand: 2,
            mamba_chunk_size: config.chunk,
            mamba_conv_bias: true,
            mamba_proj_bias: false,
            dtype: Some("float32".to_owned()),
        }
    }

    /// The sizes of the model, and the number of identity layers at the end.
    ///
    /// # Errors
    /// A field that says that this is another form of the model.
    pub(super) fn sizes(&self) -> anyhow::Result<(ModelConfig, usize)> {
        expect("model_type", &self.model_type.as_str(), &MODEL_TYPE)?;
        expect("hidden_act", &self.hidden_act.as_str(), &"silu")?;
        expect("tie_word_embeddings", &self.tie_word_embeddings, &true)?;
        expect("mamba_n_groups", &self.mamba_n_groups, &1)?;
        expect("mamba_conv_bias", &self.mamba_conv_bias, &true)?;
        expect("mamba_proj_bias", &self.mamba_proj_bias, &false)?;
        expect("attention_bias", &self.attention_bias, &false)?;
        let multipliers = [
            ("embedding_multiplier", self.embedding_multiplier),
            ("logits_scaling", self.logits_scaling),
            ("residual_multiplier", self.residual_multiplier),
        ];
        for (name, value) in multipliers {
            expect(name, &value, &1.0)?;
        }
        let is_attention = |name: &String| match name.as_str() {
            "mamba" => Ok(false),
            "attention" => Ok(true),
            _ => bail!("`layer_types` has {name:?}, expected mamba or attention"),
        };
        let attention = self.layer_types.iter().map(is_attention);
        let attention: Vec<bool> = attention.collect::<anyhow::Result<_>>()?;
        expect(
            "num_hidden_layers",
            &self.num_hidden_layers,
            &attention.len(),
        )?;
        ensure!(
            attention.is_sorted(),
            "`layer_types` has attention before mamba, expected at most identity layers at the end"
        );
        let identities = attention
            .iter()
            .filter(|is_attention| **is_attention)
            .count();
        let d_inner = self.mamba_expand.checked_mul(self.hidden_size);
        let d_inner = d_inner.context("`hidden_size` is too large")?;
        let head_dim = d_inner.checked_div(self.mamba_n_heads).unwrap_or(0);
        expect(
            "mamba_n_heads * head",
            &(head_dim * self.mamba_n_heads),
            &d_inner,
        )?;
        if let MambaHead::Size(size) = self.mamba_d_head {
            expect("mamba_d_head", &size, &head_dim)?;
        }
        let is_dense = self.num_local_experts == 0;
        Ok((
            ModelConfig {
                vocab_size: self.vocab_size,
                d_model: self.hidden_size,
                n_layers: attention.len() - identities,
                d_inner,
                d_state: self.mamba_d_state,
                head_dim,
                d_conv: self.mamba_d_conv,
                n_experts: self.num_local_experts.max(1),
                top_k: if is_dense {
                    1
                } else {
                    self.num_experts_per_tok
                },
                d_expert: if is_dense {
                    self.shared_intermediate_size
                } else {
                    self.intermediate_size
                },
                d_shared: if is_dense {
                    0
                } else {
                    self.shared_intermediate_size
                },
                chunk: self.mamba_chunk_size,
                norm_eps: self.rms_norm_eps,
                routing: if is_dense {
                    Routing::All
                } else {
                    Routing::Chosen
                },
            },
            identities,
        ))
    }
}
