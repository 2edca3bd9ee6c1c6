//! The scales of a model's matrices apart from their integers, for training that draws its weights to
//! multiples of them.

use std::{collections::BTreeMap, ops::RangeInclusive};

use half::f16;

use super::{
    Options, Precisions, QuantError,
    plan::{Plan, PlannedTensor},
    search::{best_scale, round_in_place},
};
use crate::{
    checkpoint::{Checkpoint, Precision, TensorData, rounding::RowFormat},
    config::ModelConfig,
};

/// Scales of every group of every matrix that a precision of integers rounds.
#[derive(Clone, Debug)]
pub struct Scales {
    matrices: Vec<MatrixScales>,
}

/// A matrix and the scales of its groups.
#[derive(Clone, Debug)]
pub struct MatrixScales {
    name: String,
    format: RowFormat,
    /// `[len / group]`. A file holds them as f16, and so they round; training moves them by less.
    pub scales: Vec<f32>,
}

impl MatrixScales {
    /// Name of the matrix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Weights that share a scale.
    pub const fn group(&self) -> usize {
        self.format.group
    }

    /// The integers that a weight can be.
    pub const fn integers(&self) -> RangeInclusive<i8> {
        self.format.low..=self.format.high
    }
}

impl Scales {
    /// The scales that [`quantize`](super::quantize) with [`Options::data_free`] finds for the
    /// tensors of a model: those with the least squared error.
    ///
    /// # Errors
    /// Precisions that the model cannot have.
    ///
    /// # Panics
    /// If a tensor of the config is missing.
    pub fn search(
        config: &ModelConfig,
        tensors: &BTreeMap<String, Vec<f32>>,
        precisions: &Precisions,
    ) -> Result<Self, QuantError> {
        let matrices = planned(config, precisions)?.into_iter();
        let matrices = matrices.map(|(item, format)| {
            let groups = tensors[&item.name].chunks(format.group);
            let scales = groups.map(|group| {
                let weights: Vec<f64> = group.iter().copied().map(f64::from).collect();
                best_scale(&weights, &vec![1.0; weights.len()], format).to_f32()
            });
            let scales = scales.collect();
            MatrixScales {
                name: item.name,
                format,
                scales,
            }
        });
        Ok(Self {
            matrices: matrices.collect(),
        })
    }

    /// The scales that a checkpoint stores, if each matrix that `precisions` round is rounded so already.
    pub fn stored(checkpoint: &Checkpoint, precisions: &Precisions) -> Option<Self> {
        let matrices = planned(&checkpoint.config, precisions).ok()?.into_iter();
        let matrices = matrices.map(|(item, format)| {
            let data = &checkpoint.tensors.get(&item.name)?.data;
            let ((Precision::Int8, TensorData::Int8 { scales, .. })
            | (Precision::Int4, TensorData::Int4 { scales, .. })) = (item.precision, data)
            else {
                return None;
            };
            let scales = scales.iter().map(|scale| scale.to_f32()).collect();
            Some(MatrixScales {
                name: item.name,
                format,
                scales,
            })
        });
        Some(Self {
            matrices: matrices.collect::<Option<_>>()?,
        })
    }

    /// Scales as [`Scales::values`] gave them.
    ///
    /// # Errors
    /// Precisions that the model cannot have, or another number of scales than it has groups.
    pub fn from_values(
        config: &ModelConfig,
        values: &BTreeMap<String, Vec<f32>>,
        precisions: &Precisions,
    ) -> Result<Self, QuantError> {
        let matrices = planned(config, precisions)?.into_iter();
        let matrices = matrices.map(|(item, format)| {
            let scales = values.get(&item.name).cloned().unwrap_or_default();
            let (found, expected) = (scales.len(), item.len / format.group);
            if found != expected {
                return Err(QuantError::Scales {
                    tensor: item.name,
                    found,
                    expected,
                });
            }
            Ok(MatrixScales {
                name: item.name,
                format,
                scales,
            })
        });
        Ok(Self {
            matrices: matrices.collect::<Result<_, _>>()?,
        })
    }

