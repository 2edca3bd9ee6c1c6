//! The program in a temporary folder.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use insta::Settings;
use tempfile::TempDir;

/// The program in a temporary folder.
pub(crate) struct CliTest {
    dir: TempDir,
}

impl CliTest {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The program with these arguments, in the folder.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_itera-serve"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Snapshot settings that hide what changes from run to run or from machine to machine.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::clone_current();
        for dir in [
            self.dir.path().canonicalize().unwrap(),
            self.dir.path().to_owned(),
        ] {
            let pattern = dir.display().to_string().replace('.', r"\.");
            settings.add_filter(&pattern, "[DIR]");
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
