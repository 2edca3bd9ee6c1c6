//! The layers one after the other: each written out, or all as one `Scan` over stacked weights.

use itera_core::{checkpoint::Checkpoint, config::ModelConfig};
use tract_onnx::pb::GraphProto;

use super::{
    Layout,
    builder::{Attribute, Builder, Value},
    describe::{float_value, untyped},
    ops::{Matrix, reshape},
    weights::{self, LayerWeights, Stored},
};

/// The recurrent state of one layer, by the names of its values.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) past_conv: Value,    // [batch, channels, d_conv - 1]
    pub(crate) past_ssm: Value,     // [batch, n_heads, head_dim, d_state]
    pub(crate) present_conv: Value, // the same after the tokens
    pub(crate) present_ssm: Value,
    pub(crate) channels: usize,
    /// Written before the names of values inside of bodies.
    prefix: String,
}

impl State {
    /// The state of layer `layer` as inputs and outputs of the graph.
    fn of_graph(config: &ModelConfig, layer: usize) -> Self {
        Self {
            past_conv: format!("past_conv.{layer}"),
            past_ssm: format!("past_ssm.{layer}"),
            present_conv: format!("present_conv.{layer}"),
            present_ssm: format!("present_ssm.{layer}"),
            channels: config.d_conv_channels(),
            prefix: format!("l{layer}."),
        }
    }

    /// The state inside of the body that stands for every layer.
    fn of_body(config: &ModelConfig) -> Self {
        Self {
            past_conv: "conv_0".to_owned(),
            past_ssm: "ssm_0".to_owned(),
            present_conv: "conv_1".to_owned(),
            present_ssm: "ssm_1".to_owned(),
            channels: config.d_conv_channels(),
            prefix: String::new(),
        }
    }

    /// The name of a value inside of a body of this layer.
    pub(crate) fn local(&self, label: &str) -> String {
        format!("{}{label}", self.prefix)
    }
}

/// The layout that is smallest for the precision of the weights: few nodes beside few bytes. Layers
/// whose weights are stored differently cannot be stacked.
pub(super) fn choose(checkpoint: &Checkpoint, wanted: Option<Layout>) -> Layout {
    let layers = all(checkpoint);
    let alike = layers
        .iter()
        .all(|layer| layer.iter().zip(&layers[0]).all(|(a, b)| a.is_like(b)));
    match wanted {
        _ if !alike => Layout::Unrolled,
        Some(layout) => layout,
        None if checkpoint.precision().max_integer().is_some() => Layout::Stacked,
        None => Layout::Unrolled,
    }
}

fn all(checkpoint: &Checkpoint) -> Vec<Vec<Stored>> {
    let layers = 0..checkpoint.config.n_layers;
    layers
        .map(|layer| weights::layer(checkpoint, layer))
        .collect()
}

/// Writes all layers; `block` writes one. Returns the residual stream after them.
pub(super) fn write(
    b: &mut Builder,
    checkpoint: &Checkpoint,
    layout: Layout,
    x: Value,
    block: &impl Fn(&mut Builder, &LayerWeights, &State, &str) -> Value,
) -> Value {
    match layout {
        Layout::Unrolled => unrolled(b, checkpoint, x, block),
        Layout::Stacked => stacked(b, checkpoint, &x, block),
    }
}

fn unrolled(
    b: &mut Builder,
    checkpoint: &Checkpoint,
    mut x: Value,
    block: &impl Fn(&mut Builder, &LayerWeights, &State, &str) -> Value,
) -> Value {
    let config = &checkpoint.config;
    for (layer, tensors) in all(checkpoint).iter().enumerate() {
        b.scope(format!("l{layer}."));
        let values = tensors.iter().map(|tensor| tensor.write(b, tensor.label));
        let layer_weights = weights::names(config, values.collect());
        x = block(b, &layer_weights, &State::of_graph(config, layer), &x);
    }
    b.scope("");
    x
}

