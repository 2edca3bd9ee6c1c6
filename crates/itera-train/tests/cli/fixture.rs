//! A temporary folder to run the program in, and snapshots without what changes from run to run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use insta_cmd::get_cargo_bin;
use tempfile::TempDir;

/// A run of the `test` preset that takes a fraction of a second.
pub(crate) const QUICK_FIT: &str = "fit --dataset sample-tinystories --preset test --tokenizer bytes \
     --batch 4 --length 16 --evaluate-every 4 --evaluate-documents 1";

/// The folder.
pub(crate) struct CliTest {
    folder: TempDir,
}

impl CliTest {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The program with these arguments, separated by spaces, in the folder.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(get_cargo_bin("itera-train"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
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
