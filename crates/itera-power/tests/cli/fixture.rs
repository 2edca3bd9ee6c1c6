//! A temporary folder with a random model, and the program running in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use insta::Settings;
use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    config::{Preset, TensorRole},
    tokenizer::{BytesTokenizer, Tokenizer},
};
use itera_record::{PowerRecord, Record as _};
use tempfile::TempDir;

/// The least that is a measurement and that the gate accepts.
pub(crate) const TINY: &str =
    "--checkpoint small --samples 10 --seq-len 4 --min-seconds 0 --precision fp32";

/// The program in a temporary folder.
pub(crate) struct CliTest {
    dir: TempDir,
}

impl CliTest {
    /// A folder with the model `small`.
    pub(crate) fn new() -> Self {
        let test = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        test.write(
            "models/small.safetensors",
            random_checkpoint(1).to_bytes().unwrap(),
        );
        test
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The program with these arguments; it finds the folder's models.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_itera-power"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .env("ITERA_MODELS_DIR", self.path("models"));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the program, which must succeed, and reads the record that it wrote.
    pub(crate) fn record(&self, arguments: &str, output: &str) -> PowerRecord {
        let run = self.run(&format!("{arguments} --output {output}"));
        let message = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{arguments}: {message}");
        self.read(output)
    }

    /// Reads a record of the folder.
    pub(crate) fn read(&self, name: &str) -> PowerRecord {
        PowerRecord::from_json(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Changes a record of the folder and writes it under another name.
    pub(crate) fn edit(&self, name: &str, new: &str, change: impl FnOnce(&mut PowerRecord)) {
        let mut record = self.read(name);
        change(&mut record);
        self.write(new, record.to_json().unwrap());
    }

    /// Snapshot settings that hide what changes from run to run or from machine to machine.
    pub(crate) fn settings(&self) -> Settings {
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

/// Snapshot of exit status, standard output and standard error.
macro_rules! snapshot {
    ($test:expr, $arguments:expr, @$expected:literal) => {
        let test = &$test;
        test.settings().bind(|| {
            insta_cmd::assert_cmd_snapshot!(test.command($arguments), @$expected);
        });
    };
}
pub(crate) use snapshot;

/// The path as a regular expression.
fn regex_of(path: &Path) -> String {
    path.display()
        .to_string()
        .replace('\\', r"\\")
        .replace('.', r"\.")
}

/// A small model with random weights.
fn random_checkpoint(seed: u64) -> Checkpoint {
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
    let training = serde_json::json!({"dataset": "tinystories"});
    Checkpoint {
        config,
        tokenizer,
        training,
        tensors,
    }
}
