//! Fused operators of the forward and backward pass, each the counterpart of a formula in
//! [`crate::model`]. Their gradients are tested against those that autodiff takes of plain tensor operations
//! (`model/paper.rs`), the objective against finite differences.
#![expect(
    clippy::inline_always,
    reason = "only what is inlined into `lanes::dispatch` is compiled for the instruction set"
)]

mod attention;
mod conv;
mod cross_entropy;
mod experts;
mod gate;
mod lanes;
mod objective;
mod rms_norm;
mod scan;
mod ssm;

pub(crate) use attention::{Attention, AttentionDims, Rope};
pub(crate) use cross_entropy::CrossEntropy;
pub(crate) use experts::Experts;
pub(crate) use objective::{Objective, Term};
pub(crate) use rms_norm::RmsNorm;
pub(crate) use ssm::{Ssm, SsmDims, SsmMemory};
