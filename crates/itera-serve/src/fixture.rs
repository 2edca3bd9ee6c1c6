//! A small model with random weights, and servers of it, for tests.

use std::{collections::BTreeMap, sync::Arc};

use clap::Parser as _;
use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    config::{Preset, TensorRole},
    tokenizer::{BytesTokenizer, Tokenizer},
};
use tempfile::TempDir;

use crate::{Args, app::App, options::Options, serve::assemble, weights::Base};

/// A small model; another seed gives other weights.
pub(crate) fn random_checkpoint(seed: u64) -> Checkpoint {
    let tokenizer = Tokenizer::Bytes(BytesTokenizer);
    let config = Preset::Test.config(tokenizer.vocab_size());
    let mut random = seed;
    let mut tensors = BTreeMap::new();
    for spec in config.tensors() {
        let (center, spread) = match spec.role {
            TensorRole::Norm => (1.0, 0.1),
            TensorRole::Dynamics => (0.0, 1.0),
            _ => (0.0, 0.5),
        };
        let mut next = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
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

/// The model of seed 1 as a server's base.
pub(crate) fn base() -> Base {
    let dir = tempfile::tempdir().unwrap();
    Base::load(&checkpoint_file(&dir), None).unwrap()
}

/// Writes the model of seed 1; gives its path.
fn checkpoint_file(dir: &TempDir) -> String {
    let path = dir.path().join("small.safetensors");
    std::fs::write(&path, random_checkpoint(1).to_bytes().unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server without a socket, and the folder of its database.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) dir: TempDir,
}

impl Server {
    /// The server of a command line; the database is in a folder of its own.
    pub(crate) async fn new(line: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (checkpoint, database) = (checkpoint_file(&dir), dir.path().join("serve.db"));
        let fixed = ["itera-serve", "--checkpoint", &checkpoint, "--database"];
        let words = fixed.into_iter().chain([database.to_str().unwrap()]);
        let args = Args::try_parse_from(words.chain(line.split_whitespace())).unwrap();
        let mut options = Options::new(&args.serve).unwrap();
        // A thread less is a thread less that every test waits for.
        options.workers = options.workers.min(1);
        let app = assemble(&args.serve, &options).await.unwrap();
        Self { app, dir }
    }

    /// The same without threads that generate: every request waits.
    pub(crate) async fn stuck(line: &str) -> Self {
        let mut server = Self::new(line).await;
        let app = Arc::get_mut(&mut server.app).unwrap();
        let settings = &app.settings;
        let weights = app.engine.weights();
        let stuck = crate::engine::Engine::start(weights, 0, 1, settings.queue, &app.metrics);
        app.engine = Arc::new(stuck.unwrap());
        server
    }
}
