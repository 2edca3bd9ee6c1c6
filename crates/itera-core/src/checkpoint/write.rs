//! From a checkpoint to the bytes of a file, the same bytes for the same content on any machine.
//!
//! The safetensors crate lays out the tensors, sorted by dtype and name. It keeps metadata in a
//! hash map, whose order changes from run to run, so `__metadata__` is put in here, sorted.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use safetensors::{Dtype, View};

use super::{
    CONFIG_KEY, Checkpoint, CheckpointError, DIGEST_KEY, FORMAT_KEY, FORMAT_VERSION,
    METADATA_DIGEST_KEY, Precision, TOKENIZER_KEY, TRAINING_KEY, Tensor, TensorData,
    read::divided_rows, scales_name,
};
use crate::io::sha256_hex;

/// The data section starts at a multiple of this many bytes.
const ALIGNMENT: usize = 8;

/// Validates and writes a whole checkpoint.
pub(super) fn checkpoint(checkpoint: &Checkpoint) -> Result<Vec<u8>, CheckpointError> {
    checkpoint.validate()?;
    let mut stored = BTreeMap::new();
    for (name, tensor) in &checkpoint.tensors {
        store(name, tensor, &mut stored);
    }
    let plain = safetensors::serialize(stored, None).map_err(CheckpointError::Safetensors)?;
    let (table, data) = split(&plain)?;

    let text = described_metadata(checkpoint)?;
    let mut metadata: BTreeMap<&str, &str> = text
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let digests = [
        (METADATA_DIGEST_KEY, metadata_digest(&metadata)),
        (DIGEST_KEY, sha256_hex(data)),
    ];
    metadata.extend(digests.iter().map(|(key, digest)| (*key, digest.as_str())));
    let metadata = serde_json::to_string(&metadata).map_err(CheckpointError::Header)?;

    // `table` is `{"first":...}`; the metadata goes in front of its first entry.
    let mut header = format!(
        "{{\"__metadata__\":{metadata},{}",
        table.trim_start_matches('{')
    );
    header.truncate(header.trim_end().len());
    let padding = header.len().next_multiple_of(ALIGNMENT) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));

    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.reserve(header.len() + data.len());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    Ok(bytes)
}

/// SHA-256 over lines `key=value` in key order.
pub(super) fn metadata_digest(described: &BTreeMap<&str, &str>) -> String {
    let lines = described
        .iter()
        .fold(String::new(), |mut lines, (key, value)| {
            let _ = writeln!(lines, "{key}={value}");
            lines
        });
    sha256_hex(lines.as_bytes())
}

fn described_metadata(
    checkpoint: &Checkpoint,
) -> Result<BTreeMap<&'static str, String>, CheckpointError> {
    let Checkpoint {
        config,
        tokenizer,
        training,
        ..
    } = checkpoint;
    // Of a file that is small on purpose, the whole would be a fifth part.
    let tokenizer = if checkpoint.precision() == Precision::Fp32 {
        tokenizer.to_json()
    } else {
        tokenizer.to_compact_json()
    };
    let json = |key, text: serde_json::Result<String>| {
        text.map_err(|source| CheckpointError::MetadataJson { key, source })
    };
    Ok(BTreeMap::from([
        (FORMAT_KEY, FORMAT_VERSION.to_string()),
        (CONFIG_KEY, json(CONFIG_KEY, serde_json::to_string(config))?),
        (TOKENIZER_KEY, json(TOKENIZER_KEY, sorted_text(tokenizer))?),
        (
            TRAINING_KEY,
            json(TRAINING_KEY, sorted_text(training.clone()))?,
        ),
    ]))
}

/// JSON text with sorted keys, also in a build where another crate asked for insertion order.
fn sorted_text(mut value: serde_json::Value) -> serde_json::Result<String> {
    value.sort_all_objects();
    serde_json::to_string(&value)
}

/// Header and data of a file that the safetensors crate has just written.
fn split(plain: &[u8]) -> Result<(&str, &[u8]), CheckpointError> {
    let found = plain.len();
    let (length, rest) = plain
        .split_first_chunk::<8>()
        .ok_or(CheckpointError::TooShort { found })?;
    let declared = u64::from_le_bytes(*length);
    let (table, data) =
        rest.split_at_checked(declared as usize)
            .ok_or(CheckpointError::HeaderLength {
                declared,
                available: rest.len(),
            })?;
    Ok((
        str::from_utf8(table).map_err(CheckpointError::HeaderText)?,
        data,
    ))
}

/// Bytes of one entry of the file.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Adds the entries of one tensor: its values, and the scales if it is quantised.
fn store(name: &str, tensor: &Tensor, stored: &mut BTreeMap<String, Stored>) {
    let shape = tensor.shape.clone();
    let (values, scales) = match &tensor.data {
        TensorData::F32(values) => {
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (
                Stored {
                    dtype: Dtype::F32,
                    shape,
                    bytes,
                },
                None,
            )
        }
        TensorData::F16(values) => {
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (
                Stored {
                    dtype: Dtype::F16,
                    shape,
                    bytes,
                },
                None,
            )
        }
        TensorData::Int8 {
            values,
            scales,
            group,
        } => {
            let bytes = values.iter().map(|value| value.cast_unsigned()).collect();
            (
                Stored {
                    dtype: Dtype::I8,
                    shape,
                    bytes,
                },
                Some((scales, *group)),
            )
        }
        TensorData::Int4 {
            packed,
            scales,
            group,
        } => {
            let shape = divided_rows(&shape, 2);
            (
                Stored {
                    dtype: Dtype::U8,
                    shape,
                    bytes: packed.clone(),
                },
                Some((scales, *group)),
            )
        }
    };
    stored.insert(name.to_owned(), values);
    if let Some((scales, group)) = scales {
        let shape = divided_rows(&tensor.shape, group);
        let bytes = scales
            .iter()
            .flat_map(|scale| scale.to_le_bytes())
            .collect();
        stored.insert(
            scales_name(name),
            Stored {
                dtype: Dtype::F16,
                shape,
                bytes,
            },
        );
    }
}
