//! The tensors without the parts that go.

use super::Kept;
use crate::{
    checkpoint::{Checkpoint, Tensor},
    config::ModelConfig,
};

/// The checkpoint with sizes `config`, of which `kept` is left in each layer and whose mixer norms
/// have their gains multiplied by `gains`.
pub(super) fn cut(
    checkpoint: &Checkpoint,
    config: ModelConfig,
    kept: &[Kept],
    gains: &[f32],
) -> Checkpoint {
    let mut tensors = checkpoint.tensors.clone();
    for (layer, (kept, gain)) in kept.iter().zip(gains).enumerate() {
        let at = |part: &str| format!("layers.{layer}.{part}");
        for (part, values) in cut_layer(checkpoint, layer, kept, *gain) {
            tensors.insert(at(part), values);
        }
        if config.n_experts == 1 {
            tensors.remove(&at("moe.router.weight"));
        }
    }
    // The config has the shapes; the values were laid out for them.
    for spec in config.tensors() {
        let tensor = &tensors[&spec.name];
        let values = tensor.to_f32();
        tensors.insert(spec.name, Tensor::f32(spec.shape, values));
    }
    Checkpoint {
        config,
        tensors,
        ..checkpoint.clone()
    }
}

/// The tensors of a layer that change, by their names in it.
fn cut_layer(
    checkpoint: &Checkpoint,
    layer: usize,
    kept: &Kept,
    gain: f32,
) -> Vec<(&'static str, Tensor)> {
    let config = &checkpoint.config;
    let tensor = |part: &str| {
        let tensor = checkpoint.tensors.get(&format!("layers.{layer}.{part}"));
        tensor.map_or_else(Vec::new, Tensor::to_f32)
    };
    let Channels { inner, xbc, zxbcdt } = Channels::new(config, kept);
    let rows = |part, width, rows: &[usize]| (part, of(rows_of(&tensor(part), width, rows)));
    let norm = rows_of(&tensor("mixer.norm.weight"), 1, &inner);
    let norm = norm.iter().map(|weight| gain * weight).collect();
    let out_proj = tensor("mixer.out_proj.weight");
    let (w_in, w_out) = experts(config, kept, &tensor("moe.w_in"), &tensor("moe.w_out"));
    vec![
        rows("mixer.in_proj.weight", config.d_model, &zxbcdt),
        rows("mixer.conv.weight", config.d_conv, &xbc),
        rows("mixer.conv.bias", 1, &xbc),
        rows("mixer.dt_bias", 1, &kept.heads),
        rows("mixer.a_log", 1, &kept.heads),
        rows("mixer.d", 1, &kept.heads),
        ("mixer.norm.weight", of(norm)),
        (
            "mixer.out_proj.weight",
            of(columns_of(&out_proj, config.d_inner, &inner)),
        ),
        rows(
            "moe.router.weight",
            config.d_model,
            router_rows(config, kept),
        ),
        ("moe.w_in", of(w_in)),
        ("moe.w_out", of(w_out)),
    ]
}

/// The channels of a mixer that are left, in the orders of its tensors.
struct Channels {
    /// Of x, y and z.
    inner: Vec<usize>,
    /// x, B, C, as the convolution sees them.
    xbc: Vec<usize>,
    /// z, x, B, C, dt, as the input projection gives them.
    zxbcdt: Vec<usize>,
}

impl Channels {
    fn new(config: &ModelConfig, kept: &Kept) -> Self {
        let (d_inner, d_state, head_dim) = (config.d_inner, config.d_state, config.head_dim);
        let heads = kept.heads.iter();
        let inner: Vec<usize> = heads
            .flat_map(|h| h * head_dim..(h + 1) * head_dim)
            .collect();
        let states = |start: usize| kept.states.iter().map(move |n| start + n);
        let b_and_c = states(d_inner).chain(states(d_inner + d_state));
        let xbc: Vec<usize> = inner.iter().copied().chain(b_and_c).collect();
        let dt = config.d_in_proj() - config.n_heads();
        let (z, xbc_after_z) = (inner.iter().copied(), xbc.iter().map(|c| d_inner + c));
        let dt = kept.heads.iter().map(|h| dt + h);
        let zxbcdt = z.chain(xbc_after_z).chain(dt).collect();
        Self { inner, xbc, zxbcdt }
    }
}

/// A model of one expert has no router.
fn router_rows<'a>(config: &ModelConfig, kept: &'a Kept) -> &'a [usize] {
    if config.n_experts > 1 {
        &kept.experts
    } else {
        &[]
    }
}

/// `w_in [E, 2 width, d_model]`, gates above ups, and `w_out [E, d_model, width]` of the experts and
/// channels that are left.
fn experts(config: &ModelConfig, kept: &Kept, w_in: &[f32], w_out: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (width, d_model) = (config.d_expert, config.d_model);
    let (mut ins, mut outs) = (Vec::new(), Vec::new());
    for (&e, channels) in kept.experts.iter().zip(&kept.channels) {
        let ups = channels.iter().map(|c| width + c);
        let rows: Vec<usize> = channels.iter().copied().chain(ups).collect();
        let w_in = &w_in[e * 2 * width * d_model..][..2 * width * d_model];
        ins.extend(rows_of(w_in, d_model, &rows));
        let w_out = &w_out[e * d_model * width..][..d_model * width];
        outs.extend(columns_of(w_out, width, channels));
    }
    (ins, outs)
}

/// A vector; it gets its shape where the config is known.
fn of(values: Vec<f32>) -> Tensor {
    Tensor::f32([values.len()], values)
}

fn rows_of(matrix: &[f32], width: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter()
        .flat_map(|row| &matrix[row * width..][..width])
        .copied()
        .collect()
}

fn columns_of(matrix: &[f32], width: usize, columns: &[usize]) -> Vec<f32> {
    matrix
        .chunks(width)
        .flat_map(|row| columns.iter().map(|column| row[*column]))
        .collect()
}
