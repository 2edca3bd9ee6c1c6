//! Checkpoints to test with, and a second, independent writer of the header to break them.

use std::collections::BTreeMap;

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    config::{ModelConfig, Preset, TensorRole},
    digest::sha256_hex,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::{Value, json};

/// The test preset.
pub(crate) fn small() -> ModelConfig {
    Preset::Test.config(Tokenizer::Bytes(BytesTokenizer::new()).vocab_size())
}

/// Random weights; embedding and projections in `precision`, beside int4 all else but the dynamics
/// in half precision.
pub(crate) fn checkpoint(config: ModelConfig, precision: Precision) -> Checkpoint {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut weight = || rng.next_u32() as f32 / (1_u32 << 31) as f32 - 1.0;
    let mut tensors = BTreeMap::new();
    for spec in config.tensors() {
        let values: Vec<f32> = (0..spec.len()).map(|_| weight()).collect();
        let tensor = match spec.role {
            TensorRole::Embedding | TensorRole::Projection => {
                Tensor::quantized(spec.shape, values, precision)
            }
            TensorRole::Router | TensorRole::Conv | TensorRole::Norm
                if precision == Precision::Int4 =>
            {
                Tensor::f16(spec.shape, &values)
            }
            _ => Tensor::f32(spec.shape, values),
        };
        tensors.insert(spec.name, tensor);
    }
    Checkpoint {
        config,
        tokenizer: Tokenizer::Bytes(BytesTokenizer::new()),
        training: json!({"steps": 1200, "seed": 7, "data": {"train": "ab12"}, "loss": 1.25}),
        tensors,
    }
}

/// Where the data section starts.
pub(crate) fn data_start(file: &[u8]) -> usize {
    8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize
}

pub(crate) fn header(file: &[u8]) -> Value {
    serde_json::from_slice(&file[8..data_start(file)]).unwrap()
}

/// A file with this header text and these data.
pub(crate) fn assemble(header: &str, data: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}

/// The file after `edit` of header and data, with digests that fit again.
pub(crate) fn edited(file: &[u8], edit: impl FnOnce(&mut Value, &mut Vec<u8>)) -> Vec<u8> {
    let mut header = header(file);
    let mut data = file[data_start(file)..].to_vec();
    edit(&mut header, &mut data);
    if let Some(metadata) = header
        .get_mut("__metadata__")
        .and_then(Value::as_object_mut)
    {
        let lines: String = [
            "itera.config",
            "itera.format",
            "itera.tokenizer",
            "itera.training",
        ]
        .iter()
        .filter_map(|key| Some(format!("{key}={}\n", metadata.get(*key)?.as_str()?)))
        .collect();
        metadata.insert("itera.digest".into(), sha256_hex(&data).into());
        metadata.insert(
            "itera.digest.metadata".into(),
            sha256_hex(lines.as_bytes()).into(),
        );
    }
    assemble(&header.to_string(), &data)
}

/// Changes one entry of the metadata that is JSON itself.
pub(crate) fn edit_json(header: &mut Value, key: &str, edit: impl FnOnce(&mut Value)) {
    let text = header["__metadata__"][key].as_str().unwrap();
    let mut value = serde_json::from_str(text).unwrap();
    edit(&mut value);
    header["__metadata__"][key] = value.to_string().into();
}
