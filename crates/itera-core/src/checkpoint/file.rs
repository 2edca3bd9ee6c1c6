//! A checkpoint as a file, both ways. The file is the same for the same content on any machine.

use alloc::{
    borrow::ToOwned, collections::BTreeMap, format, string::String, string::ToString, vec, vec::Vec,
};

use half::f16;

use super::{
    CONFIG_KEY, Checkpoint, CheckpointError, FORMAT, FORMAT_OF_FLOATS, MERGES, TOKENIZER_KEY,
    TRAINING_KEY, Tensor, TensorData,
    coding::{Unread, push},
    packed, validate,
};
use crate::{
    config::{ModelConfig, TensorSpec},
    container::{Container, ContainerError, Dtype, RawTensor},
    tokenizer::{BpeTokenizer, Tokenizer},
};

/// Reads and validates a whole checkpoint: config and tokenizer, the tensors, that there are no others.
pub(super) fn read(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let mut file = Container::parse(bytes, &FORMAT)?;
    let config: ModelConfig = file.json(CONFIG_KEY)?;
    config.validate()?;
    let tokenizer = match file.tensors.remove(MERGES) {
        Some(merges) => Tokenizer::Bpe(read_merges(&merges)?),
        None => Tokenizer::from_json(file.text(TOKENIZER_KEY)?)?,
    };
    validate::vocabulary(&config, &tokenizer)?;
    let training = file.json(TRAINING_KEY)?;
    let mut tensors = BTreeMap::new();
    for spec in config.tensors() {
        let tensor = take(&mut file, &spec)?;
        tensors.insert(spec.name, tensor);
    }
    let checkpoint = Checkpoint {
        config,
        tokenizer,
        training,
        tensors,
    };
    checkpoint.validate()?;
    file.finish()?;
    Ok(checkpoint)
}

/// How many merges there are (u16), and the streams of each byte of their pairs: left low, left high, right low,
/// right high.
fn read_merges(stored: &RawTensor<'_>) -> Result<BpeTokenizer, CheckpointError> {
    stored.check_dtype(MERGES, Dtype::U8)?;
    let expected = [stored.bytes.len()];
    if stored.shape != expected {
        return Err(ContainerError::shape(MERGES, &expected, &stored.shape).into());
    }
    let mut unread = Unread(&stored.bytes);
    let mut streams = || {
        let len = usize::from(u16::from_le_bytes(unread.chunk()?));
        let [a, b, c, d] = [(); 4].map(|()| unread.stream(len));
        unread.0.is_empty().then_some((a?, b?, c?, d?))
    };
    let (a, b, c, d) = streams().ok_or_else(|| CheckpointError::Packed(MERGES.to_owned()))?;
    let id = |low: i8, high: i8| {
        u32::from(u16::from_le_bytes([
            low.cast_unsigned(),
            high.cast_unsigned(),
        ]))
    };
    let pairs = a.into_iter().zip(b).zip(c.into_iter().zip(d));
    let pairs = pairs.map(|((a, b), (c, d))| (id(a, b), id(c, d)));
    Ok(BpeTokenizer::from_merges(pairs)?)
}

/// `None` without merges, or with more than ids of 16 bits can name.
fn write_merges(tokenizer: &BpeTokenizer) -> Option<RawTensor<'static>> {
    let merges = tokenizer.merges();
    let mut bytes = u16::try_from(merges.len()).ok()?.to_le_bytes().to_vec();
    for side in [|pair: &(u32, u32)| pair.0, |pair: &(u32, u32)| pair.1] {
        for at in 0..2 {
            let byte = |pair| (side(pair) as u16).to_le_bytes()[at].cast_signed();
            push(&mut bytes, &merges.iter().map(byte).collect::<Vec<i8>>())?;
        }
    }
    Some(RawTensor::u8([bytes.len()], bytes))
}

/// Takes the entries of one tensor. Whether shape, group and values are right is for [`validate`].
fn take(file: &mut Container<'_>, spec: &TensorSpec) -> Result<Tensor, CheckpointError> {
    let name = &spec.name;
    let stored = file.take(name)?;
    let data = match stored.dtype {
        Dtype::F32 => TensorData::F32(stored.to_f32()),
        Dtype::F16 => TensorData::F16(stored.to_f16()),
        Dtype::I8 => {
            let values = stored.to_i8();
            let (scales, group) = take_scales(file, name, &stored.shape)?;
            TensorData::Int8 {
                values,
                scales,
                group,
            }
        }
        Dtype::U8 if stored.shape.len() == 1 => {
            return packed::read(&stored.bytes, &spec.shape)
                .ok_or_else(|| CheckpointError::Packed(name.clone()));
        }
        Dtype::U8 => {
            let shape = with_rows(&stored.shape, |row| row.saturating_mul(2));
            let packed = stored.bytes.into_owned();
            let (scales, group) = take_scales(file, name, &shape)?;
            let data = TensorData::Int4 {
                packed,
                scales,
                group,
            };
            return Ok(Tensor { shape, data });
        }
    };
    Ok(Tensor {
        shape: stored.shape,
        data,
    })
}

