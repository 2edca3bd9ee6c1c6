//! A small model with random weights, and servers of it, for tests.

use std::sync::Arc;

use clap::Parser as _;
use itera_core::checkpoint::Checkpoint;
use itera_testing::{bytes, small_checkpoint};
use tempfile::TempDir;

use crate::{Args, app::App, options::Settings, serve::assemble, weights::Base};

/// A small model; another seed gives other weights.
pub(crate) fn random_checkpoint(seed: u64) -> Checkpoint {
    small_checkpoint(bytes(), seed)
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
        let own = ["--database", database.to_str().unwrap()];
        let own = if line.contains("--database") {
            &[][..]
        } else {
            &own
        };
        let words = ["itera-serve", "--checkpoint", &checkpoint]
            .into_iter()
            .chain(own.iter().copied());
        let mut args = Args::try_parse_from(words.chain(line.split_whitespace())).unwrap();
        // A thread less is a thread less that every test waits for.
        args.serve.engine.workers = Some(1);
        let settings = Settings::new(args.serve).unwrap();
        let app = assemble(settings).await.unwrap().0;
        Self { app, dir }
    }

    /// The same without threads that generate: every request waits.
    pub(crate) async fn stuck(line: &str) -> Self {
        let mut server = Self::new(line).await;
        let app = Arc::get_mut(&mut server.app).unwrap();
        let queue = app.settings.args.engine.queue;
        let stuck = crate::engine::Engine::start(0, 1, queue, 0, &app.metrics);
        app.engine = stuck.unwrap();
        server
    }
}
