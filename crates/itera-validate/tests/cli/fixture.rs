//! A temporary folder with random models and texts, and the program running in it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use insta::Settings;
use itera_core::{
    checkpoint::{Checkpoint, Tensor, TensorData},
    config::{Preset, TensorRole},
    tokenizer::{BytesTokenizer, CharTokenizer, Tokenizer},
};
use itera_record::{Record as _, ValidationRecord};
use tempfile::TempDir;

/// Five stories and what separates them; accents make characters and bytes differ.
pub(crate) const STORIES: &str = "Once upon a time there was a small boat.\nIt was red.\n\
    <|endoftext|>\nThe café was open, and Zoë drank her tea.\n<|endoftext|>\nA cat sat. A dog \
    ran. The sun was warm and the day was long.\n<|endoftext|>\nHi!\n<|endoftext|>\nTom had a \
    ball. The ball was big. Tom and the ball went up the hill, and then they came down again.\n";

/// The program in a temporary folder.
pub(crate) struct CliTest {
    dir: TempDir,
}

impl CliTest {
    /// A folder with the model `small` (bytes) and the text `stories.txt`.
    pub(crate) fn new() -> Self {
        let test = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        test.write("stories.txt", STORIES);
        test.add_model("small", &random_checkpoint(bytes(), 1));
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

    /// Adds a model that can be named on the command line.
    pub(crate) fn add_model(&self, name: &str, checkpoint: &Checkpoint) {
        self.write(
            &format!("models/{name}.safetensors"),
            checkpoint.to_bytes().unwrap(),
        );
    }

    /// The program with these arguments; it finds the folder's models and no data set.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_itera-validate"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .env("ITERA_MODELS_DIR", self.path("models"))
            .env("ITERA_DATA_DIR", self.path("data"));
        command
    }

    /// Runs the program, which must succeed, and reads the record that it wrote.
    pub(crate) fn record(&self, arguments: &str, output: &str) -> ValidationRecord {
        let run = self
            .command(&format!("{arguments} --output {output}"))
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        ValidationRecord::from_json(&fs::read(self.path(output)).unwrap()).unwrap()
    }

    /// Snapshot settings that hide what changes from run to run or from machine to machine.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::clone_current();
        let real = self.dir.path().canonicalize().unwrap();
        for dir in [real.as_path(), self.dir.path()] {
            settings.add_filter(&regex_of(dir), "[DIR]");
        }
        settings.add_filter(r"\d\.\d{3}e", "#.###e");
        settings.add_filter(r"\d\.\d{4}\b", "#.####");
        settings.add_filter(r"\d\.\d{5}\b", "#.#####");
        settings.add_filter(r", (avx512|avx2|neon|scalar)\)", ", [KERNEL])");
        settings.add_filter(
            r"kernels of this processor are [^;]*;",
            "kernels of this processor are [KERNELS];",
        );
        settings.add_filter(r"scored in [^\n]*", "scored in [TIME]");
        settings.add_filter(r"looked for [^;]*;", "looked for [PLACES];");
        settings.add_filter(r"models that exist: [^;]*;", "models that exist: [MODELS];");
        settings
    }
}

/// Says that a test could not be made; unlike `eprintln`, also when the test passes.
pub(crate) fn skip(reason: &str) {
    io::stderr()
        .write_all(format!("SKIPPED: {reason}\n").as_bytes())
        .unwrap();
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

/// The tokenizer of bytes.
pub(crate) fn bytes() -> Tokenizer {
    Tokenizer::Bytes(BytesTokenizer)
}

/// The tokenizer of the characters of `text`.
pub(crate) fn characters(text: &str) -> Tokenizer {
    Tokenizer::Char(CharTokenizer::train([text.as_bytes()].into_iter()).unwrap())
}

/// Multiplies the weights of one tensor.
pub(crate) fn scale(checkpoint: &mut Checkpoint, tensor: &str, factor: f32) {
    if let TensorData::F32(values) = &mut checkpoint.tensors.get_mut(tensor).unwrap().data {
        for value in values {
            *value *= factor;
        }
    }
}

/// A small model with random weights that says it was trained on TinyStories.
pub(crate) fn random_checkpoint(tokenizer: Tokenizer, seed: u64) -> Checkpoint {
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
        tensors.insert(
            spec.name,
            Tensor {
                shape: spec.shape,
                data: TensorData::F32(values),
            },
        );
    }
    let training = serde_json::json!({"dataset": "tinystories"});
    Checkpoint {
        config,
        tokenizer,
        training,
        tensors,
    }
}
