//! Fused operators of the forward and backward pass, each the counterpart of a formula in
//! [`crate::model`]. Tests hold their gradients against autodiff through plain tensor operations
//! (`model/paper.rs`), and losses against finite differences.
#![expect(
    clippy::inline_always,
    reason = "only code inlined into `lanes::dispatch` is compiled for the instruction set"
)]

mod attention;
mod cross_entropy;
mod distillation;
mod experts;
mod lanes;
mod objective;
mod rms_norm;
mod ssm;

pub(crate) use attention::{Attention, AttentionDims, Rope};
pub(crate) use cross_entropy::CrossEntropy;
pub(crate) use distillation::{Distilled, add_softmax};
pub(crate) use experts::Experts;
pub(crate) use objective::{Objective, Term};
pub(crate) use rms_norm::RmsNorm;
pub(crate) use ssm::{Ssm, SsmDims, SsmMemory};
