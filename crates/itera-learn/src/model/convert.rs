//! Between Burn modules and checkpoints.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Tensor, TensorData, Transaction},
};
use itera_core::{
    checkpoint::{Checkpoint, Tensor as StoredTensor},
    tokenizer::Tokenizer,
};
use thiserror::Error;

use super::{LanguageModel, init::trainable};

/// Values of tensors by name, row-major.
pub(crate) type Values = BTreeMap<String, Vec<f32>>;

/// Why a checkpoint cannot be loaded into a module.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The checkpoint breaks its own format.
    #[error(transparent)]
    Checkpoint(#[from] itera_core::checkpoint::CheckpointError),
}

impl LanguageModel {
    /// Loads the parameters of a checkpoint, dequantised where they are quantised.
    ///
    /// # Errors
    /// When the checkpoint breaks its own format.
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: &Device) -> Result<Self, ConvertError> {
        checkpoint.validate()?;
        let tensors = checkpoint
            .tensors
            .iter()
            .map(|(name, t)| (name.clone(), t.to_f32()));
        let model = Self::new(&checkpoint.config, 0, device);
        Ok(model.with_parameters(tensors.collect()))
    }

    /// The parameters as a checkpoint.
    pub fn to_checkpoint(&self, tokenizer: &Tokenizer, training: serde_json::Value) -> Checkpoint {
        let tensors = self.parameters().into_iter();
        Checkpoint {
            config: self.config.clone(),
            tokenizer: tokenizer.clone(),
            training,
            tensors: tensors
                .map(|(name, (shape, v))| (name, StoredTensor::f32(shape, v)))
                .collect(),
        }
    }

    /// Shape and values of every parameter by name.
    pub fn parameters(&self) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        parameters(self)
    }

    /// The same module with other values.
    ///
    /// # Panics
    /// If a parameter is missing or has another number of elements.
    #[must_use]
    pub fn with_parameters(self, values: Values) -> Self {
        with_values(self, values)
    }
}

/// Values of every parameter of a module by name.
pub(crate) fn values(module: &impl Module) -> Values {
    let parameters = parameters(module).into_iter();
    parameters
        .map(|(name, (_, values))| (name, values))
        .collect()
}

/// The same module with other values.
///
/// # Panics
/// If a parameter is missing or has another number of elements.
pub(crate) fn with_values<M: Module>(module: M, values: Values) -> M {
    module.map(&mut Replace {
        path: Path::default(),
        values,
    })
}

/// Shape and values of every parameter of a module by name.
pub(crate) fn parameters(module: &impl Module) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    let values = collect.read.execute().into_iter();
    let values = values.map(|values| values.try_into_vec().expect("parameters are f32"));
    let named = collect.shapes.into_iter().zip(values);
    named
        .map(|((name, shape), values)| (name, (shape, values)))
        .collect()
}

/// The dotted path of the module being visited.
#[derive(Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }

    pub(crate) fn name(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Default)]
struct Collect {
    path: Path,
    shapes: Vec<(String, Vec<usize>)>,
    /// All values at once, so that a card is waited for once.
    read: Transaction,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        self.shapes.push((self.path.name(), tensor.dims().to_vec()));
        self.read = std::mem::take(&mut self.read).register(tensor);
    }
}

struct Replace {
    path: Path,
    values: Values,
}

impl ModuleMapper for Replace {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let values = self
            .values
            .remove(&name)
            .unwrap_or_else(|| panic!("no values for `{name}`"));
        param.map(|old| {
            let data = TensorData::new(values, old.shape());
            trainable(Tensor::from_data(data, &old.device()))
        })
    }
}
