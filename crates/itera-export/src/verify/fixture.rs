//! The small model whose step graph becomes Burn code when this program is built with Burn.
//!
//! Its weights are made by integers and exact additions, so they are the same on every machine. The file
//! `crates/itera-learn/fixtures/test_step.onnx` is its graph; a test here holds the two equal.

use std::collections::BTreeMap;

use anyhow::Context as _;
use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    config::{Preset, TensorRole},
    models::LoadedCheckpoint,
    tokenizer::{BytesTokenizer, Tokenizer},
};

use crate::{
    graph::{Kind, Request},
    onnx::Encoded,
};

/// Name of the model, that of its preset.
const NAME: &str = "test";

/// The model, as if it were read from a file.
pub(super) fn load() -> anyhow::Result<LoadedCheckpoint> {
    let bytes = checkpoint()
        .to_bytes()
        .context("the small model is broken")?;
    LoadedCheckpoint::from_bytes(NAME, &bytes).context("the small model is broken")
}

/// Its step graph, as a file.
pub(super) fn graph(loaded: &LoadedCheckpoint) -> anyhow::Result<Vec<u8>> {
    let request = Request {
        kind: Kind::Step,
        opset: 21,
        layout: None,
    };
    Ok(Encoded::new(loaded, request)?.bytes)
}

/// Weights at random, gains around 1.
fn checkpoint() -> Checkpoint {
    let tokenizer = Tokenizer::Bytes(BytesTokenizer);
    let config = Preset::Test.config(tokenizer.vocab_size());
    let mut random = 1_u64;
    let mut tensors = BTreeMap::new();
    for spec in config.tensors() {
        let (center, spread) = match spec.role {
            TensorRole::Norm => (1.0, 0.125),
            TensorRole::Dynamics => (0.0, 1.0),
            _ => (0.0, 0.5),
        };
        let mut next = || {
            // Knuth's generator; the upper 24 bits as -1 to 1.
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            center + spread * ((random >> 40) as f32 / (1_u32 << 23) as f32 - 1.0)
        };
        let values = (0..spec.len()).map(|_| next()).collect();
        tensors.insert(spec.name, Tensor::f32(spec.shape, values));
    }
    Checkpoint {
        config,
        tokenizer,
        training: serde_json::json!({"dataset": "tinystories"}),
        tensors,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// `UPDATE_FIXTURES=1` writes the file anew.
    #[test]
    fn the_committed_graph_is_what_the_exporter_writes() {
        let written = graph(&load().unwrap()).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../itera-learn/fixtures");
        let path = folder.join("test_step.onnx");
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            fs::create_dir_all(folder).unwrap();
            fs::write(&path, &written).unwrap();
        }
        assert!(
            fs::read(&path).unwrap_or_default() == written,
            "{} is out of date; run `UPDATE_FIXTURES=1 cargo test -p itera-export`",
            path.display()
        );
    }
}
