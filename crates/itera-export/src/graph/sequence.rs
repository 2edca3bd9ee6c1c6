//! The sequence graph: any number of tokens at once, in the chunked form of section 6 of the paper.
//!
//! Tokens are filled up to whole chunks of `L`. Within a chunk every token sees those before it by
//! products of matrices; `carry` takes the state from chunk to chunk. Shapes, with `c` chunks and
//! heads `h` of `p` channels:
//!
//! | value | shape |
//! |---|---|
//! | `x`, `y` | `[batch, c, h, p, L]` |
//! | `Bt`, `Ct` | `[batch, c, 1, d_state, L]`, `B` turned |
//! | `dt`, `a = dt A` | `[batch, c, h, 1, L]` |
//! | `decay` | `[batch, c, h, L, L]`: `exp(a_{j+1} + .. + a_i)` from token `j` to token `i` |
//!
//! All sums of `a` come from one product with a matrix of zeros and ones, so none is a difference of
//! large numbers, and no exponent is above 0.

use itera_core::config::ModelConfig;

use super::{
    builder::{Attribute, Builder, Value},
    carry::{self, Carry},
    experts::Routing,
    layers::State,
    ops::{Norm, product, reshape, silu, split, to_float, transpose, unsqueeze},
    weights::LayerWeights,
};

/// What the layers share.
pub(super) struct Shared {
    /// Tokens filled up with -1, `[batch, c * L]`.
    pub(super) tokens: Value,
    pub(super) routing: Option<Routing>,
    /// The number of real tokens, `[1]`.
    pub(super) len: Value,
    /// The end of the last inputs of the convolution, `[1]`.
    conv_end: Value,
    /// 1 for real tokens, 0 for others, `[batch, c, 1, 1, L]`.
    real: Value,
    /// `[L, 1 + L + L + L * L]`: which `a` of a chunk add up to the exponents of the whole chunk, from
    /// each token to the end, from the start to each token, and between any two.
    sums: Value,
    /// 1 where token `j` comes before or is token `i`, `[L, L]`.
    causal: Value,
    carry: Carry,
}

impl Shared {
    /// `stores_tables` writes the tables of zeros and ones for chunks into the file, which saves nodes;
    /// else they are computed when a runtime loads the file, which saves bytes. `stores_repeat` does so
    /// for the one of the experts. `has_scan` carries the state from chunk to chunk by a `Scan`.
    pub(super) fn new(
        b: &mut Builder,
        config: &ModelConfig,
        stores_tables: bool,
        stores_repeat: bool,
        has_scan: bool,
    ) -> Self {
        let chunk = config.chunk as i64;
        let len = b.op(
            "seq",
            "Shape",
            &["tokens"],
            vec![("start", Attribute::Int(1))],
        );
        let whole = b.ints(&[chunk]);
        // -seq mod L, without a negative number, whose remainder not every runtime gets right.
        let less = b.ints(&[chunk - 1]);
        let same = b.op("seq_less", "Mul", &[&len, &less], vec![]);
        let missing = b.op("missing", "Mod", &[&same, &whole], vec![]);
        let before = b.ints(&[0, 0, 0]);
        let axis = vec![("axis", Attribute::Int(0))];
        let pads = b.op("pads", "Concat", &[&before, &missing], axis);
        let none = b.int(-1);
        let tokens = b.op("padded", "Pad", &["tokens", &pads, &none], vec![]);
        let tail = b.ints(&[config.d_conv as i64 - 1]);
        let conv_end = b.op("conv_end", "Add", &[&len, &tail], vec![]);
        let zero = b.int(0);
        let is_real = b.op("is_real", "GreaterOrEqual", &[&tokens, &zero], vec![]);
        let flags = to_float(b, "flags", &is_real);
        let real = reshape(b, "real", &flags, &[0, -1, 1, 1, chunk]);
        let (sums, causal) = if stores_tables {
            stored_tables(b, config.chunk)
        } else {
            computed_tables(b, chunk)
        };
        let carry = if has_scan {
            Carry::Scan
        } else {
            Carry::products(b, &tokens, chunk)
        };
        let routing = (config.n_experts > 1).then(|| {
            let rows = unsqueeze(b, "rows", &flags, 2);
            Routing::new(b, config, &rows, 2, stores_repeat)
        });
        Self {
            tokens,
            routing,
            len,
            conv_end,
            real,
            sums,
            causal,
            carry,
        }
    }
}

