//! What the tests of several programs share: a folder with made-up models and texts, a program running
//! in it, and snapshots without what changes from run to run. For `dev-dependencies` only.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use insta::Settings;
use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    config::{ModelConfig, Preset, TensorRole},
    tokenizer::{BytesTokenizer, Tokenizer},
};
use tempfile::TempDir;

/// Five stories and their separators; no length is a multiple of a chunk, and accents make
/// characters and bytes differ.
pub const STORIES: &str = "Once upon a time there was a small boat.\nIt was red.\n\
    <|endoftext|>\nThe café was open, and Zoë drank her tea.\n<|endoftext|>\nA cat sat. A dog \
    ran. The sun was warm and the day was long.\n<|endoftext|>\nHi!\n<|endoftext|>\nTom had a \
    ball. The ball was big. Tom and the ball went up the hill, and then they came down again.\n";

/// A temporary folder that programs run in.
pub struct TestFolder {
    dir: TempDir,
}

impl TestFolder {
    /// An empty folder.
    #[expect(clippy::new_without_default, reason = "creates a folder on the disk")]
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Adds a model to the folder `models`.
    pub fn add_model(&self, name: &str, checkpoint: &Checkpoint) {
        self.write(
            &format!("models/{name}.safetensors"),
            checkpoint.to_bytes().unwrap(),
        );
    }

    /// A program with these arguments, separated by spaces, in the folder.
    pub fn command(&self, program: &str, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path());
        command
    }

    /// The same, finding the models of the folder `models` and the data sets of the folder `data`.
    pub fn command_at_home(&self, program: &str, arguments: &str) -> Command {
        let mut command = self.command(program, arguments);
        command
            .env("ITERA_MODELS_DIR", self.path("models"))
            .env("ITERA_DATA_DIR", self.path("data"));
        command
    }

    /// Snapshot settings that hide the folder, and the places and models that an error lists.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::clone_current();
        let real = self.dir.path().canonicalize().unwrap();
        for dir in [real.as_path(), self.dir.path()] {
            settings.add_filter(&regex_of(dir), "[DIR]");
        }
        settings.add_filter(r"looked for [^;]*;", "looked for [PLACES];");
        settings.add_filter(r"models that exist: [^;]*;", "models that exist: [MODELS];");
        settings
    }
}

/// The path as a regular expression.
fn regex_of(path: &Path) -> String {
    path.display()
        .to_string()
        .replace('\\', r"\\")
        .replace('.', r"\.")
}

/// Snapshot of exit status, standard output and standard error of the program of `test`, which has
/// the methods `command` and `settings`. The caller's crate depends on `insta-cmd`.
#[macro_export]
macro_rules! snapshot {
    ($test:expr, $arguments:expr, @$expected:literal) => {
        let test = &$test;
        test.settings().bind(|| {
            insta_cmd::assert_cmd_snapshot!(test.command($arguments), @$expected);
        });
    };
}

/// Says that a test could not be made; unlike `eprintln`, also when the test passes.
pub fn skip(reason: &str) {
    io::stderr()
        .write_all(format!("SKIPPED: {reason}\n").as_bytes())
        .unwrap();
}

/// The tokenizer of bytes.
pub fn bytes() -> Tokenizer {
    Tokenizer::Bytes(BytesTokenizer)
}

/// A [`random_checkpoint`] of the preset `test`.
pub fn small_checkpoint(tokenizer: Tokenizer, seed: u64) -> Checkpoint {
    let config = Preset::Test.config(tokenizer.vocab_size());
    random_checkpoint(config, tokenizer, seed)
}

/// A model with made-up weights that says it was trained on `TinyStories`; another seed gives others.
/// The generator is written out, so that they never change.
pub fn random_checkpoint(config: ModelConfig, tokenizer: Tokenizer, seed: u64) -> Checkpoint {
    let mut random = seed;
    let mut tensors = BTreeMap::new();
    for spec in config.tensors() {
        let (center, spread) = match spec.role {
            TensorRole::Norm => (1.0, 0.1),
            TensorRole::Dynamics => (0.0, 1.0),
            _ => (0.0, 0.5),
        };
        let mut next = || {
            // Knuth's multiplier; the upper 24 bits as -1 to 1.
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
