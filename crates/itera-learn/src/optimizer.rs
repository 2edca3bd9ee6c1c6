//! The optimiser: `AdamW`, without decay for some tensors, and optionally `Muon` for the large matrices.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamGroup, ParamId},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor, TensorData, Transaction},
};
use serde::{Deserialize, Serialize};

use crate::{
    model::convert::Path,
    muon::Muon,
    setting::{SettingError, ensure},
};

/// The optimiser of the projections, which are most of the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatrixOptimizer {
    /// The optimiser of everything else.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// Steps whose singular values are all alike (Jordan et al. 2024).
    Muon,
}

/// Settings of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerConfig {
    /// Decay of the mean of the gradient.
    pub beta_1: f32,
    /// Decay of the mean of its square.
    pub beta_2: f32,
    /// Decoupled weight decay of projections, per unit of learning rate.
    pub weight_decay: f32,
    /// Largest L2 norm of the gradient of all parameters together; larger ones are scaled down.
    pub clip_norm: f32,
    /// The optimiser of the projections.
    #[serde(default)]
    pub matrices: MatrixOptimizer,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.99,
            weight_decay: 0.05,
            clip_norm: 1.0,
            matrices: MatrixOptimizer::AdamW,
        }
    }
}

impl OptimizerConfig {
    /// Checks every field.
    pub(crate) fn validate(&self) -> Result<(), SettingError> {
        for (setting, value) in [
            ("optimizer.beta_1", self.beta_1),
            ("optimizer.beta_2", self.beta_2),
        ] {
            let fits = (0.0..=0.999_999).contains(&value);
            ensure(fits, setting, value, "from 0 to below 1")?;
        }
        let (decay, clip) = (self.weight_decay, self.clip_norm);
        let decays = (0.0..=10.0).contains(&decay);
        ensure(decays, "optimizer.weight_decay", decay, "0 to 10")?;
        let clips = clip.is_finite() && clip >= 1e-6;
        ensure(clips, "optimizer.clip_norm", clip, "a number above 0")
    }
}

/// Gradients of every parameter, in the order of the module.
#[derive(Debug)]
pub(crate) struct Gradient {
    tensors: Vec<ParamGradient>,
}

/// The gradient of a parameter.
#[derive(Debug)]
struct ParamGradient {
    id: ParamId,
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// An optimiser without state, for a model whose parameters `decaying` decay and whose large matrices
/// are `projections`.
pub(crate) fn new(
    config: &OptimizerConfig,
    decaying: Vec<String>,
    projections: Vec<String>,
) -> ModuleOptimizer {
    let adam = AdamWConfig::new()
        .with_beta_1(config.beta_1)
        .with_beta_2(config.beta_2)
        .with_epsilon(1e-8)
        .with_weight_decay(0.0);
    let decaying = ParamGroup::from_paths(decaying);
    let with_decay = adam.clone().with_weight_decay(config.weight_decay);
    let optimizer =
        ModuleOptimizer::from(adam.build()).with_group(decaying, with_decay.build(), None);
    match config.matrices {
        MatrixOptimizer::AdamW => optimizer,
        MatrixOptimizer::Muon => {
            let projections = ParamGroup::from_paths(projections);
            optimizer.with_group(projections, Muon::new(config.weight_decay), None)
        }
    }
}

impl Gradient {
    /// Takes the gradients of `model` out of `grads`; parameters without one get zeros.
    pub(crate) fn collect(model: &impl Module, grads: GradientsParams) -> Self {
        let mut collect = Collect {
            grads,
            path: Path::default(),
            tensors: Vec::new(),
            read: Transaction::default(),
        };
        model.visit(&mut collect);
        let Collect {
            mut tensors, read, ..
        } = collect;
        let found = tensors.iter_mut().filter(|tensor| tensor.values.is_empty());
        for (tensor, values) in found.zip(read.execute()) {
            tensor.values = values.try_into_vec().expect("gradients are f32");
        }
        Self { tensors }
    }

    /// `self += other`.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, other) in self.tensors.iter_mut().zip(&other.tensors) {
            for (sum, value) in sum.values.iter_mut().zip(&other.values) {
                *sum += value;
            }
        }
    }

    /// Multiplies by `factor`, then scales down to an L2 norm of at most `clip_norm`. Returns the
    /// norm before clipping.
    pub(crate) fn scale_and_clip(&mut self, factor: f32, clip_norm: f32) -> f32 {
        let squares = self.tensors.iter().flat_map(|tensor| &tensor.values);
        let norm = squares
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            .sqrt() as f32;
        let norm = norm * factor;
        let factor = if norm > clip_norm {
            factor * clip_norm / norm
        } else {
            factor
        };
        for value in self
            .tensors
            .iter_mut()
            .flat_map(|tensor| &mut tensor.values)
        {
            *value *= factor;
        }
        norm
    }

    /// The gradient of each parameter by its name.
    pub(crate) fn by_name(&self) -> BTreeMap<String, Vec<f32>> {
        let tensors = self.tensors.iter();
        tensors
            .map(|tensor| (tensor.name.clone(), tensor.values.clone()))
            .collect()
    }

    /// As the optimiser wants them.
    pub(crate) fn into_params(self, device: &Device) -> GradientsParams {
        let mut grads = GradientsParams::new();
        let device = device.clone().without_autodiff();
        for ParamGradient {
            id, shape, values, ..
        } in self.tensors
        {
            macro_rules! register {
                ($rank:literal) => {
                    grads.register::<$rank>(
                        id,
                        Tensor::from_data(TensorData::new(values, shape), &device),
                    )
                };
            }
            match shape.len() {
                1 => register!(1),
                2 => register!(2),
                _ => register!(3),
            }
        }
        grads
    }
}

struct Collect {
    grads: GradientsParams,
    path: Path,
    /// Without values where they are still to be read.
    tensors: Vec<ParamGradient>,
    /// All gradients at once, so that a card is waited for once.
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
        let shape = param.lazy_shape().to_vec();
        let values = match self.grads.remove::<D>(param.id) {
            Some(grad) => {
                self.read = std::mem::take(&mut self.read).register(grad);
                Vec::new()
            }
            None => vec![0.0; shape.iter().product()],
        };
        self.tensors.push(ParamGradient {
            id: param.id,
            name: self.path.name(),
            shape,
            values,
        });
    }
}

#[cfg(test)]
mod tests {
    use itera_core::config::Preset;

    use super::*;
    use crate::model::LanguageModel;

    #[test]
    fn paths_of_parameters_are_names_of_tensors() {
        let config = Preset::Test.config(32);
        let model = LanguageModel::new(&config, 1, &Device::flex());
        let mut expected: Vec<String> = config.tensors().into_iter().map(|t| t.name).collect();
        let mut found: Vec<String> = model.parameters().into_keys().collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }
}
