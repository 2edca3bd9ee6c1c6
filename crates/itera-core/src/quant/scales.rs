//! The scales of a model's matrices apart from their integers, for training that sees its weights
//! rounded at every step and searches scales only now and then.

use std::collections::BTreeMap;

use half::f16;

use super::{
    Options, QuantError,
    plan::{Item, Plan},
    row::{self, Form},
};
use crate::{checkpoint::Precision, config::ModelConfig};

/// Scales of every group of every matrix that a precision of integers rounds.
#[derive(Clone, Debug)]
pub struct Scales {
    matrices: Vec<Matrix>,
}

/// A matrix and the scales of its groups, `[len / group]`.
#[derive(Clone, Debug)]
struct Matrix {
    name: String,
    form: Form,
    scales: Vec<f16>,
}

impl Scales {
    /// The scales that [`quantize`](super::quantize) with [`Options::data_free`] finds for the
    /// tensors of a model: those with the least squared error.
    ///
    /// # Errors
    /// A precision that is no integer one.
    ///
    /// # Panics
    /// If a tensor of the config is missing.
    pub fn search(
        config: &ModelConfig,
        tensors: &BTreeMap<String, Vec<f32>>,
        precision: Precision,
    ) -> Result<Self, QuantError> {
        let matrices = forms(config, precision)?.into_iter();
        let matrices = matrices.map(|(name, form)| {
            let groups = tensors[&name].chunks(form.group);
            let scales = groups.map(|group| {
                let weights: Vec<f64> = group.iter().copied().map(f64::from).collect();
                row::best_scale(&weights, &vec![1.0; weights.len()], form)
            });
            let scales = scales.collect();
            Matrix { name, form, scales }
        });
        Ok(Self {
            matrices: matrices.collect(),
        })
    }

    /// Scales as [`Scales::values`] gave them.
    ///
    /// # Errors
    /// A precision that is no integer one, or another number of scales than the model has groups.
    pub fn from_values(
        config: &ModelConfig,
        values: &BTreeMap<String, Vec<f32>>,
        precision: Precision,
    ) -> Result<Self, QuantError> {
        let specs = config.tensors();
        let len = |name: &str| {
            let spec = specs.iter().find(|spec| spec.name == name);
            spec.map_or(0, |spec| spec.shape.iter().product())
        };
        let matrices = forms(config, precision)?.into_iter().map(|(name, form)| {
            let values = values.get(&name).map_or(&[][..], Vec::as_slice);
            let (found, expected) = (values.len(), len(&name) / form.group);
            if found != expected {
                return Err(QuantError::Scales {
                    tensor: name,
                    found,
                    expected,
                });
            }
            let scales = values.iter().copied().map(f16::from_f32).collect();
            Ok(Matrix { name, form, scales })
        });
        Ok(Self {
            matrices: matrices.collect::<Result<_, _>>()?,
        })
    }

    /// The scales of each matrix by its name, in the order of its groups.
    pub fn values(&self) -> BTreeMap<String, Vec<f32>> {
        let values = |matrix: &Matrix| matrix.scales.iter().map(|scale| scale.to_f32()).collect();
        let matrices = self.matrices.iter();
        matrices
            .map(|matrix| (matrix.name.clone(), values(matrix)))
            .collect()
    }

    /// Rounds each weight to the nearest integer times its scale; other tensors stay as they are.
    ///
    /// # Panics
    /// If a matrix is missing or has another number of groups.
    pub fn round(&self, tensors: &mut BTreeMap<String, Vec<f32>>) {
        for Matrix { name, form, scales } in &self.matrices {
            let values = tensors.get_mut(name).expect("all tensors are there");
            let groups = values.chunks_mut(form.group);
            assert_eq!(groups.len(), scales.len(), "groups of {name}");
            for (group, scale) in groups.zip(scales) {
                row::round_in_place(group, *scale, *form);
            }
        }
    }
}

/// The matrices that are rounded, and how each is stored.
fn forms(config: &ModelConfig, precision: Precision) -> Result<Vec<(String, Form)>, QuantError> {
    if precision.max_integer().is_none() {
        return Err(QuantError::Precision(precision));
    }
    let plan = Plan::new(config, &Options::data_free(precision))?;
    let form = |item: Item| Some((item.name, Form::new(item.precision, item.group)?));
    Ok(plan.stages.into_iter().flatten().filter_map(form).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    /// A model whose weights are anything.
    fn tensors(config: &ModelConfig) -> BTreeMap<String, Vec<f32>> {
        let value = |at: usize| ((at * 7919 + at / 31) % 1009) as f32 / 1009.0 - 0.5;
        let specs = config.tensors().into_iter();
        let values = |shape: &[usize]| (0..shape.iter().product()).map(value).collect();
        specs.map(|spec| (spec.name, values(&spec.shape))).collect()
    }

    #[test]
    fn stored_scales_round_alike() {
        let config = Preset::Test.config(257);
        let tensors = tensors(&config);
        let searched = Scales::search(&config, &tensors, Precision::Int4).unwrap();
        let stored = Scales::from_values(&config, &searched.values(), Precision::Int4).unwrap();
        let (mut a, mut b) = (tensors.clone(), tensors.clone());
        searched.round(&mut a);
        stored.round(&mut b);
        assert_eq!(a, b);
        assert_ne!(a, tensors);
        let norm = "final_norm.weight";
        assert_eq!(a[norm], tensors[norm]);
    }

    #[test]
    fn scales_of_another_model_are_refused() {
        let config = Preset::Test.config(257);
        let searched = Scales::search(&config, &tensors(&config), Precision::Int4).unwrap();
        let mut values = searched.values();
        values.get_mut("embedding.weight").unwrap().pop();
        let result = Scales::from_values(&config, &values, Precision::Int4);
        assert!(matches!(result, Err(QuantError::Scales { .. })));
    }
}
