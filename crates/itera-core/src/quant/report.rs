//! The loss of each tensor, and its cost.

use crate::checkpoint::{Checkpoint, Precision, Tensor, TensorData};

/// One tensor of a quantised checkpoint beside its original.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorReport {
    /// Name in the checkpoint.
    pub name: String,
    /// Values.
    pub len: usize,
    /// How they are stored.
    pub precision: Precision,
    /// Values that share a scale; `None` for floats.
    pub group: Option<usize>,
    /// Stored bits for each value, scales included.
    pub bits_per_weight: f64,
    /// Mean of `(stored - original)^2` over the values.
    pub mean_square_error: f64,
    /// The same divided by the mean of `original^2`; 0 for a tensor of zeros.
    pub relative_error: f64,
    /// Bytes of values and scales.
    pub bytes: usize,
}

/// A row for each tensor, in the order of the forward pass.
pub(super) fn rows(original: &Checkpoint, quantised: &Checkpoint) -> Vec<TensorReport> {
    let names = original.config.tensors().into_iter().map(|spec| spec.name);
    names
        .map(|name| {
            let (before, after) = (&original.tensors[&name], &quantised.tensors[&name]);
            row(name, before, after)
        })
        .collect()
}

fn row(name: String, before: &Tensor, after: &Tensor) -> TensorReport {
    let (mut error, mut power) = (0.0, 0.0);
    for (before, after) in before.to_f32().into_iter().zip(after.to_f32()) {
        error += (f64::from(after) - f64::from(before)).powi(2);
        power += f64::from(before).powi(2);
    }
    let (len, bytes) = (after.len(), after.stored_bytes());
    TensorReport {
        name,
        len,
        precision: after.precision(),
        group: match after.data {
            TensorData::Int8 { group, .. } | TensorData::Int4 { group, .. } => Some(group),
            TensorData::F32(_) | TensorData::F16(_) => None,
        },
        bits_per_weight: 8.0 * bytes as f64 / len.max(1) as f64,
        mean_square_error: error / len.max(1) as f64,
        relative_error: if power > 0.0 { error / power } else { 0.0 },
        bytes,
    }
}
