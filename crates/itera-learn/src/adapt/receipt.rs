//! The figures of an adaptation.

use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    digest::sha256_hex,
};
use serde::{Deserialize, Serialize};

/// The account of one adaptation, kept with the weights that it made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Records of feedback that were learnt from.
    pub records_used: usize,
    /// Updates of the weights.
    pub steps: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// How far the candidate is on the way from the weights before to those that training ended with:
    /// 1, or the largest of the shares tried that the guard allows.
    pub share: f64,
    /// Parameters whose value is another than before.
    pub parameters_changed: usize,
    /// Length of the difference of all parameters.
    pub l2_change: f64,
    /// The largest difference of one parameter.
    pub max_change: f64,
    /// Loss of the feedback before the adaptation, nats per token of the outputs:
    /// `-ln p` for wanted ones, `-ln(1 - p)` times its weight for rejected ones.
    pub feedback_loss_before: f64,
    /// The same after.
    pub feedback_loss_after: f64,
    /// Bits per byte of the guard documents by the base weights, which the guard compares with: many
    /// small losses cannot add up.
    pub guard_bits_per_byte_base: f64,
    /// The same by the weights that the adaptation started from.
    pub guard_bits_per_byte_before: f64,
    /// The same by the candidate.
    pub guard_bits_per_byte_after: f64,
    /// The largest factor by which the probability of a token of a probe, the geometric mean over the
    /// probe, is above the one of the base weights; `None` without probes.
    #[serde(default)]
    pub probe_factor: Option<f64>,
    /// Whether the candidate may be used.
    pub accepted: bool,
    /// Why, or why not.
    pub reason: String,
    /// [`weights_version`] that the adaptation started from.
    pub weights_version_before: String,
    /// [`weights_version`] of the candidate, before it was rounded.
    pub weights_version_after: String,
    /// Wall time of all of it.
    pub seconds: f64,
    /// How the candidate was rounded, if it was.
    pub quantization: Option<Quantization>,
}

/// How a candidate was rounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// 1.1 times the 95th percentile of the errors of all groups at 4 bits, each the root of the
    /// mean square of `stored - original`; 0 unless 4 bits were asked for.
    pub threshold: f64,
    /// Tensors that have 4 bits.
    pub int4: Vec<String>,
    /// Tensors that were to have 4 bits, whose error is above the threshold, and that have 8.
    pub fallen_back_to_int8: Vec<String>,
    /// [`weights_version`] of the rounded candidate.
    pub weights_version: String,
}

/// SHA-256 of the weights: of every tensor by name its name, its shape and the 32-bit floats that it
/// stands for, little-endian. Files with other notes on training have the same.
pub fn weights_version(checkpoint: &Checkpoint) -> String {
    let mut bytes = Vec::new();
    for (name, tensor) in &checkpoint.tensors {
        bytes.extend(format!("{name} {:?}\n", tensor.shape).into_bytes());
        let values = tensor.to_f32().into_iter();
        bytes.extend(values.flat_map(f32::to_le_bytes));
    }
    sha256_hex(&bytes)
}

/// The checkpoint that is `share` of the way from `before` to `after`, in 32-bit floats.
pub(super) fn between(before: &Checkpoint, after: &Checkpoint, share: f64) -> Checkpoint {
    let tensors = after.tensors.iter().map(|(name, end)| {
        let pairs = before.tensors[name].to_f32().into_iter().zip(end.to_f32());
        let mix = |(from, to): (f32, f32)| from + share as f32 * (to - from);
        let values = pairs.map(mix).collect();
        (name.clone(), Tensor::f32(end.shape.clone(), values))
    });
    Checkpoint {
        tensors: tensors.collect(),
        ..after.clone()
    }
}

/// How far `after` is from `before`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Change {
    pub(super) parameters: usize,
    pub(super) l2: f64,
    pub(super) max: f64,
}

impl Change {
    /// Of two checkpoints with the same tensors.
    pub(super) fn of(before: &Checkpoint, after: &Checkpoint) -> Self {
        let (mut change, mut squares) = (Self::default(), 0.0);
        for (name, tensor) in &before.tensors {
            let pairs = tensor
                .to_f32()
                .into_iter()
                .zip(after.tensors[name].to_f32());
            for (before, after) in pairs {
                let difference = (f64::from(after) - f64::from(before)).abs();
                change.parameters += usize::from(before.to_bits() != after.to_bits());
                change.max = change.max.max(difference);
                squares += difference * difference;
            }
        }
        change.l2 = squares.sqrt();
        change
    }
}
