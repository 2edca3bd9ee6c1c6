//! The rules of a checkpoint in memory, whether read from a file or built by a trainer.

use alloc::borrow::ToOwned;

use half::f16;

use super::{Checkpoint, CheckpointError, Precision, Tensor, TensorData};
use crate::{
    config::{ModelConfig, TensorRole, TensorSpec},
    container::ContainerError,
    tokenizer::Tokenizer,
};

/// See [`Checkpoint::validate`].
pub(super) fn checkpoint(checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    let Checkpoint {
        config,
        tokenizer,
        tensors,
        ..
    } = checkpoint;
    config.validate()?;
    vocabulary(config, tokenizer)?;
    let specs = config.tensors();
    for spec in &specs {
        let tensor = tensors
            .get(&spec.name)
            .ok_or_else(|| ContainerError::MissingTensor(spec.name.clone()))?;
        check_tensor(spec, tensor)?;
    }
    match tensors
        .keys()
        .find(|name| specs.iter().all(|spec| spec.name != **name))
    {
        Some(extra) => Err(ContainerError::UnexpectedTensor(extra.clone()).into()),
        None => Ok(()),
    }
}

/// Checks that tokenizer and model agree.
pub(super) fn vocabulary(
    config: &ModelConfig,
    tokenizer: &Tokenizer,
) -> Result<(), CheckpointError> {
    if tokenizer.vocab_size() == config.vocab_size {
        return Ok(());
    }
    Err(CheckpointError::Vocabulary {
        config: config.vocab_size,
        tokenizer: tokenizer.vocab_size(),
    })
}

fn check_tensor(spec: &TensorSpec, tensor: &Tensor) -> Result<(), CheckpointError> {
    let name = &spec.name;
    if tensor.shape != spec.shape {
        return Err(ContainerError::shape(name, &spec.shape, &tensor.shape).into());
    }
    // Integers suit the large matrices only, and the dynamics of the state space need every bit:
    // their errors would add up over the tokens.
    let allowed = match tensor.precision() {
        Precision::Fp32 => true,
        Precision::Fp16 => spec.role != TensorRole::Dynamics,
        Precision::Int8 | Precision::Int4 => {
            matches!(spec.role, TensorRole::Embedding | TensorRole::Projection)
        }
    };
    if !allowed {
        return Err(CheckpointError::NotQuantizable {
            tensor: name.clone(),
            found: tensor.precision(),
        });
    }
    match &tensor.data {
        TensorData::F32(values) => {
            check_len(name, "values", spec.len(), values.len())?;
            check_finite(name, "value", values.iter().copied())
        }
        TensorData::F16(values) => {
            check_len(name, "values", spec.len(), values.len())?;
            check_finite(name, "value", values.iter().map(|value| value.to_f32()))
        }
        TensorData::Int8 {
            values,
            scales,
            group,
        } => {
            check_len(name, "values", spec.len(), values.len())?;
            check_scales(spec, Precision::Int8, scales, *group)?;
            // No rounding makes -128.
            let values = values.iter().copied().map(f32::from);
            check_each(name, "value", values, "-127 to 127", |value| {
                value >= -127.0
            })
        }
        TensorData::Int4 {
            packed,
            scales,
            group,
        } => {
            check_len(name, "bytes", spec.len() / 2, packed.len())?;
            check_scales(spec, Precision::Int4, scales, *group)
        }
    }
}

fn check_len(
    tensor: &str,
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), CheckpointError> {
    if expected == found {
        return Ok(());
    }
    Err(CheckpointError::Length {
        tensor: tensor.to_owned(),
        what,
        expected,
        found,
    })
}

fn check_finite(
    tensor: &str,
    what: &'static str,
    values: impl Iterator<Item = f32>,
) -> Result<(), CheckpointError> {
    check_each(tensor, what, values, "a finite number", f32::is_finite)
}

/// Checks the values or scales of a tensor.
fn check_each(
    tensor: &str,
    what: &'static str,
    values: impl Iterator<Item = f32>,
    expected: &'static str,
    allowed: fn(f32) -> bool,
) -> Result<(), CheckpointError> {
    let mut values = values.enumerate();
    match values.find(|(_, value)| !allowed(*value)) {
        Some((index, found)) => Err(CheckpointError::Value {
            what,
            tensor: tensor.to_owned(),
            index,
            found,
            expected,
        }),
        None => Ok(()),
    }
}

fn check_scales(
    spec: &TensorSpec,
    precision: Precision,
    scales: &[f16],
    group: usize,
) -> Result<(), CheckpointError> {
    let tensor = &spec.name;
    let row = spec.shape.last().copied().unwrap_or(0);
    if !precision.accepts_group(row, group) {
        let scales = row.checked_div(group).unwrap_or(0);
        return Err(CheckpointError::Group {
            tensor: tensor.clone(),
            row,
            scales,
        });
    }
    check_len(tensor, "scales", spec.len() / group, scales.len())?;
    check_finite(tensor, "scale", scales.iter().map(|scale| scale.to_f32()))
}
