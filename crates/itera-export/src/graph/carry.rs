//! The state from chunk to chunk: `S = whole_decay S + added`, by a `Scan` or by products of matrices.
//!
//! The `Scan` takes fewer nodes, and time in proportion to the length of the text. But tract keeps the
//! state of a `Scan` inside of another from one turn to the next, so where the layers are a `Scan`
//! already, each chunk instead sums what all chunks before it have added, times the decay since. That
//! takes memory for the square of the number of chunks: 7 MB for 16,384 tokens of `micro`.

use itera_core::config::ModelConfig;
use tract_onnx::pb::{GraphProto, NodeProto};

use super::{
    builder::{Attribute, Builder, Value},
    describe::untyped,
    layers::State,
    ops::{reshape, to_float, transpose, unsqueeze},
};

/// How the state goes from chunk to chunk.
pub(super) enum Carry {
    Scan,
    Products(Tables),
}

/// What the products of all layers share. States are numbered from 0, the one before the first chunk,
/// to `c`, the one after the last.
pub(super) struct Tables {
    /// The number of chunks `c`, `[1]`, and one more.
    chunks: Value,
    states: Value,
    /// 1 where chunk `i` comes before state `z`, `[c + 1, c]`.
    before: Value,
    /// 1 where chunk `i` comes after state `j`, `[c, c + 1]`.
    after: Value,
    /// Whether state `j` comes before or is state `z`, `[c + 1, c + 1]`.
    is_past: Value,
    /// An exponent whose exponential is 0.
    never: Value,
}

impl Carry {
    /// Writes the tables; `tokens` are filled up to whole chunks.
    pub(super) fn products(b: &mut Builder, tokens: &str, chunk: i64) -> Self {
        let len = b.op(
            "len",
            "Shape",
            &[tokens],
            vec![("start", Attribute::Int(1))],
        );
        let [whole, one_more, first] = [chunk, 1, 0].map(|i| b.ints(&[i]));
        let chunks = b.op("c", "Div", &[&len, &whole], vec![]);
        let states = b.op("c1", "Add", &[&chunks, &one_more], vec![]);
        let last = b.op("c_s", "Squeeze", &[&chunks, &first], vec![]);
        let past = b.op("c1_s", "Squeeze", &[&states, &first], vec![]);
        let [zero, one] = [0, 1].map(|i| b.int(i));
        let i = b.op("chunk_i", "Range", &[&zero, &last, &one], vec![]);
        let z = b.op("state_j", "Range", &[&zero, &past, &one], vec![]);
        let rows = unsqueeze(b, "state_z", &z, 1);
        let chunk_rows = unsqueeze(b, "chunk_k", &i, 1);
        let is_before = b.op("i<z", "Greater", &[&rows, &i], vec![]);
        let is_after = b.op("i>=j", "GreaterOrEqual", &[&chunk_rows, &z], vec![]);
        Self::Products(Tables {
            before: to_float(b, "before", &is_before),
            after: to_float(b, "after_j", &is_after),
            is_past: b.op("j<=z", "GreaterOrEqual", &[&rows, &z], vec![]),
            never: b.floats("never", &[], &[-1e30]),
            chunks,
            states,
        })
    }
}

/// One `Scan` over the chunks. Gives `S Ct` with the state that enters each, `[batch, c, h, p, L]`.
pub(super) fn by_scan(b: &mut Builder, state: &State, [whole, added, ct]: [&str; 3]) -> Value {
    let at = |label: &str| state.local(label);
    let node = |label: &str, op_type: &str, inputs: [&str; 2]| NodeProto {
        input: inputs.map(at).to_vec(),
        output: vec![at(label)],
        op_type: op_type.to_owned(),
        ..NodeProto::default()
    };
    // Without shapes: tract takes a batch of 1 in the initial state and a free batch here for two things.
    let value = |label: &str| untyped(&at(label));
    let body = GraphProto {
        name: "carry".to_owned(),
        node: vec![
            node("SC", "MatMul", ["S", "Cc"]),
            node("S_left", "Mul", ["S", "w"]),
            node("S_next", "Add", ["S_left", "n"]),
        ],
        input: ["S", "w", "n", "Cc"].map(value).to_vec(),
        output: ["S_next", "SC"].map(value).to_vec(),
        ..GraphProto::default()
    };
    let attributes = vec![
        ("body", Attribute::Graph(body)),
        ("num_scan_inputs", Attribute::Int(3)),
        ("scan_input_axes", Attribute::Ints(vec![1; 3])),
        ("scan_output_axes", Attribute::Ints(vec![1])),
    ];
    let read = at("S_C");
    let outputs = [state.present_ssm.clone(), read.clone()];
    let inputs = [state.past_ssm.as_str(), whole, added, ct];
    b.node(&outputs, "Scan", &inputs, attributes);
    read
}

/// The same as `S_z = sum_{j <= z} decay_jz added_j`, with the past state as `added_0`.
pub(super) fn by_products(
    b: &mut Builder,
    c: &ModelConfig,
    tables: &Tables,
    state: &State,
    [a, added, ct]: [&str; 3],
) -> Value {
    let (heads, size) = (c.n_heads() as i64, (c.head_dim * c.d_state) as i64);
    let decays = decays(b, tables, a);
    let first = unsqueeze(b, "S_0", &state.past_ssm, 1);
    let axis = vec![("axis", Attribute::Int(1))];
    let all = b.op("added_c", "Concat", &[&first, added], axis);
    let all = transpose(b, "added_t", &all, &[0, 2, 1, 3, 4]);
    let all = reshape(b, "added_f", &all, &[0, heads, -1, size]);
    let states = b.op("S_f", "MatMul", &[&decays, &all], vec![]);
    let (p, n) = (c.head_dim as i64, c.d_state as i64);
    let states = reshape(b, "S_h", &states, &[0, heads, -1, p, n]);
    let states = transpose(b, "S", &states, &[0, 2, 1, 3, 4]);
    let [start, axis] = [0, 1].map(|i| b.ints(&[i]));
    let entering = [states.as_str(), &start, &tables.chunks, &axis];
    let entering = b.op("S_in", "Slice", &entering, vec![]);
    let last = [states.as_str(), &tables.chunks, &tables.states, &axis];
    let last = b.op("S_out", "Slice", &last, vec![]);
    b.node(
        std::slice::from_ref(&state.present_ssm),
        "Squeeze",
        &[&last, &axis],
        vec![],
    );
    b.op("S_C", "MatMul", &[&entering, ct], vec![])
}

/// `[batch, h, c + 1, c + 1]`: how much of state `j` is left in state `z`. As within chunks, sums of
/// `a` and no differences of sums.
fn decays(b: &mut Builder, tables: &Tables, a: &str) -> Value {
    let last = b.ints(&[4]);
    let keep = vec![("keepdims", Attribute::Int(0))];
    let totals = b.op("totals_c", "ReduceSum", &[a, &last], keep);
    let totals = transpose(b, "totals", &totals, &[0, 2, 1, 3]);
    let after = b.op("totals_j", "Mul", &[&totals, &tables.after], vec![]);
    let sums = b.op("totals_jz", "MatMul", &[&tables.before, &after], vec![]);
    let inputs = [tables.is_past.as_str(), &sums, &tables.never];
    let exponents = b.op("past_jz", "Where", &inputs, vec![]);
    b.op("decay_jz", "Exp", &[&exponents], vec![])
}
