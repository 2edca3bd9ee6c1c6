//! A checkpoint of weights that come from elsewhere.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, ensure};
use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    config::ModelConfig,
    tokenizer::Tokenizer,
};
use serde_json::Value;

use super::check;

/// What a file of another form says and holds.
pub(crate) struct Foreign {
    pub(crate) config: ModelConfig,
    pub(crate) tokenizer: Tokenizer,
    /// By our names.
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Foreign {
    /// The checkpoint, with `training` for what is known of its origin.
    ///
    /// # Errors
    /// A rule of checkpoints is broken.
    pub(crate) fn into_checkpoint(self, training: Value) -> anyhow::Result<Checkpoint> {
        check(&self.config, &self.tokenizer)?;
        let checkpoint = Checkpoint {
            config: self.config,
            tokenizer: self.tokenizer,
            training,
            tensors: self.tensors,
        };
        checkpoint
            .validate()
            .context("its weights make no checkpoint")?;
        Ok(checkpoint)
    }
}

/// Refuses a setting that these runtimes have and this model does not.
///
/// # Errors
/// The setting, its value, and the one that this model has.
pub(crate) fn expect<T: PartialEq + fmt::Display>(
    name: &str,
    found: &T,
    expected: &T,
) -> anyhow::Result<()> {
    ensure!(
        found == expected,
        "`{name}` is {found}, expected {expected}: another form of the model"
    );
    Ok(())
}
