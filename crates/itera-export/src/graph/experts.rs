//! The mixture of experts, for tokens in rows, `[.., d_model]`.
//!
//! A graph cannot skip the experts that no token has chosen, so all are computed, as one product:
//! `[gates of all experts; ups of all experts] = W_in u`. What was not chosen is multiplied by 0.

use itera_core::config::{self, ModelConfig};

use super::{
    builder::{Attribute, Builder, Value},
    ops::{product, reshape, silu, unsqueeze},
    weights::{Expert, LayerWeights},
};

/// What all layers share.
#[derive(Clone, Debug)]
pub(crate) struct Routing {
    /// Zeros, `[.., n_experts]`.
    zeros: Value,
    /// `[n_experts, n_experts * d_expert]`: repeats the weight of an expert for its channels, by one
    /// product. `None` does so without a table, in more nodes.
    repeat: Option<Value>,
    /// Axes before the last one.
    token_axes: usize,
}

impl Routing {
    /// For tokens that `rows` has one number each of, `[.., 1]`. `stores_table` writes a table of
    /// zeros and ones into the file.
    pub(super) fn new(
        b: &mut Builder,
        config: &ModelConfig,
        rows: &str,
        token_axes: usize,
        stores_table: bool,
    ) -> Self {
        let experts = config.n_experts;
        let zero = b.floats("no_weight", &[experts], &vec![0.0; experts]);
        Self {
            zeros: b.op("zeros", "Mul", &[rows, &zero], vec![]),
            repeat: stores_table.then(|| repeat(b, config)),
            token_axes,
        }
    }
}

/// 1 where a channel belongs to an expert.
fn repeat(b: &mut Builder, config: &ModelConfig) -> Value {
    let (experts, channels) = (config.n_experts, config.n_experts * config.d_expert);
    let belongs = |e, channel| f32::from(u8::from(channel / config.d_expert == e));
    let table: Vec<f32> = (0..experts)
        .flat_map(|e| (0..channels).map(move |channel| belongs(e, channel)))
        .collect();
    b.floats("repeat", &[experts, channels], &table)
}

/// `sum_e p_e expert_e(u)`, plus the shared expert. `routing` is `None` where there is no router.
pub(crate) fn forward(
    b: &mut Builder,
    config: &ModelConfig,
    routing: Option<&Routing>,
    layer: &LayerWeights,
    u: &str,
) -> Value {
    let active = swiglu(b, "moe", &layer.experts, u);
    let active = match (routing, &layer.router) {
        (Some(routing), Some(router)) => {
            let p = route(b, config, routing, router, u);
            weigh(b, config, routing, &active, &p)
        }
        _ => active,
    };
    let out = product(b, "moe_out", &active, &layer.experts.w_out);
    match &layer.shared {
        Some(shared) => {
            let active = swiglu(b, "all", shared, u);
            let shared = product(b, "for_all", &active, &shared.w_out);
            b.op("moe_all", "Add", &[&out, &shared], vec![])
        }
        None => out,
    }
}

/// Weights of the experts chosen, 0 for the others, `[.., n_experts]`. Of equal probabilities
/// `TopK` takes those of the lower index, as its specification demands.
fn route(b: &mut Builder, config: &ModelConfig, routing: &Routing, router: &str, u: &str) -> Value {
    let last = || vec![("axis", Attribute::Int(-1))];
    let logits = b.op("routed", "MatMul", &[u, router], vec![]);
    let k = b.ints(&[config.top_k as i64]);
    let [values, experts] = match config.routing {
        config::Routing::All => {
            let p = b.op("p", "Softmax", &[&logits], last());
            b.ops(["top_p", "top"], "TopK", &[&p, &k], last())
        }
        // The softmax of the chosen logits is that of all over the sum of the chosen, and two nodes less.
        config::Routing::Chosen => {
            let [values, experts] = b.ops(["top_logits", "top"], "TopK", &[&logits, &k], last());
            [b.op("top_p", "Softmax", &[&values], last()), experts]
        }
    };
    let inputs = [routing.zeros.as_str(), &experts, &values];
    b.op("chosen", "ScatterElements", &inputs, last())
}

/// `active`, `[.., n_experts * d_expert]`, with every channel times the weight of its expert.
fn weigh(
    b: &mut Builder,
    config: &ModelConfig,
    routing: &Routing,
    active: &str,
    weights: &str,
) -> Value {
    if let Some(repeat) = &routing.repeat {
        let weights = b.op("weights", "MatMul", &[weights, repeat], vec![]);
        return b.op("weighed", "Mul", &[active, &weights], vec![]);
    }
    let mut apart = vec![0; routing.token_axes];
    apart.extend([config.n_experts as i64, config.d_expert as i64]);
    let active = reshape(b, "apart", active, &apart);
    let weights = unsqueeze(b, "weights", weights, -1);
    let weighed = b.op("weighed_a", "Mul", &[&active, &weights], vec![]);
    apart.truncate(routing.token_axes);
    apart.push((config.n_experts * config.d_expert) as i64);
    reshape(b, "weighed", &weighed, &apart)
}

/// `silu(gate) * up` with `[gate; up] = W_in u`.
fn swiglu(b: &mut Builder, label: &str, expert: &Expert, u: &str) -> Value {
    let at = |part: &str| format!("{label}_{part}");
    let hidden = product(b, &at("in"), u, &expert.w_in);
    let halves = vec![
        ("axis", Attribute::Int(-1)),
        ("num_outputs", Attribute::Int(2)),
    ];
    let labels = [at("gate"), at("up")];
    let [gate, up] = b.ops([&labels[0], &labels[1]], "Split", &[&hidden], halves);
    let gate = silu(b, &at("silu"), &gate);
    b.op(&at("act"), "Mul", &[&gate, &up], vec![])
}
