//! Where each tensor of a checkpoint lies in a GGUF file.

use std::ops::Range;

use itera_core::config::{ModelConfig, TensorRole, TensorSpec};

/// What of our tensor theirs holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// `-exp(a_log)`.
    Decay,
    /// Of `w_in [experts, 2 * width, d_model]` the first `width` rows of each expert.
    Gate,
    /// The others.
    Up,
}

/// One tensor of theirs.
pub(super) struct Place {
    pub(super) ours: TensorSpec,
    pub(super) theirs: String,
    /// Outermost first.
    pub(super) shape: Vec<usize>,
    pub(super) part: Part,
}

impl Place {
    /// Rows of our tensor that theirs holds, in order. A row is a run along the last axis.
    pub(super) fn rows(&self) -> Vec<Range<usize>> {
        let row = self.ours.shape.last().copied().unwrap_or(1).max(1);
        let rows = self.ours.len() / row;
        let experts = match self.ours.shape.as_slice() {
            [experts, _, _] => *experts,
            _ => 1,
        };
        let width = rows / experts / 2;
        let of_expert = |e: usize| match self.part {
            Part::Gate => 2 * e * width..(2 * e + 1) * width,
            _ => (2 * e + 1) * width..(2 * e + 2) * width,
        };
        match self.part {
            Part::Whole | Part::Decay => vec![0..rows; 1],
            Part::Gate | Part::Up => (0..experts).map(of_expert).collect(),
        }
    }

    /// Whether llama.cpp multiplies or looks up this one, so that it need not be F32.
    pub(super) fn is_matrix(&self) -> bool {
        matches!(
            self.ours.role,
            TensorRole::Embedding | TensorRole::Projection
        )
    }
}

/// All tensors of a config, in the order of the forward pass.
pub(super) fn places(config: &ModelConfig) -> Vec<Place> {
    let specs = config.tensors().into_iter();
    specs.flat_map(|spec| of_tensor(config, &spec)).collect()
}

fn of_tensor(config: &ModelConfig, ours: &TensorSpec) -> Vec<Place> {
    let place = |theirs: &str, shape: &[usize], part| Place {
        ours: ours.clone(),
        theirs: theirs.to_owned(),
        shape: shape.to_vec(),
        part,
    };
    let whole = |theirs: &str| vec![place(theirs, &ours.shape, Part::Whole)];
    let Some((layer, name)) = layer_of(&ours.name) else {
        return match ours.name.as_str() {
            "embedding.weight" => whole("token_embd.weight"),
            _ => whole("output_norm.weight"),
        };
    };
    let at = |name: &str| format!("blk.{layer}.{name}");
    let is_dense = config.n_experts == 1;
    // Experts are a stack; a single one is no stack.
    let (suffix, stack) = match (name, is_dense) {
        ("moe.shared.w_in" | "moe.shared.w_out", _) => ("shexp", vec![]),
        (_, true) => ("", vec![]),
        _ => ("exps", vec![config.n_experts]),
    };
    let expert = |name: &str| match suffix {
        "" => at(&format!("ffn_{name}.weight")),
        _ => at(&format!("ffn_{name}_{suffix}.weight")),
    };
    let width = match suffix {
        "shexp" => config.d_shared,
        _ => config.d_expert,
    };
    let stacked = |sizes: [usize; 2]| [stack.as_slice(), &sizes].concat();
    let (heads, d_inner, d_model) = (config.n_heads(), config.d_inner, config.d_model);
    match name {
        "mixer_norm.weight" => whole(&at("attn_norm.weight")),
        "mixer.in_proj.weight" => whole(&at("ssm_in.weight")),
        "mixer.conv.weight" => whole(&at("ssm_conv1d.weight")),
        "mixer.conv.bias" => whole(&at("ssm_conv1d.bias")),
        "mixer.dt_bias" => whole(&at("ssm_dt.bias")),
        "mixer.a_log" => vec![place(&at("ssm_a"), &[heads, 1], Part::Decay)],
        "mixer.d" => vec![place(&at("ssm_d"), &[heads, 1], Part::Whole)],
        "mixer.norm.weight" => vec![place(&at("ssm_norm.weight"), &[1, d_inner], Part::Whole)],
        "mixer.out_proj.weight" => whole(&at("ssm_out.weight")),
        "moe_norm.weight" => whole(&at("ffn_norm.weight")),
        "moe.router.weight" => whole(&at("ffn_gate_inp.weight")),
        "moe.w_in" | "moe.shared.w_in" => vec![
            place(&expert("gate"), &stacked([width, d_model]), Part::Gate),
            place(&expert("up"), &stacked([width, d_model]), Part::Up),
        ],
        _ => vec![place(
            &expert("down"),
            &stacked([d_model, width]),
            Part::Whole,
        )],
    }
}

/// Tensors of the identity layer `layer`, with their shapes and the value that fills each.
pub(super) fn identity(config: &ModelConfig, layer: usize) -> Vec<(String, Vec<usize>, f32)> {
    let at = |name: &str| format!("blk.{layer}.{name}");
    let (d_model, head) = (config.d_model, HEAD);
    let mut tensors = vec![
        (at("attn_norm.weight"), vec![d_model], 1.0),
        (at("attn_q.weight"), vec![head, d_model], 0.0),
        (at("attn_k.weight"), vec![head, d_model], 0.0),
        (at("attn_v.weight"), vec![head, d_model], 0.0),
        (at("attn_output.weight"), vec![d_model, head], 0.0),
    ];
    // Its feed-forward has the tensors of any other layer.
    let feed_forward = config.tensors().into_iter().filter(|spec| {
        let name = layer_of(&spec.name).map(|(_, name)| name);
        spec.name.starts_with("layers.0.") && name.is_some_and(|name| name.starts_with("moe"))
    });
    tensors.extend(
        feed_forward
            .flat_map(|spec| of_tensor(config, &spec))
            .map(|place| {
                let (_, name) = place.theirs.split_once("blk.0.").unwrap_or_default();
                let value = f32::from(u8::from(place.ours.role == TensorRole::Norm));
                (at(name), place.shape, value)
            }),
    );
    tensors
}

/// Channels of the one head of the identity layer.
pub(super) const HEAD: usize = 32;

/// Layer and rest of a name `layers.LAYER.REST`.
fn layer_of(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("layers.")?.split_once('.')
}
