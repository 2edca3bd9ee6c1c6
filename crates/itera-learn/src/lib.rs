//! The Itera-Lite architecture as Burn modules, and its training.
//!
//! The only crate of the workspace that names Burn. [`model`] holds the modules; matrix products
//! are Burn's, everything between them runs in fused operators with hand-written backward passes
//! that are plugged into Burn's autodiff. [`trainer`] is the training loop. With the feature `import`
//! there is a module `imported`: an ONNX graph that became Burn code again.

pub mod adapt;
mod average;
mod backend;
pub mod baseline;
pub mod dynamic;
mod fused;
mod grid;
mod host;
#[cfg(feature = "import")]
pub mod imported;
mod learner;
mod loss;
pub mod model;
mod muon;
mod optimizer;
pub mod resume;
mod schedule;
pub mod scoring;
mod teacher;
pub mod trainer;

pub use backend::{BURN_VERSION, Backend, UnknownBackend};
pub use loss::{RouterLoss, cross_entropy};
pub use optimizer::{MatrixOptimizer, OptimizerConfig};
pub use schedule::{Decay, Schedule};
