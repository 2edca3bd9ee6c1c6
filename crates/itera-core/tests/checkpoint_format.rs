//! The checkpoint format from outside: what is written is read back, what is broken is refused.

#[path = "checkpoint_format/corruption.rs"]
mod corruption;
#[path = "checkpoint_format/files.rs"]
mod files;
#[path = "checkpoint_format/refusals.rs"]
mod refusals;
#[path = "checkpoint_format/support.rs"]
mod support;

use itera_core::{
    checkpoint::{Checkpoint, FORMAT_VERSION, Precision, TensorData},
    config::{ModelConfig, Preset},
    digest::sha256_hex,
};
use safetensors::SafeTensors;

/// Rows of 32, 48, 16: every group that int4 has.
fn wide() -> ModelConfig {
    ModelConfig {
        d_model: 32,
        d_inner: 48,
        d_expert: 16,
        ..support::small()
    }
}

fn files() -> Vec<(Checkpoint, Vec<u8>)> {
    let configs = [support::small(), wide()];
    Precision::ALL
        .into_iter()
        .flat_map(|precision| {
            configs
                .clone()
                .map(|config| support::checkpoint(config, precision))
        })
        .map(|checkpoint| {
            let bytes = checkpoint.to_bytes().unwrap();
            (checkpoint, bytes)
        })
        .collect()
}

#[test]
fn every_precision_comes_back_as_it_was() {
    for (written, bytes) in files() {
        let read = Checkpoint::from_bytes(&bytes).unwrap();
        assert_eq!(read.config, written.config);
        assert_eq!(read.tensors, written.tensors);
        assert_eq!(read.training, written.training);
        assert_eq!(read.tokenizer.to_json(), written.tokenizer.to_json());
        assert_eq!(read.precision(), written.precision());
    }
}

#[test]
fn equal_content_gives_equal_bytes() {
    for (written, bytes) in files() {
        assert_eq!(written.clone().to_bytes().unwrap(), bytes);
        assert_eq!(
            Checkpoint::from_bytes(&bytes).unwrap().to_bytes().unwrap(),
            bytes
        );
    }
}

#[test]
fn other_safetensors_readers_see_the_same() {
    for (written, bytes) in files() {
        let start = support::data_start(&bytes);
        assert!(start.is_multiple_of(8), "data start at {start}");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let texts = metadata.metadata().as_ref().unwrap();
        let version = match written.precision() {
            Precision::Fp32 => 1,
            _ => FORMAT_VERSION,
        };
        assert_eq!(texts["itera.format"], version.to_string());
        assert_eq!(texts["itera.digest"], sha256_hex(&bytes[start..]));
        for (name, tensor) in &written.tensors {
            let view = file.tensor(name).unwrap();
            let plain = match &tensor.data {
                TensorData::F32(values) => values[0].to_le_bytes().to_vec(),
                TensorData::F16(values) => values[0].to_le_bytes().to_vec(),
                // Packed, or too small for that.
                TensorData::Int8 { .. } | TensorData::Int4 { .. } => {
                    let scales = file.tensor(&format!("{name}.scales"));
                    let scales = scales.map_or(0, |view| view.data().len());
                    assert_eq!(view.data().len() + scales, tensor.stored_bytes(), "{name}");
                    continue;
                }
            };
            assert_eq!(view.shape(), tensor.shape);
            assert!(view.data().starts_with(&plain), "{name}");
        }
    }
}

#[test]
fn both_int4_groups_and_the_fallback_occur() {
    let mut seen = std::collections::BTreeSet::new();
    for (checkpoint, _) in files() {
        for tensor in checkpoint.tensors.values() {
            if let TensorData::Int8 { group, .. } | TensorData::Int4 { group, .. } = tensor.data {
                seen.insert((tensor.bits(), group));
            }
        }
    }
    let expected = [(4, 16), (4, 32), (8, 8), (8, 16), (8, 24), (8, 32)];
    assert!(expected.iter().all(|case| seen.contains(case)), "{seen:?}");
}

#[test]
fn sizes_count_the_scales() {
    let config = Preset::Micro.config(support::small().vocab_size);
    let bits = |precision| support::checkpoint(config.clone(), precision).bits_per_weight();
    assert!((bits(Precision::Fp32) - 32.0).abs() < f64::EPSILON);
    // At most 8 or 4 bits, half a bit (or one, for groups of 16) of scale, and the parts that stay fp32.
    let (int8, int4) = (bits(Precision::Int8), bits(Precision::Int4));
    assert!((8.5..10.0).contains(&int8), "{int8}");
    assert!((4.5..6.0).contains(&int4), "{int4}");

    let checkpoint = support::checkpoint(config.clone(), Precision::Int4);
    let file = checkpoint.to_bytes().unwrap();
    assert_eq!(
        checkpoint.weight_bytes(),
        file.len() - support::data_start(&file)
    );
    assert_eq!(checkpoint.precision(), Precision::Int4);
}
