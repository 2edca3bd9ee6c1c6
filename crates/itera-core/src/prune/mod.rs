//! Structured pruning: whole heads, state columns, experts and expert channels go, which leaves a
//! smaller model of the same kind, with smaller matrices. No masks: a weight that is still stored and
//! multiplied saves nothing.
//!
//! | file | what |
//! |---|---|
//! | `importance` | how much each part does on calibration text |
//! | `cut` | the tensors without the parts that go |
//!
//! Every layer loses as many parts of a kind as every other, since a config has one size for all; which
//! ones is decided in each layer by itself.

mod cut;
mod importance;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::{
    calibration::NotFinite,
    checkpoint::{Checkpoint, CheckpointError, Precision},
    config::{ConfigError, ModelConfig},
    model::ModelError,
};

/// How many parts of each kind are left; `None` for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Heads of each mixer.
    pub n_heads: Option<usize>,
    /// State columns of each mixer.
    pub d_state: Option<usize>,
    /// Experts of each block.
    pub n_experts: Option<usize>,
    /// Hidden channels of each expert.
    pub d_expert: Option<usize>,
}

/// The parts that a layer keeps: indices in the original, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Heads.
    pub heads: Vec<usize>,
    /// State columns.
    pub states: Vec<usize>,
    /// Experts.
    pub experts: Vec<usize>,
    /// Hidden channels of each expert that is left.
    pub channels: Vec<Vec<usize>>,
}

/// Why a checkpoint cannot be pruned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PruneError {
    /// More is to be left than there is, or nothing.
    #[error("{left} {part} are to be left, the model has {has}; give 1 to {has}")]
    Target {
        /// The kind of part.
        part: &'static str,
        /// How many are to be left.
        left: usize,
        /// How many there are.
        has: usize,
    },
    /// Nothing is to go.
    #[error("nothing is to go; give fewer heads, state columns, experts or expert channels")]
    Nothing,
    /// The weights are integers, whose groups would be torn.
    #[error("the checkpoint is {0}; prune the fp32 checkpoint that it was made from")]
    NotFp32(Precision),
    /// There is no token to calibrate with.
    #[error("the calibration text has no token; give a longer text")]
    EmptyCalibration,
    /// The sizes that are left describe no model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The checkpoint is broken.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights overflow.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The checkpoint cannot be run on the calibration text.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// The checkpoint without the parts that do least on `calibration` (tokens of documents, end-of-text
/// not among them), and the parts that each layer keeps.
///
/// # Errors
/// Targets that do not fit the model, a checkpoint that is not fp32, text without a token.
pub fn prune(
    checkpoint: &Checkpoint,
    targets: Targets,
    calibration: &[Vec<u32>],
) -> Result<(Checkpoint, Vec<Kept>), PruneError> {
    checkpoint.validate()?;
    if checkpoint.precision() != Precision::Fp32 {
        return Err(PruneError::NotFp32(checkpoint.precision()));
    }
    let config = pruned_config(&checkpoint.config, targets)?;
    if calibration.iter().all(Vec::is_empty) {
        return Err(PruneError::EmptyCalibration);
    }
    let layers = importance::of(checkpoint, calibration)?;
    let kept: Vec<Kept> = layers.iter().map(|layer| layer.keep(&config)).collect();
    let gains: Vec<f32> = layers
        .iter()
        .zip(&kept)
        .map(|(layer, kept)| layer.norm_gain(kept))
        .collect();
    Ok((cut::cut(checkpoint, config, &kept, &gains), kept))
}

/// The sizes that are left.
fn pruned_config(config: &ModelConfig, targets: Targets) -> Result<ModelConfig, PruneError> {
    let left = |part, target: Option<usize>, has| match target {
        None => Ok(has),
        Some(left) if (1..=has).contains(&left) => Ok(left),
        Some(left) => Err(PruneError::Target { part, left, has }),
    };
    let n_experts = left("experts", targets.n_experts, config.n_experts)?;
    let pruned = ModelConfig {
        d_inner: left("heads", targets.n_heads, config.n_heads())? * config.head_dim,
        d_state: left("state columns", targets.d_state, config.d_state)?,
        n_experts,
        top_k: config.top_k.min(n_experts),
        d_expert: left("expert channels", targets.d_expert, config.d_expert)?,
        ..config.clone()
    };
    if pruned == *config {
        return Err(PruneError::Nothing);
    }
    pruned.validate()?;
    Ok(pruned)
}

/// The indices of the `count` largest scores, ascending; of equal ones the lower index.
fn largest(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let chosen: BTreeSet<usize> = order.into_iter().take(count).collect();
    chosen.into_iter().collect()
}