/// One body for all layers, scanned over weights and states that are stacked along a new first axis.
fn stacked(
    b: &mut Builder,
    checkpoint: &Checkpoint,
    x: &str,
    block: &impl Fn(&mut Builder, &LayerWeights, &State, &str) -> Value,
) -> Value {
    let (config, layers) = (&checkpoint.config, all(checkpoint));
    let kinds = 0..layers[0].len();
    let stacks: Vec<Matrix> = kinds
        .map(|kind| {
            let of_all: Vec<&Stored> = layers.iter().map(|layer| &layer[kind]).collect();
            let label = format!("all.{}", of_all[0].label);
            Stored::stack(&of_all).write(b, &label)
        })
        .collect();
    let states: Vec<State> = (0..config.n_layers)
        .map(|layer| State::of_graph(config, layer))
        .collect();
    let conv_shape = [config.d_conv_channels(), config.d_conv - 1];
    let ssm_shape = [config.n_heads(), config.head_dim, config.d_state];
    let past: Vec<&str> = states
        .iter()
        .map(|state| state.past_conv.as_str())
        .collect();
    let convs = stack_states(b, "convs", &past, &conv_shape);
    let past: Vec<&str> = states.iter().map(|state| state.past_ssm.as_str()).collect();
    let ssms = stack_states(b, "ssms", &past, &ssm_shape);

    let start = b.len();
    let state = State::of_body(config);
    let inside: Vec<Matrix> = layers[0]
        .iter()
        .zip(&stacks)
        .map(|(stored, stack)| Matrix {
            value: stored.label.to_owned(),
            ..stack.clone()
        })
        .collect();
    let names: Vec<Value> = inside.iter().map(|matrix| matrix.value.clone()).collect();
    let out = block(b, &weights::names(config, inside), &state, "x_0");
    let inputs = std::iter::once("x_0").chain(names.iter().map(String::as_str));
    let inputs = inputs.chain([state.past_conv.as_str(), &state.past_ssm]);
    let outputs = [out.as_str(), &state.present_conv, &state.present_ssm];
    let body = GraphProto {
        name: super::LAYER_BODY.to_owned(),
        node: b.take_nodes(start),
        input: inputs.map(untyped).collect(),
        output: outputs.map(|name| float_value(name, None)).to_vec(),
        ..GraphProto::default()
    };

    let scanned = stacks.iter().map(|stack| stack.value.as_str());
    let inputs: Vec<&str> = std::iter::once(x)
        .chain(scanned)
        .chain([convs.as_str(), &ssms])
        .collect();
    let attributes = vec![
        ("body", Attribute::Graph(body)),
        ("num_scan_inputs", Attribute::Int(inputs.len() as i64 - 1)),
    ];
    let labels = ["x_last", "convs_new", "ssms_new"];
    let [x, convs, ssms] = b.ops(labels, "Scan", &inputs, attributes);
    let present: Vec<String> = states
        .iter()
        .map(|state| state.present_conv.clone())
        .collect();
    unstack_states(b, &convs, &present, &conv_shape);
    let present: Vec<String> = states
        .iter()
        .map(|state| state.present_ssm.clone())
        .collect();
    unstack_states(b, &ssms, &present, &ssm_shape);
    x
}

/// States of all layers as one, the layers in front. Side by side along the batch, then divided:
/// fewer nodes than a new axis for each.
fn stack_states(b: &mut Builder, label: &str, past: &[&str], shape: &[usize]) -> Value {
    let along_batch = vec![("axis", Attribute::Int(0))];
    let together = b.op(&format!("{label}_b"), "Concat", past, along_batch);
    let mut stacked = vec![past.len() as i64, -1];
    stacked.extend(shape.iter().map(|&size| size as i64));
    reshape(b, label, &together, &stacked)
}

/// The inverse of [`stack_states`].
fn unstack_states(b: &mut Builder, stacked: &str, present: &[String], shape: &[usize]) {
    let mut together = vec![-1];
    together.extend(shape.iter().map(|&size| size as i64));
    let together = reshape(b, &format!("{stacked}_b"), stacked, &together);
    let attributes = vec![
        ("axis", Attribute::Int(0)),
        ("num_outputs", Attribute::Int(present.len() as i64)),
    ];
    b.node(present, "Split", &[&together], attributes);
}
