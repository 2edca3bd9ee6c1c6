//! What calibration text says about a model: second moments of the inputs of its projections. Both
//! quantisation and pruning measure by them what a weight is worth.
//!
//! | file | what |
//! |---|---|
//! | `moments` | sums over the inputs while text passes |
//! | `square` | square matrices, and Cholesky |

mod moments;
mod square;

use thiserror::Error;

pub(crate) use self::{
    moments::{HeadMoments, InputMoments},
    square::{Square, dot},
};

/// The activations of a model overflow on the calibration text, so that nothing can be measured.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the activations of the checkpoint are not finite on the calibration text: its weights \
     overflow, which no rounding and no pruning repairs; train it again, at a lower rate"
)]
pub struct NotFinite;
