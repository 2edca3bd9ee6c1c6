//! A temporary folder to run the program in, and snapshots without what changes from run to run.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use itera_core::{checkpoint::Checkpoint, config::Preset};
use itera_testing::{TestFolder, bytes, random_checkpoint};

/// A run of the `test` preset that takes a fraction of a second.
pub(crate) const QUICK_FIT: &str = "fit --dataset sample-tinystories --preset test --tokenizer bytes \
     --batch 4 --length 16 --evaluate-every 4 --evaluate-documents 1";

/// The program in a temporary folder.
pub(crate) struct CliTest(TestFolder);

impl Deref for CliTest {
    type Target = TestFolder;

    fn deref(&self) -> &TestFolder {
        &self.0
    }
}

impl CliTest {
    pub(crate) fn new() -> Self {
        Self(TestFolder::new())
    }

    /// A folder with the checkpoint `x.safetensors`.
    pub(crate) fn with_model() -> Self {
        let test = Self::new();
        test.write("x.safetensors", model(1, Preset::Test).to_bytes().unwrap());
        test
    }

    /// The program with these arguments, separated by spaces, in the folder.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = self.0.command(env!("CARGO_BIN_EXE_itera-train"), arguments);
        command
            .env("ITERA_DATA_DIR", "nowhere")
            .env("COLUMNS", "100")
            .env_remove("ITERA_MODELS_DIR");
        command
    }

    /// Runs the program and expects success.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {output:?}");
        output
    }

    /// Runs the program, which must refuse, and returns what it says.
    pub(crate) fn refused(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Names of the files, with their content.
    pub(crate) fn content(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.files().into_iter();
        names
            .map(|name| (name.clone(), fs::read(self.path(&name)).unwrap_or_default()))
            .collect()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A byte-level model with made-up weights, trained on the sample as it says.
pub(crate) fn model(seed: u64, preset: Preset) -> Checkpoint {
    let tokenizer = bytes();
    let config = preset.config(tokenizer.vocab_size());
    Checkpoint {
        training: serde_json::json!({"dataset": "sample-tinystories", "seed": 7}),
        ..random_checkpoint(config, tokenizer, seed)
    }
}

/// The workspace's folder of data sets.
pub(crate) fn workspace_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../data")
        .canonicalize()
        .unwrap()
}

/// Compares a command's exit status and output with the snapshot of the calling test.
macro_rules! assert_snapshot {
    ($command:expr) => {
        crate::fixture::settings().bind(|| insta_cmd::assert_cmd_snapshot!($command));
    };
}
pub(crate) use assert_snapshot;

/// Hides places, and figures that depend on the machine.
pub(crate) fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&workspace_data().display().to_string(), "[workspace data]");
    for (pattern, replacement) in [
        (r"/[^ `\n]*/\.tmp[A-Za-z0-9]+", "[folder]"),
        (r"\d+ tokens/s", "[n] tokens/s"),
        (r"tokens in \d+ s", "tokens in [n] s"),
        (r"sampled in \d+\.\d+ s", "sampled in [n] s"),
        (r"(train|validation)(:?) \d+\.\d+", "$1$2 [n]"),
        (
            r"expert load [\d ]+ %, entropy \d\.\d+",
            "expert load [n] %, entropy [n]",
        ),
    ] {
        settings.add_filter(pattern, replacement);
    }
    settings
}
