//! The Itera-Lite architecture as Burn modules, and its training.
//!
//! The only crate of the workspace that names Burn. Matrix products are Burn's; everything between them
//! runs in fused operators with hand-written backward passes that are plugged into Burn's autodiff.
//!
//! | module | what |
//! |---|---|
//! | `setting`, `backend`, `host` | checks of settings; Burn's backends; operators over host memory |
//! | `predictions` | what teachers predict |
//! | `fused` | the operators |
//! | [`model`] | the modules, in fused and in plain tensor operations |
//! | [`scoring`] | likelihood of a text |
//! | `loss`, `schedule`, `muon`, `optimizer` | loss, learning rate, optimisers |
//! | [`teacher`] | reads a text before a run that learns from it |
//! | `average`, `learner`, `grid` | parts of a training loop |
//! | [`trainer`], [`resume`] | the training loop, and its file between two runs |
//! | [`baseline`] | the transformer that the model is compared with |
//! | [`dynamic`], [`adapt`] | learning while a text is scored, and from feedback |
//!
//! A module imports only from those above it. With the feature `import` there is a module `imported`: an
//! ONNX graph that became Burn code again.

mod backend;
mod fused;
mod host;
pub mod model;
mod predictions;
pub mod scoring;
mod setting;
pub mod teacher;

mod average;
mod grid;
mod learner;
mod loss;
mod muon;
mod optimizer;
mod schedule;

pub mod baseline;
pub mod resume;
pub mod trainer;

pub mod adapt;
pub mod dynamic;
#[cfg(feature = "import")]
pub mod imported;

pub use backend::{BURN_VERSION, Backend, UnknownBackend};
pub use learner::Learns;
pub use loss::{RouterLoss, cross_entropy};
pub use optimizer::{MatrixOptimizer, OptimizerConfig};
pub use predictions::Predictions;
pub use schedule::{Decay, Schedule};
pub use setting::SettingError;