/// `sums` and `causal` of [`Shared`] as constants, but for the largest part.
fn stored_tables(b: &mut Builder, chunk: usize) -> (Value, Value) {
    let table = |holds: fn(usize, usize) -> bool| -> Vec<f32> {
        let pairs = (0..chunk).flat_map(|k| (0..chunk).map(move |i| (k, i)));
        pairs
            .map(|(k, i)| f32::from(u8::from(holds(k, i))))
            .collect()
    };
    let (after, until) = (table(|k, j| j < k), table(|k, i| k <= i));
    let mut ends = Vec::new();
    for k in 0..chunk {
        ends.push(1.0);
        ends.extend(&after[k * chunk..][..chunk]);
        ends.extend(&until[k * chunk..][..chunk]);
    }
    let after = b.floats("after", &[chunk, chunk, 1], &after);
    let causal = b.floats("causal", &[chunk, chunk], &until);
    let until = b.floats("until", &[chunk, 1, chunk], &until);
    let ends = b.floats("ends", &[chunk, 2 * chunk + 1], &ends);
    (all_sums(b, &ends, &after, &until, chunk as i64), causal)
}

/// The same from the numbers 0 to `L`.
fn computed_tables(b: &mut Builder, chunk: i64) -> (Value, Value) {
    let [zero, one, end] = [0, 1, chunk].map(|i| b.int(i));
    let columns = b.op("i", "Range", &[&zero, &end, &one], vec![]);
    let rows = unsqueeze(b, "k", &columns, 1);
    let is_until = b.op("k<=i", "LessOrEqual", &[&rows, &columns], vec![]);
    let causal = to_float(b, "causal", &is_until);
    let is_after = b.op("k>j", "Greater", &[&rows, &columns], vec![]);
    let after = to_float(b, "after", &is_after);
    let [last, past, axis] = [chunk - 1, chunk, 1].map(|i| b.ints(&[i]));
    let whole = b.op("whole", "Slice", &[&causal, &last, &past, &axis], vec![]);
    let axis = vec![("axis", Attribute::Int(1))];
    let ends = b.op("ends", "Concat", &[&whole, &after, &causal], axis);
    let after = unsqueeze(b, "after3", &after, 2);
    let until = unsqueeze(b, "until3", &causal, 1);
    (all_sums(b, &ends, &after, &until, chunk), causal)
}

fn all_sums(b: &mut Builder, ends: &str, after: &str, until: &str, chunk: i64) -> Value {
    let between = b.op("between3", "Mul", &[after, until], vec![]);
    let between = reshape(b, "between", &between, &[chunk, chunk * chunk]);
    b.op(
        "sums",
        "Concat",
        &[ends, &between],
        vec![("axis", Attribute::Int(1))],
    )
}

/// The mixer: `[batch, c * L, d_model]` to the same, to be added to the residual stream.
pub(super) fn mixer(
    b: &mut Builder,
    c: &ModelConfig,
    shared: &Shared,
    norm: &Norm,
    layer: &LayerWeights,
    u: &str,
    state: &State,
) -> Value {
    let (heads, chunk) = (c.n_heads(), c.chunk as i64);
    let zxbcdt = product(b, "zxbcdt", u, &layer.in_proj);
    let sizes = [c.d_inner, c.d_conv_channels(), heads];
    let [z, xbc, dt] = split(b, ["z", "xbc_in", "dt_in"], &zxbcdt, -1, sizes);
    let xbc = convolve(b, shared, layer, &xbc, state);
    let xbc = reshape(
        b,
        "xbc_c",
        &xbc,
        &[0, 1, c.d_conv_channels() as i64, -1, chunk],
    );
    let xbc = transpose(b, "xbc", &xbc, &[0, 3, 1, 2, 4]);
    let sizes = [c.d_inner, c.d_state, c.d_state];
    let [x, bt, ct] = split(b, ["x_c", "Bt", "Ct"], &xbc, 3, sizes);
    let x = reshape(b, "x", &x, &[0, 0, heads as i64, c.head_dim as i64, chunk]);
    let dt = step_sizes(b, c, shared, layer, &dt);
    let y = recur(b, c, shared, layer, [&x, &bt, &ct, &dt], state);
    let y = transpose(b, "y_t", &y, &[0, 1, 4, 2, 3]);
    let y = reshape(b, "y", &y, &[0, -1, c.d_inner as i64]);
    let gate = silu(b, "gate", &z);
    let y = b.op("gated", "Mul", &[&y, &gate], vec![]);
    let y = norm.apply(b, "y_n", &y, &layer.norm);
    product(b, "mixed", &y, &layer.out_proj)
}

