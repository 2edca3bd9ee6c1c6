//! A temporary folder with random models and a text, and the program running in it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use insta::Settings;
use itera_core::{
    checkpoint::{Checkpoint, Tensor, TensorData},
    config::{ModelConfig, Preset, TensorRole},
    io::sha256_hex,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use itera_record::{ExportRecord, Record as _};
use prost::Message as _;
use tempfile::TempDir;
use tract_onnx::pb::ModelProto;

/// Stories of some lengths, none of which is a multiple of a chunk.
pub(crate) const STORIES: &str = "Once upon a time there was a small boat.\nIt was red.\n\
    <|endoftext|>\nThe café was open, and Zoë drank her tea.\n<|endoftext|>\nA cat sat. A dog \
    ran. The sun was warm and the day was long.\n<|endoftext|>\nHi!\n<|endoftext|>\nTom had a \
    ball. The ball was big. Tom and the ball went up the hill, and then they came down again.\n";

/// The program in a temporary folder.
pub(crate) struct CliTest {
    dir: TempDir,
}

impl CliTest {
    /// A folder with the model `small` and the text `stories.txt`.
    pub(crate) fn new() -> Self {
        let test = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        test.write("stories.txt", STORIES);
        test.add_model("small", &random_checkpoint(Preset::Test.config(257), 1));
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_itera-export"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .env("ITERA_MODELS_DIR", self.path("models"))
            .env("ITERA_DATA_DIR", self.path("data"));
        command
    }

    /// Runs the program.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the program, which must succeed.
    pub(crate) fn succeed(&self, arguments: &str) {
        let run = self.run(arguments);
        let (out, error) = (text(&run.stdout), text(&run.stderr));
        assert!(run.status.success(), "{arguments}: {out}{error}");
    }

    /// The result that the program wrote.
    pub(crate) fn record(&self, name: &str) -> ExportRecord {
        ExportRecord::from_json(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// An ONNX file that the program wrote.
    pub(crate) fn proto(&self, name: &str) -> ModelProto {
        ModelProto::decode(fs::read(self.path(name)).unwrap().as_slice()).unwrap()
    }

    /// Writes an ONNX file with the digest that belongs to its graph.
    pub(crate) fn write_proto(&self, name: &str, mut proto: ModelProto) {
        let digest = sha256_hex(&proto.graph.as_ref().unwrap().encode_to_vec());
        let entries = proto.metadata_props.iter_mut();
        for entry in entries.filter(|entry| entry.key == "itera.digest") {
            entry.value.clone_from(&digest);
        }
        self.write(name, proto.encode_to_vec());
    }

    /// Snapshot settings that hide what changes from run to run or from machine to machine.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::clone_current();
        let real = self.dir.path().canonicalize().unwrap();
        for dir in [real.as_path(), self.dir.path()] {
            settings.add_filter(&dir.display().to_string().replace('.', r"\."), "[DIR]");
        }
        settings.add_filter(r"looked for [^;]*;", "looked for [PLACES];");
        settings.add_filter(r"models that exist: [^;]*;", "models that exist: [MODELS];");
        settings.add_filter(r"in \d\.\d\d s", "in [TIME]");
        settings.add_filter(r"\d\.\d+e-\d+", "#e-#");
        settings
    }
}

/// Output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The shared library of ONNX Runtime that the program finds from the checkout or the environment.
pub(crate) fn onnxruntime_is_there() -> bool {
    let folder = checkout().join(".runtimes/python/onnxruntime/capi");
    folder.is_dir() || std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty())
}

/// The folder of the workspace.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
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

/// A model with random weights.
pub(crate) fn random_checkpoint(config: ModelConfig, seed: u64) -> Checkpoint {
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
    Checkpoint {
        config,
        tokenizer: Tokenizer::Bytes(BytesTokenizer),
        training: serde_json::json!({"dataset": "tinystories"}),
        tensors,
    }
}
