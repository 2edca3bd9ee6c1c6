//! The form in which llama.cpp (`granitehybrid`) and transformers (`GraniteMoeHybrid`) know this model.
//!
//! | file | what |
//! |---|---|
//! | `fit` | whether a checkpoint has that form, and the command that trains one that has |
//! | `source` | a checkpoint of weights that come from such a file |
//!
//! Both caches of keys and values want a layer of attention. So an identity layer follows the last one:
//! gains of one, everything else zero. Training leaves it as it is, since each of its gradients is a
//! product with one of its zeros.

mod fit;
mod source;

use itera_core::checkpoint::{Checkpoint, Tensor};

pub(crate) use self::{
    fit::check,
    source::{Foreign, expect},
};

/// Tokens of context that a file declares. The model itself has no limit.
pub(crate) const CONTEXT: usize = 65_536;

/// Licence of the models that this project ships.
pub(crate) const LICENCE: &str = env!("CARGO_PKG_LICENSE");

/// A tensor of the checkpoint; all are there once it is validated.
pub(crate) fn tensor<'a>(checkpoint: &'a Checkpoint, name: &str) -> anyhow::Result<&'a Tensor> {
    let tensor = checkpoint.tensors.get(name);
    tensor.ok_or_else(|| anyhow::anyhow!("the checkpoint has no tensor `{name}`"))
}