/// `silu(conv(xbc))`, `[batch, channels, c * L]`; the last real inputs become the new state.
fn convolve(
    b: &mut Builder,
    shared: &Shared,
    layer: &LayerWeights,
    xbc: &str,
    state: &State,
) -> Value {
    let channels = transpose(b, "xbc_t", xbc, &[0, 2, 1]);
    let axis = vec![("axis", Attribute::Int(2))];
    let window = b.op("window", "Concat", &[&state.past_conv, &channels], axis);
    let time = b.ints(&[2]);
    let last = [window.as_str(), &shared.len, &shared.conv_end, &time];
    b.node(
        std::slice::from_ref(&state.present_conv),
        "Slice",
        &last,
        vec![],
    );
    let groups = Attribute::Int(state.channels as i64);
    let taps = [window.as_str(), &layer.conv_weight, &layer.conv_bias];
    let out = b.op("conv_out", "Conv", &taps, vec![("group", groups)]);
    silu(b, "conv_silu", &out)
}

/// `softplus(dt + bias)`; 0 for what was filled up, which neither decays the state nor adds to it.
fn step_sizes(
    b: &mut Builder,
    c: &ModelConfig,
    shared: &Shared,
    layer: &LayerWeights,
    dt: &str,
) -> Value {
    let biased = b.op("dt_b", "Add", &[dt, &layer.dt_bias], vec![]);
    let dt = b.op("dt_s", "Softplus", &[&biased], vec![]);
    let dt = reshape(
        b,
        "dt_c",
        &dt,
        &[0, -1, c.chunk as i64, 1, c.n_heads() as i64],
    );
    let dt = transpose(b, "dt_t", &dt, &[0, 1, 4, 3, 2]);
    b.op("dt", "Mul", &[&dt, &shared.real], vec![])
}

/// `y_i = sum_{j <= i} decay_ji (C_i . B_j) dt_j x_j + decay_i S C_i + D x_i`, with `S` the state that
/// enters the chunk.
fn recur(
    b: &mut Builder,
    c: &ModelConfig,
    shared: &Shared,
    layer: &LayerWeights,
    [x, bt, ct, dt]: [&str; 4],
    state: &State,
) -> Value {
    let (heads, chunk) = (c.n_heads() as i64, c.chunk as i64);
    let a = b.op("a", "Mul", &[dt, &layer.a], vec![]);
    let sums = b.op("exponents", "MatMul", &[&a, &shared.sums], vec![]);
    let decays = b.op("decays", "Exp", &[&sums], vec![]);
    let sizes = [1, c.chunk, c.chunk, c.chunk * c.chunk];
    let labels = ["whole_decay", "to_end", "from_start", "decay_1"];
    let [whole, to_end, from_start, decay] = split(b, labels, &decays, 4, sizes);
    let decay = reshape(b, "decay", &decay, &[0, 0, heads, chunk, chunk]);
    let inputs = b.op("dt_x", "Mul", &[x, dt], vec![]);
    // What a chunk adds to the state, `[batch, c, h, p, d_state]`.
    let b_rows = transpose(b, "B", bt, &[0, 1, 2, 4, 3]);
    let kept = b.op("kept", "Mul", &[&inputs, &to_end], vec![]);
    let added = b.op("added", "MatMul", &[&kept, &b_rows], vec![]);
    let remembered = match &shared.carry {
        Carry::Scan => carry::by_scan(b, state, [&whole, &added, ct]),
        Carry::Products(tables) => carry::by_products(b, c, tables, state, [&a, &added, ct]),
    };
    let remembered = b.op("y_past", "Mul", &[&remembered, &from_start], vec![]);
    // Within the chunk.
    let scores = b.op("B_C", "MatMul", &[&b_rows, ct], vec![]);
    let scores = b.op("B_C_causal", "Mul", &[&scores, &shared.causal], vec![]);
    let scores = b.op("scores", "Mul", &[&decay, &scores], vec![]);
    let within = b.op("y_chunk", "MatMul", &[&inputs, &scores], vec![]);
    let direct = b.op("D_x", "Mul", &[x, &layer.d], vec![]);
    b.op("y_c", "Sum", &[&within, &remembered, &direct], vec![])
}
