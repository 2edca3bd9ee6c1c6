//! How much each part of a layer does, by the second moments of activations on calibration text.

use std::collections::BTreeMap;

use super::{Kept, PruneError, largest};
use crate::{
    calibration::{InputMoments, Square},
    checkpoint::Checkpoint,
    config::ModelConfig,
    model::{Model, observe::Site},
};

/// The parts of a layer, scored.
pub(super) struct Layer {
    head_dim: usize,
    /// Of each head: energy that it adds to the residual stream.
    heads: Vec<f64>,
    /// Of each state column: energy of its writes times energy of its reads.
    states: Vec<f64>,
    /// Of each hidden channel of each expert: energy that it adds to the residual stream, summed over
    /// the tokens that visit.
    channels: Vec<Vec<f64>>,
    /// Of each channel of the mixer: mean square before the gain of its norm, up to a factor.
    inner: Vec<f64>,
}

/// The layers, scored on text.
pub(super) fn of(
    checkpoint: &Checkpoint,
    calibration: &[Vec<u32>],
) -> Result<Vec<Layer>, PruneError> {
    let config = &checkpoint.config;
    let sites = (0..config.n_layers).flat_map(|l| {
        let experts = (0..config.n_experts).map(move |e| (Site::ExpertOut(l, e), config.d_expert));
        let mixer = [
            (Site::InProj(l), config.d_model),
            (Site::OutProj(l), config.d_inner),
        ];
        mixer.into_iter().chain(experts)
    });
    let mut moments = InputMoments::of(sites);
    let end_of_text = checkpoint.tokenizer.end_of_text();
    Model::from_checkpoint(checkpoint)?.observe(calibration, end_of_text, false, &mut moments);
    let sums = moments.into_sums()?;
    Ok((0..config.n_layers)
        .map(|layer| score(checkpoint, layer, &sums))
        .collect())
}

fn score(checkpoint: &Checkpoint, layer: usize, sums: &BTreeMap<Site, Square>) -> Layer {
    let config = &checkpoint.config;
    let tensor = |part: &str| checkpoint.tensors[&format!("layers.{layer}.{part}")].to_f32();
    let y = &sums[&Site::OutProj(layer)];
    let channels = energy(y, &tensor("mixer.out_proj.weight"), config.d_inner);
    let heads = channels
        .chunks(config.head_dim)
        .map(|head| head.iter().sum());
    let w_out = tensor("moe.w_out");
    let experts = w_out.chunks(config.d_model * config.d_expert).enumerate();
    let norm = tensor("mixer.norm.weight");
    Layer {
        head_dim: config.head_dim,
        heads: heads.collect(),
        states: states(
            config,
            &sums[&Site::InProj(layer)],
            &tensor("mixer.in_proj.weight"),
            &tensor("mixer.conv.weight"),
        ),
        channels: experts
            .map(|(e, w_out)| energy(&sums[&Site::ExpertOut(layer, e)], w_out, config.d_expert))
            .collect(),
        inner: (0..config.d_inner)
            .map(|i| y.at(i, i) / f64::from(norm[i]).powi(2).max(f64::MIN_POSITIVE))
            .collect(),
    }
}

/// `E[x_i^2] |w_i|^2` for each column `w_i` of `w [rows, cols]`, up to a factor: the energy of what an
/// input adds to the output, the other inputs aside.
fn energy(moments: &Square, w: &[f32], cols: usize) -> Vec<f64> {
    let mut energy: Vec<f64> = vec![0.0; cols];
    for row in w.chunks(cols) {
        for (sum, w) in energy.iter_mut().zip(row) {
            *sum += f64::from(*w).powi(2);
        }
    }
    for (i, sum) in energy.iter_mut().enumerate() {
        *sum *= moments.at(i, i);
    }
    energy
}

/// Of each state column `n`: the energies of `B_n` and `C_n` multiplied, both before their silu. A column
/// that nothing writes or nothing reads does nothing.
fn states(config: &ModelConfig, u: &Square, in_proj: &[f32], conv: &[f32]) -> Vec<f64> {
    let row_energy = |channel: usize| {
        // Channels of the convolution are x, B, C; the projection has z before them.
        let w = &in_proj[(config.d_inner + channel) * config.d_model..][..config.d_model];
        let taps = &conv[channel * config.d_conv..][..config.d_conv];
        let taps: f64 = taps.iter().map(|tap| f64::from(*tap).powi(2)).sum();
        let mut energy = 0.0;
        for (i, a) in w.iter().enumerate() {
            for (j, b) in w.iter().enumerate() {
                energy += f64::from(*a) * f64::from(*b) * u.at(i, j);
            }
        }
        energy * taps
    };
    (0..config.d_state)
        .map(|n| row_energy(config.d_inner + n) * row_energy(config.d_inner + config.d_state + n))
        .collect()
}

impl Layer {
    /// The parts to keep for these sizes.
    pub(super) fn keep(&self, config: &ModelConfig) -> Kept {
        let totals: Vec<f64> = self.channels.iter().map(|c| c.iter().sum()).collect();
        let experts = largest(&totals, config.n_experts);
        Kept {
            heads: largest(&self.heads, config.n_heads()),
            states: largest(&self.states, config.d_state),
            channels: experts
                .iter()
                .map(|&e| largest(&self.channels[e], config.d_expert))
                .collect(),
            experts,
        }
    }

    /// The factor of the gain of the mixer's norm: the norm divides by the root mean square of the
    /// channels, which changes when some are gone.
    pub(super) fn norm_gain(&self, kept: &Kept) -> f32 {
        let heads = kept.heads.iter();
        let left: Vec<f64> = heads
            .flat_map(|h| &self.inner[h * self.head_dim..][..self.head_dim])
            .copied()
            .collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let ratio = mean(&left) / mean(&self.inner);
        if ratio.is_finite() && ratio > 0.0 {
            ratio.sqrt() as f32
        } else {
            1.0
        }
    }
}