/// The scales of a quantised tensor and the group that their shape implies.
fn take_scales(
    file: &mut Container<'_>,
    tensor: &str,
    shape: &[usize],
) -> Result<(Vec<f16>, usize), CheckpointError> {
    let name = scales_name(tensor);
    let scales = file.take(&name)?;
    scales.check_dtype(&name, Dtype::F16)?;
    let row = shape.last().copied().unwrap_or(0);
    let per_row = scales.shape.last().copied().unwrap_or(0);
    let expected = with_rows(shape, |_| per_row);
    if scales.shape != expected {
        return Err(ContainerError::shape(&name, &expected, &scales.shape).into());
    }
    if per_row == 0 || !row.is_multiple_of(per_row) {
        return Err(CheckpointError::Group {
            tensor: tensor.to_owned(),
            row,
            scales: per_row,
        });
    }
    Ok((scales.to_f16(), row / per_row))
}

/// Validates and writes a whole checkpoint.
pub(super) fn write(checkpoint: &Checkpoint) -> Result<Vec<u8>, CheckpointError> {
    checkpoint.validate()?;
    let Checkpoint {
        config,
        tokenizer,
        training,
        tensors,
    } = checkpoint;
    let is_float = tensors.values().all(Tensor::is_float);
    let mut file = Container::default();
    let mut texts = vec![
        (CONFIG_KEY, serde_json::to_string(config)),
        (TRAINING_KEY, sorted_text(training.clone())),
    ];
    // As a text, it would be a tenth of a file that is small on purpose.
    let merges = match tokenizer {
        Tokenizer::Bpe(bpe) if !is_float => write_merges(bpe),
        _ => None,
    };
    let json = match merges {
        _ if is_float => Some(tokenizer.to_json()),
        Some(merges) => {
            read_merges(&merges)?;
            file.tensors.insert(MERGES.to_owned(), merges);
            None
        }
        None => Some(tokenizer.to_compact_json()),
    };
    if let Some(json) = json {
        // What would not be read is not written.
        Tokenizer::from_json(&json.to_string())?;
        texts.push((TOKENIZER_KEY, sorted_text(json)));
    }
    for (key, text) in texts {
        let text = text.map_err(|source| ContainerError::MetadataJson { key, source })?;
        file.metadata.insert(key.to_owned(), text);
    }
    for (name, tensor) in tensors {
        put(&mut file, name, tensor);
    }
    let format = if is_float { &FORMAT_OF_FLOATS } else { &FORMAT };
    Ok(file.to_bytes(format)?)
}

/// JSON text with sorted keys, also in a build where another crate asked for insertion order.
fn sorted_text(mut value: serde_json::Value) -> serde_json::Result<String> {
    value.sort_all_objects();
    serde_json::to_string(&value)
}

/// Adds the entries of one tensor: its values, and the scales if it is quantised; or one entry that
/// packs both.
fn put<'a>(file: &mut Container<'a>, name: &str, tensor: &'a Tensor) {
    if let Some(bytes) = packed::write(tensor) {
        let packed = RawTensor::u8([bytes.len()], bytes);
        file.tensors.insert(name.to_owned(), packed);
        return;
    }
    let shape = &tensor.shape;
    let (values, scales) = match &tensor.data {
        TensorData::F32(values) => (RawTensor::f32(shape.clone(), values), None),
        TensorData::F16(values) => (RawTensor::f16(shape.clone(), values), None),
        TensorData::Int8 {
            values,
            scales,
            group,
        } => (RawTensor::i8(shape.clone(), values), Some((scales, group))),
        TensorData::Int4 {
            packed,
            scales,
            group,
        } => {
            let shape = with_rows(shape, |row| row / 2);
            (RawTensor::u8(shape, packed), Some((scales, group)))
        }
    };
    file.tensors.insert(name.to_owned(), values);
    if let Some((scales, group)) = scales {
        let shape = with_rows(shape, |row| row / group);
        let scales = RawTensor::f16(shape, scales);
        file.tensors.insert(scales_name(name), scales);
    }
}

/// Name under which the scales of a quantised tensor are stored.
fn scales_name(tensor: &str) -> String {
    format!("{tensor}.scales")
}

/// `shape` with another last size.
fn with_rows(shape: &[usize], row: impl FnOnce(usize) -> usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = row(*last);
    }
    shape
}