    /// The scales of each matrix by its name, in the order of its groups.
    pub fn values(&self) -> BTreeMap<String, Vec<f32>> {
        let matrices = self.matrices.iter();
        matrices
            .map(|matrix| (matrix.name.clone(), matrix.scales.clone()))
            .collect()
    }

    /// The scales of each matrix, in the order of the checkpoint.
    pub fn matrices_mut(&mut self) -> impl Iterator<Item = &mut MatrixScales> {
        self.matrices.iter_mut()
    }

    /// Rounds each weight to the nearest integer times its scale; other tensors stay as they are.
    /// [`Self::search`] finds the same integers again.
    ///
    /// # Panics
    /// If a matrix is missing or has another number of groups.
    pub fn round(&self, tensors: &mut BTreeMap<String, Vec<f32>>) {
        for MatrixScales {
            name,
            format,
            scales,
        } in &self.matrices
        {
            let values = tensors.get_mut(name).expect("all tensors are there");
            let groups = values.chunks_mut(format.group);
            assert_eq!(groups.len(), scales.len(), "groups of {name}");
            for (group, scale) in groups.zip(scales) {
                round_in_place(group, f16::from_f32(*scale), *format);
            }
        }
    }
}

/// The matrices that are rounded, and how the values that share a scale are.
fn planned(
    config: &ModelConfig,
    precisions: &Precisions,
) -> Result<Vec<(PlannedTensor, RowFormat)>, QuantError> {
    let plan = Plan::new(config, &Options::data_free(precisions.clone()))?;
    let items = plan.stages.into_iter().flatten();
    let with_format = items.filter_map(|item| {
        let format = item.format()?;
        Some((item, format))
    });
    Ok(with_format.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    fn int4() -> Precisions {
        Precision::Int4.into()
    }

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
        let searched = Scales::search(&config, &tensors, &int4()).unwrap();
        let stored = Scales::from_values(&config, &searched.values(), &int4()).unwrap();
        let (mut a, mut b) = (tensors.clone(), tensors.clone());
        searched.round(&mut a);
        stored.round(&mut b);
        assert_eq!(a, b);
        assert_ne!(a, tensors);
        let norm = "final_norm.weight";
        assert_eq!(a[norm], tensors[norm]);
    }

    #[test]
    fn what_is_rounded_is_found_again() {
        let config = Preset::Test.config(257);
        let overrides = [("layers.0.mixer.in_proj.weight".to_owned(), Precision::Int8)];
        let mixed = Precisions {
            overrides: overrides.into(),
            ..int4()
        };
        for precisions in [Precision::Int8.into(), int4(), mixed] {
            let mut scales = Scales::search(&config, &tensors(&config), &precisions).unwrap();
            // Scales that no search would choose: few of the integers are used, or many are cut off.
            for (at, scale) in scales
                .matrices
                .iter_mut()
                .flat_map(|m| &mut m.scales)
                .enumerate()
            {
                *scale *= [0.3, 0.7, 1.9, 3.1][at % 4];
            }
            let mut rounded = tensors(&config);
            scales.round(&mut rounded);
            let mut again = rounded.clone();
            let found = Scales::search(&config, &rounded, &precisions).unwrap();
            found.round(&mut again);
            assert_eq!(again, rounded, "{precisions:?}");
        }
    }

    #[test]
    fn scales_of_another_model_are_refused() {
        let config = Preset::Test.config(257);
        let searched = Scales::search(&config, &tensors(&config), &int4()).unwrap();
        let mut values = searched.values();
        values.get_mut("embedding.weight").unwrap().pop();
        let result = Scales::from_values(&config, &values, &int4());
        assert!(matches!(result, Err(QuantError::Scales { .. })));
    }
}
