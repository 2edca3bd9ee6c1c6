//! Learning from feedback: a few steps of training on records of it, held near the base weights,
//! and judged by documents that take no part and by probes, texts that must not become likely.
//!
//! | file | what |
//! |---|---|
//! | `config` | settings; how the learning rate follows recent accuracy |
//! | `material` | records of feedback, replay, guard documents and probes |
//! | `rows` | how they become rows of tokens |
//! | `learn` | the steps |
//! | `judge`, `verdict` | loss of the feedback and bits per byte of the guard, by the native engine; whether the candidate may be used |
//! | `round` | the rounded candidate |
//! | `receipt` | the account of it |
//!
//! The loss of a step is a mean over the output tokens of its records, of
//! - `-ln p` for accepted and corrected outputs,
//! - `-ln(1 - p)` for rejected ones, the token-level unlikelihood of Welleck et al. 2019 (equation 4).
//!   A preference loss such as KTO's (Ethayarajh et al. 2024) would weigh whole outputs by how far
//!   the model has moved already; here the divergence term does that, token by token;
//!
//! to which come, each with a weight of its own,
//! - `KL(base || adapted)` of the predictions on the same tokens. In this direction it is, but for a
//!   constant, what the adapted model loses on text drawn from the base model, so it bounds what the
//!   guard measures. `KL(adapted || base)`, the usual one in reinforcement learning, would punish
//!   most what the base weights find unlikely, which is what corrections are there to teach;
//! - `-ln p` of replayed base text.

mod config;
mod judge;
mod learn;
mod material;
mod receipt;
mod round;
mod rows;
mod verdict;

use std::ops::ControlFlow;

use itera_core::{
    checkpoint::{Checkpoint, CheckpointError},
    model::ModelError,
    quant::QuantError,
};
use thiserror::Error;

pub use self::{
    config::{AdaptConfig, recent_accuracy_rate},
    material::{Example, GuardDocument, Material, Probe, Verdict},
    receipt::{Quantization, Receipt, weights_version},
};
use crate::{model::ConvertError, setting::SettingError};

/// Where an adaptation has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the whole adaptation.
    pub steps: usize,
    /// The loss that the step minimised, in nats.
    pub loss: f32,
}

/// A candidate, and the account of it.
#[derive(Clone, Debug)]
pub struct Adaptation {
    /// The candidate as 32-bit floats; not to be used unless the receipt says that it is accepted.
    pub checkpoint: Checkpoint,
    /// The same rounded, if the settings ask for that.
    pub quantized: Option<Checkpoint>,
    /// The account of it.
    pub receipt: Receipt,
}

/// Why nothing could be learnt. A candidate that is not accepted is not an error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Examples or guard documents are missing or unusable.
    #[error("there is {what}; {remedy}")]
    Material {
        /// The problem.
        what: &'static str,
        /// The remedy.
        remedy: &'static str,
    },
    /// A token is not in the vocabulary.
    #[error(
        "the material has token {token}, expected below {vocab_size}: it was made by another \
         tokenizer; encode it with the checkpoint's own"
    )]
    Token {
        /// The token.
        token: u32,
        /// Entries of the vocabulary.
        vocab_size: usize,
    },
    /// Base and current weights are not of one model.
    #[error(
        "base and current weights differ in sizes or tokenizer; give two checkpoints of one model"
    )]
    OtherModel,
    /// The current weights are of no use.
    #[error(
        "the current weights give {what} of {value}; go back to weights that work before learning \
         from feedback"
    )]
    NotFinite {
        /// Which figure.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// The caller stopped the adaptation; the current weights remain.
    #[error("the adaptation was stopped after {steps} steps; nothing has changed")]
    Stopped {
        /// Steps done.
        steps: usize,
    },
    /// A checkpoint is broken.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint cannot be trained.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A checkpoint cannot be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The candidate cannot be rounded.
    #[error(transparent)]
    Quantize(#[from] QuantError),
}

/// Learns from `material`, starting at `current` and held near `base`.
///
/// `progress` is told of every step and may stop the adaptation. With the same input the same
/// candidate comes out.
///
/// # Errors
/// Settings out of range, material that is empty or of another tokenizer, checkpoints that are
/// broken or of different models, and [`AdaptError::Stopped`].
pub fn adapt(
    base: &Checkpoint,
    current: &Checkpoint,
    material: Material<'_>,
    config: &AdaptConfig,
    progress: &mut dyn FnMut(Step) -> ControlFlow<()>,
) -> Result<Adaptation, AdaptError> {
    learn::run(base, current, material, config, progress)
}
