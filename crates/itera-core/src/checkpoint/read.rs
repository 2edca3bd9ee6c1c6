//! From the bytes of a file to a checkpoint, in the order in which trust grows: header, version,
//! layout, digests, config and tokenizer, then the tensors one by one.

use std::collections::BTreeMap;

use half::f16;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::de::DeserializeOwned;

use super::{
    CONFIG_KEY, Checkpoint, CheckpointError, DESCRIBED_KEYS, DIGEST_KEY, FORMAT_KEY,
    FORMAT_VERSION, METADATA_DIGEST_KEY, TOKENIZER_KEY, TRAINING_KEY, Tensor, TensorData,
    header::Header, scales_name, validate, write::metadata_digest,
};
use crate::{
    config::{ModelConfig, TensorSpec},
    io::sha256_hex,
    tokenizer::Tokenizer,
};

/// The most bytes of one JSON entry of the metadata. JSON grows about sixteenfold when parsed, and
/// the largest real entry, a tokenizer of 2,048 entries, has some 150 kB.
const MAX_JSON_BYTES: usize = 1 << 20;

type Metadata = BTreeMap<String, String>;

/// Reads and validates a whole checkpoint.
pub(super) fn checkpoint(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let (header, data) = Header::parse(bytes)?;
    check_version(&header.metadata)?;
    header.check_layout(data.len())?;
    check_digests(&header.metadata, data)?;

    let config: ModelConfig = json(&header.metadata, CONFIG_KEY)?;
    let specs = validate::tensor_specs(&config, header.tensors.len())?;
    let tokenizer = Tokenizer::from_json(&json(&header.metadata, TOKENIZER_KEY)?)?;
    validate::vocabulary(&config, &tokenizer)?;
    let training = json(&header.metadata, TRAINING_KEY)?;
    let tensors = read_tensors(bytes, &specs)?;

    let checkpoint = Checkpoint {
        config,
        tokenizer,
        training,
        tensors,
    };
    checkpoint.validate()?;
    Ok(checkpoint)
}

fn text<'a>(metadata: &'a Metadata, key: &'static str) -> Result<&'a str, CheckpointError> {
    metadata
        .get(key)
        .map(String::as_str)
        .ok_or(CheckpointError::MissingMetadata { key })
}

fn json<T: DeserializeOwned>(metadata: &Metadata, key: &'static str) -> Result<T, CheckpointError> {
    let text = text(metadata, key)?;
    if text.len() > MAX_JSON_BYTES {
        return Err(CheckpointError::MetadataLength {
            key,
            found: text.len(),
            limit: MAX_JSON_BYTES,
        });
    }
    serde_json::from_str(text).map_err(|source| CheckpointError::MetadataJson { key, source })
}

fn check_version(metadata: &Metadata) -> Result<(), CheckpointError> {
    let text = text(metadata, FORMAT_KEY)?;
    let found = text.parse().map_err(|_| CheckpointError::VersionText {
        found: text.chars().take(40).collect(),
    })?;
    if !(1..=FORMAT_VERSION).contains(&found) {
        return Err(CheckpointError::Version {
            found,
            newest: FORMAT_VERSION,
        });
    }
    Ok(())
}

