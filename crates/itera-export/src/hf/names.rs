//! Where each tensor of a checkpoint lies in a folder of transformers. Each of theirs is one of ours.

use itera_core::config::{ModelConfig, TensorRole, TensorSpec};

/// A tensor of theirs.
pub(super) struct Place {
    pub(super) ours: TensorSpec,
    pub(super) theirs: String,
    pub(super) shape: Vec<usize>,
}

/// All tensors of a config, in the order of the forward pass.
pub(super) fn places(config: &ModelConfig) -> Vec<Place> {
    let specs = config.tensors().into_iter();
    specs.map(|ours| place(config, ours)).collect()
}

fn place(config: &ModelConfig, ours: TensorSpec) -> Place {
    let shape = match ours.name.rsplit_once('.') {
        Some((front, "weight")) if front.ends_with("mixer.conv") => {
            vec![config.d_conv_channels(), 1, config.d_conv]
        }
        // A single expert is no stack.
        _ if ours.shape.len() == 3 && config.n_experts == 1 => ours.shape[1..].to_vec(),
        _ => ours.shape.clone(),
    };
    let theirs = match layer_of(&ours.name) {
        Some((layer, name)) => format!("model.layers.{layer}.{}", in_layer(config, name)),
        None if ours.name == "embedding.weight" => EMBEDDING.to_owned(),
        None => "model.norm.weight".to_owned(),
    };
    Place {
        ours,
        theirs,
        shape,
    }
}

/// The embedding, which is the output head too.
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";

/// Their name of a tensor of a layer, as it is in files.
fn in_layer(config: &ModelConfig, ours: &str) -> &'static str {
    match ours {
        "mixer_norm.weight" => "input_layernorm.weight",
        "mixer.in_proj.weight" => "mamba.in_proj.weight",
        "mixer.conv.weight" => "mamba.conv1d.weight",
        "mixer.conv.bias" => "mamba.conv1d.bias",
        "mixer.dt_bias" => "mamba.dt_bias",
        "mixer.a_log" => "mamba.A_log",
        "mixer.d" => "mamba.D",
        "mixer.norm.weight" => "mamba.norm.weight",
        "mixer.out_proj.weight" => "mamba.out_proj.weight",
        "moe_norm.weight" => "post_attention_layernorm.weight",
        "moe.router.weight" => "block_sparse_moe.router.layer.weight",
        "moe.w_in" if config.n_experts > 1 => "block_sparse_moe.input_linear.weight",
        "moe.w_out" if config.n_experts > 1 => "block_sparse_moe.output_linear.weight",
        "moe.w_in" | "moe.shared.w_in" => "shared_mlp.input_linear.weight",
        _ => "shared_mlp.output_linear.weight",
    }
}

/// Names that transformers has for tensors of a model in memory, and those in files.
pub(super) const RENAMED: [(&str, &str); 3] = [
    (
        "block_sparse_moe.router.weight",
        "block_sparse_moe.router.layer.weight",
    ),
    (
        "block_sparse_moe.experts.gate_up_proj",
        "block_sparse_moe.input_linear.weight",
    ),
    (
        "block_sparse_moe.experts.down_proj",
        "block_sparse_moe.output_linear.weight",
    ),
];

/// Tensors of the identity layer, with their shapes and the value that fills each.
pub(super) fn identity(config: &ModelConfig) -> Vec<(String, Vec<usize>, f32)> {
    let at = |name: &str| format!("model.layers.{}.{name}", config.n_layers);
    let d_model = config.d_model;
    let mut tensors = vec![(at("input_layernorm.weight"), vec![d_model], 1.0)];
    tensors.extend(["q", "k", "v", "o"].map(|name| {
        let name = at(&format!("self_attn.{name}_proj.weight"));
        (name, vec![d_model, d_model], 0.0)
    }));
    // Its feed-forward has the tensors of any other layer.
    for place in places(config) {
        let name = place.ours.name.strip_prefix("layers.0.");
        if let Some(name) = name.filter(|name| name.starts_with("moe")) {
            let value = f32::from(u8::from(place.ours.role == TensorRole::Norm));
            tensors.push((at(in_layer(config, name)), place.shape, value));
        }
    }
    tensors
}

/// Tensors of shared experts of no width, which transformers has and the model does not.
pub(super) fn empty(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    if config.n_experts == 1 || config.d_shared > 0 {
        return Vec::new();
    }
    let layers = (0..=config.n_layers).flat_map(|layer| {
        let at = |name: &str| format!("model.layers.{layer}.shared_mlp.{name}.weight");
        [
            (at("input_linear"), vec![0, config.d_model]),
            (at("output_linear"), vec![config.d_model, 0]),
        ]
    });
    layers.collect()
}

/// Layer and rest of a name `layers.LAYER.REST`.
fn layer_of(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("layers.")?.split_once('.')
}
