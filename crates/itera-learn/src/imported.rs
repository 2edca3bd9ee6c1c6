//! The way back: the ONNX graph of a small model as Burn code, by Burn's own importer.
//!
//! `build.rs` makes the code and its weights of `fixtures/test_step.onnx`, a step graph as
//! `itera-export onnx` writes it; a test of that crate makes the file anew and compares. Sizes and
//! number of layers are part of the code, so it runs this graph and no other.

use burn::tensor::{Device, Int, Tensor, TensorData};
use itera_core::config::{ModelConfig, Preset};

use crate::Backend;

#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    unused,
    unused_qualifications,
    reason = "the importer wrote it"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/test_step.rs"));
}

/// The importer and its version.
pub const IMPORTER: &str = "burn-onnx 0.22.0";

/// The graph that was imported, as a file.
pub const GRAPH: &[u8] = include_bytes!("../fixtures/test_step.onnx");

/// The imported graph, with its weights.
pub struct Imported {
    model: generated::Model,
    config: ModelConfig,
    device: Device,
}

impl Imported {
    /// Sizes of the model: the preset `test` over bytes.
    pub fn config() -> ModelConfig {
        Preset::Test.config(257)
    }

    /// Loads the weights that were compiled in.
    pub fn new(backend: Backend) -> Self {
        let device = backend.device();
        Self {
            model: generated::Model::from_embedded(&device),
            config: Self::config(),
            device,
        }
    }

    /// Logits `[vocab_size]` after a token. `state` moves on: for each layer `[channels, d_conv - 1]`
    /// of the convolution, then `[n_heads, head_dim, d_state]`, zeros at first.
    ///
    /// # Panics
    /// If the state has other sizes, or the token is not below `vocab_size`.
    pub fn step(&self, token: u32, state: &mut [Vec<f32>]) -> Vec<f32> {
        let c = &self.config;
        let token = TensorData::new(vec![i64::from(token)], [1]);
        let token = Tensor::<1, Int>::from_data(token, &self.device);
        let conv = |values: &[f32]| {
            let shape = [1, c.d_conv_channels(), c.d_conv - 1];
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), shape), &self.device)
        };
        let ssm = |values: &[f32]| {
            let shape = [1, c.n_heads(), c.head_dim, c.d_state];
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &self.device)
        };
        let [conv_0, ssm_0, conv_1, ssm_1] = state else {
            panic!("the state has {} parts, expected 4", state.len());
        };
        let past = (conv(conv_0), ssm(ssm_0), conv(conv_1), ssm(ssm_1));
        let (logits, next_conv_0, next_ssm_0, next_conv_1, next_ssm_1) =
            self.model.forward(token, past.0, past.1, past.2, past.3);
        *conv_0 = floats(next_conv_0);
        *ssm_0 = floats(next_ssm_0);
        *conv_1 = floats(next_conv_1);
        *ssm_1 = floats(next_ssm_1);
        floats(logits)
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    data.try_into_vec().expect("the graph computes in f32")
}