fn check_digests(metadata: &Metadata, data: &[u8]) -> Result<(), CheckpointError> {
    let mut described = BTreeMap::new();
    for key in DESCRIBED_KEYS {
        described.insert(key, text(metadata, key)?);
    }
    let digests = [
        (
            "the metadata",
            METADATA_DIGEST_KEY,
            metadata_digest(&described),
        ),
        ("the tensor data", DIGEST_KEY, sha256_hex(data)),
    ];
    for (what, key, found) in digests {
        let expected = text(metadata, key)?;
        if expected != found {
            let expected = expected.chars().take(found.len() + 1).collect();
            return Err(CheckpointError::Digest {
                what,
                key,
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// Reads the tensors of `specs`, and refuses a file that has others.
fn read_tensors(
    bytes: &[u8],
    specs: &[TensorSpec],
) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let file = SafeTensors::deserialize(bytes).map_err(CheckpointError::Safetensors)?;
    let mut views: BTreeMap<&str, TensorView<'_>> = file.iter().collect();
    let mut tensors = BTreeMap::new();
    for spec in specs {
        let view = take(&mut views, &spec.name)?;
        let data = match view.dtype() {
            Dtype::F32 => {
                check_shape(&spec.name, &view, &spec.shape)?;
                let values = view.data().as_chunks::<4>().0;
                TensorData::F32(
                    values
                        .iter()
                        .map(|value| f32::from_le_bytes(*value))
                        .collect(),
                )
            }
            Dtype::F16 => {
                check_shape(&spec.name, &view, &spec.shape)?;
                TensorData::F16(half_floats(&view))
            }
            Dtype::I8 => {
                check_shape(&spec.name, &view, &spec.shape)?;
                let values = view.data().iter().map(|byte| byte.cast_signed()).collect();
                let (scales, group) = read_scales(&mut views, spec)?;
                TensorData::Int8 {
                    values,
                    scales,
                    group,
                }
            }
            Dtype::U8 => {
                check_shape(&spec.name, &view, &divided_rows(&spec.shape, 2))?;
                let packed = view.data().to_vec();
                let (scales, group) = read_scales(&mut views, spec)?;
                TensorData::Int4 {
                    packed,
                    scales,
                    group,
                }
            }
            other => {
                return Err(wrong_dtype(
                    &spec.name,
                    "F32, F16, I8 (int8) or U8 (int4)",
                    other,
                ));
            }
        };
        tensors.insert(
            spec.name.clone(),
            Tensor {
                shape: spec.shape.clone(),
                data,
            },
        );
    }
    match views.into_keys().next() {
        Some(extra) => Err(CheckpointError::UnexpectedTensor {
            tensor: extra.to_owned(),
        }),
        None => Ok(tensors),
    }
}

/// The scales of a quantised tensor and the group that their shape implies.
fn read_scales(
    views: &mut BTreeMap<&str, TensorView<'_>>,
    spec: &TensorSpec,
) -> Result<(Vec<f16>, usize), CheckpointError> {
    let name = scales_name(&spec.name);
    let view = take(views, &name)?;
    if view.dtype() != Dtype::F16 {
        return Err(wrong_dtype(&name, "F16", view.dtype()));
    }
    let row = spec.shape.last().copied().unwrap_or(0);
    let per_row = view.shape().last().copied().unwrap_or(0);
    if per_row == 0 || !row.is_multiple_of(per_row) {
        return Err(CheckpointError::Group {
            tensor: spec.name.clone(),
            row,
            scales: per_row,
        });
    }
    let group = row / per_row;
    check_shape(&name, &view, &divided_rows(&spec.shape, group))?;
    Ok((half_floats(&view), group))
}

fn half_floats(view: &TensorView<'_>) -> Vec<f16> {
    let values = view.data().as_chunks::<2>().0;
    values
        .iter()
        .map(|value| f16::from_le_bytes(*value))
        .collect()
}

/// `shape` with its last size divided.
pub(super) fn divided_rows(shape: &[usize], divisor: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(row) = shape.last_mut() {
        *row /= divisor;
    }
    shape
}

fn take<'a>(
    views: &mut BTreeMap<&str, TensorView<'a>>,
    name: &str,
) -> Result<TensorView<'a>, CheckpointError> {
    views
        .remove(name)
        .ok_or_else(|| CheckpointError::MissingTensor {
            tensor: name.to_owned(),
        })
}

fn check_shape(
    name: &str,
    view: &TensorView<'_>,
    expected: &[usize],
) -> Result<(), CheckpointError> {
    if view.shape() == expected {
        return Ok(());
    }
    Err(CheckpointError::Shape {
        tensor: name.to_owned(),
        expected: expected.to_vec(),
        found: view.shape().to_vec(),
    })
}

fn wrong_dtype(name: &str, expected: &'static str, found: Dtype) -> CheckpointError {
    CheckpointError::Dtype {
        tensor: name.to_owned(),
        expected,
        found: found.to_string(),
    }
}
