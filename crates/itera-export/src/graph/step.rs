//! The step graph: one token for each sequence of a batch, by the recurrence itself.

use itera_core::config::ModelConfig;

use super::{
    builder::{Attribute, Builder, Value},
    experts::Routing,
    layers::State,
    ops::{Norm, product, reshape, silu, split, to_float, unsqueeze},
    weights::LayerWeights,
};

/// What the experts of all layers share; `None` where there is no router.
pub(super) fn routing(b: &mut Builder, c: &ModelConfig, stores_table: bool) -> Option<Routing> {
    (c.n_experts > 1).then(|| {
        let floats = to_float(b, "floats", "token");
        let rows = unsqueeze(b, "rows", &floats, 1);
        Routing::new(b, c, &rows, 1, stores_table)
    })
}

/// The mixer: `[batch, d_model]` to the same, to be added to the residual stream.
pub(super) fn mixer(
    b: &mut Builder,
    c: &ModelConfig,
    norm: &Norm,
    layer: &LayerWeights,
    u: &str,
    state: &State,
) -> Value {
    let (heads, width) = (c.n_heads() as i64, c.head_dim as i64);
    let zxbcdt = product(b, "zxbcdt", u, &layer.in_proj);
    let sizes = [c.d_inner, c.d_conv_channels(), c.n_heads()];
    let [z, xbc, dt] = split(b, ["z", "xbc_in", "dt_in"], &zxbcdt, -1, sizes);
    let xbc = convolve(b, c, layer, &xbc, state);
    let sizes = [c.d_inner, c.d_state, c.d_state];
    let [x, b_row, c_row] = split(b, ["x_in", "B_in", "C_in"], &xbc, 1, sizes);
    let x = reshape(b, "x", &x, &[0, heads, width, 1]);
    let b_row = reshape(b, "B", &b_row, &[0, 1, 1, c.d_state as i64]);
    let c_column = reshape(b, "C", &c_row, &[0, 1, c.d_state as i64, 1]);
    let biased = b.op("dt_b", "Add", &[&dt, &layer.dt_bias], vec![]);
    let dt = b.op("dt_s", "Softplus", &[&biased], vec![]);
    let dt = reshape(b, "dt", &dt, &[0, heads, 1, 1]);
    // h = exp(dt A) h + dt x B^T, [batch, h, p, d_state]
    let a = b.op("a", "Mul", &[&dt, &layer.a], vec![]);
    let decay = b.op("decay", "Exp", &[&a], vec![]);
    let left = b.op("h_left", "Mul", &[&state.past_ssm, &decay], vec![]);
    let input = b.op("dt_x", "Mul", &[&x, &dt], vec![]);
    let added = b.op("h_new", "Mul", &[&input, &b_row], vec![]);
    b.node(
        std::slice::from_ref(&state.present_ssm),
        "Add",
        &[&left, &added],
        vec![],
    );
    // y = h C + D x
    let y = b.op("h_C", "MatMul", &[&state.present_ssm, &c_column], vec![]);
    let direct = b.op("D_x", "Mul", &[&x, &layer.d], vec![]);
    let y = b.op("y_h", "Add", &[&y, &direct], vec![]);
    let y = reshape(b, "y", &y, &[0, c.d_inner as i64]);
    let gate = silu(b, "gate", &z);
    let y = b.op("gated", "Mul", &[&y, &gate], vec![]);
    let y = norm.apply(b, "y_n", &y, &layer.norm);
    product(b, "mixed", &y, &layer.out_proj)
}

/// `silu(conv(xbc))` at the newest token, `[batch, channels]`.
fn convolve(
    b: &mut Builder,
    c: &ModelConfig,
    layer: &LayerWeights,
    xbc: &str,
    state: &State,
) -> Value {
    let newest = unsqueeze(b, "xbc_n", xbc, 2);
    let axis = vec![("axis", Attribute::Int(2))];
    let window = b.op("window", "Concat", &[&state.past_conv, &newest], axis);
    let [from, to, axis] = [1, c.d_conv as i64, 2].map(|i| b.ints(&[i]));
    let last = [window.as_str(), &from, &to, &axis];
    b.node(
        std::slice::from_ref(&state.present_conv),
        "Slice",
        &last,
        vec![],
    );
    let groups = Attribute::Int(state.channels as i64);
    let taps = [window.as_str(), &layer.conv_weight, &layer.conv_bias];
    let out = b.op("conv_out", "Conv", &taps, vec![("group", groups)]);
    let out = reshape(b, "conv_r", &out, &[0, -1]);
    silu(b, "xbc", &out)
}
