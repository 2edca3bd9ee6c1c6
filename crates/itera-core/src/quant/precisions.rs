//! The precision of each tensor of a quantised checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::QuantError;
use crate::{
    checkpoint::Precision,
    config::{ModelConfig, TensorRole, TensorSpec},
};

/// The precision that each tensor is stored in: embedding and projections have integers, the dynamics
/// of the state space stay fp32, and norms, convolution and router, which are computed in fp32, are
/// stored as fp16: of the small tensors that saves half the bytes, and their eleven bits are finer
/// than any integer beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Precisions {
    /// For embedding and projections: int8 or int4.
    pub usual: Precision,
    /// Another one for some tensors, by name: fp32, int8 or int4 for embedding and projections,
    /// fp32 or fp16 for what stays float.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Precision>,
}

impl From<Precision> for Precisions {
    /// Without exceptions.
    fn from(usual: Precision) -> Self {
        Self {
            usual,
            overrides: BTreeMap::new(),
        }
    }
}

impl Precisions {
    /// Checks that a model can be stored so.
    ///
    /// # Errors
    /// A usual precision that is not one of integers, or that no tensor can have; an override that
    /// fits no tensor or is lower: the file is called after the usual one.
    pub fn check(&self, config: &ModelConfig) -> Result<(), QuantError> {
        if self.usual.max_integer().is_none() {
            return Err(QuantError::Precision(self.usual));
        }
        let specs = config.tensors();
        for (name, &precision) in &self.overrides {
            let refuse = |reason| QuantError::Override {
                tensor: name.clone(),
                precision,
                reason,
            };
            let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
                return Err(refuse("the model has no such tensor"));
            };
            let large = matches!(spec.role, TensorRole::Embedding | TensorRole::Projection);
            match precision {
                Precision::Fp16 if spec.role == TensorRole::Dynamics => {
                    return Err(refuse("the dynamics of the state space need every bit"));
                }
                Precision::Int4 if self.usual == Precision::Int8 => {
                    return Err(refuse(
                        "it is lower than the usual one; make int4 the usual one",
                    ));
                }
                Precision::Int8 | Precision::Int4 if !large => {
                    return Err(refuse("only embedding and projections can be integers"));
                }
                _ => {}
            }
        }
        if !specs.iter().any(|spec| self.of(spec) == self.usual) {
            return Err(QuantError::Unreached(self.usual));
        }
        Ok(())
    }

    /// The precision of one tensor. A row that int4 cannot store in groups becomes int8.
    pub(super) fn of(&self, spec: &TensorSpec) -> Precision {
        let usual = match spec.role {
            TensorRole::Embedding | TensorRole::Projection => self.usual,
            TensorRole::Dynamics => Precision::Fp32,
            TensorRole::Norm | TensorRole::Conv | TensorRole::Router => Precision::Fp16,
        };
        let wanted = self.overrides.get(&spec.name).copied().unwrap_or(usual);
        let row = spec.shape.last().copied().unwrap_or(0);
        match (wanted, wanted.group(row)) {
            (Precision::Int4, None) => Precision::Int8,
            _ => wanted,
        }
    }
}
