//! The native forward pass.
//!
//! One block is a pre-norm state-space mixer and a pre-norm mixture of experts, each added to the
//! residual stream. The mixer is Mamba-2's SSD (Dao & Gu 2024, "Transformers are SSMs"): one
//! scalar decay per head,
//!
//! ```text
//! h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t^T      h: [d_state, d_inner]
//! y_t = C_t^T h_t + D x_t
//! ```
//!
//! Tokens are read one by one ([`Model::step`]) or many at a time ([`Model::prefill`],
//! [`Model::forward_batch`], [`Model::score`]); the projections of many tokens are then matrix
//! products, and the recurrence follows them token by token, so that both ways give the same bits.
//! Here is the order of computation; the loops themselves are in [`kernels`](crate::kernels).

mod experts;
mod forward;
mod mixer;
pub(crate) mod observe;
mod score;
mod sequence;
mod state;
mod weights;

pub use score::{Scorer, bits_per_byte};
pub use sequence::Sequence;
pub use state::{State, Workspace};
pub use weights::{Model, ModelError};
