//! The native engine, in the layout of the files.

use itera_core::{
    config::ModelConfig,
    model::{Model, Sequence, State as NativeState},
};

use super::State;

/// Calls `then` with the logits `[vocab_size]` after each of `tokens`.
pub(crate) fn read(
    model: &Model,
    tokens: &[u32],
    state: &mut NativeState,
    then: &mut dyn FnMut(&[f32]),
) {
    let Some((&first, rest)) = tokens.split_first() else {
        return;
    };
    let mut work = model.new_workspace();
    // What predicts is read, so one token more is predicted than there are; any will do.
    let mut predicted = rest.to_vec();
    predicted.push(first);
    let sequences = &mut [Sequence::predicting(&predicted, first, state)];
    model.predict_batch(sequences, &mut work, &mut |_, _, logits| then(logits));
}

/// The state of the native engine in the layout of the files.
pub(crate) fn state(config: &ModelConfig, state: &NativeState) -> State {
    let values: Vec<f32> = state.values().collect();
    let (taps, channels) = (config.d_conv - 1, config.d_conv_channels());
    let (rows, columns) = (config.d_state, config.d_inner);
    let mut parts = Vec::new();
    for layer in values.chunks_exact(rows * columns + taps * channels) {
        let (h, conv) = layer.split_at(rows * columns);
        parts.push(turn(conv, channels));
        parts.push(turn(h, columns));
    }
    State(parts)
}

/// `[rows, columns]` to `[columns, rows]`.
fn turn(values: &[f32], columns: usize) -> Vec<f32> {
    let column = |column: usize| values.iter().skip(column).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}
