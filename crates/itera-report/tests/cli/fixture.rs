//! The program in a temporary folder that holds a copy of the fixtures.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use insta::Settings;
use tempfile::TempDir;

/// The committed results.
pub(crate) const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// A folder with `results` and `data/models`.
pub(crate) struct CliTest {
    dir: TempDir,
}

impl CliTest {
    /// A folder with a copy of the fixtures.
    pub(crate) fn new() -> Self {
        let test = Self::empty();
        for folder in ["results", "data/models"] {
            for entry in fs::read_dir(Path::new(FIXTURES).join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                test.write(&format!("{folder}/{name}"), fs::read(&path).unwrap());
            }
        }
        test
    }

    /// An empty folder.
    pub(crate) fn empty() -> Self {
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
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Reads a file of the folder.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces a piece of a file of the folder, which must be there.
    pub(crate) fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no `{from}`");
        self.write(name, text.replace(from, to));
    }

    /// The program with these arguments.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_itera-report"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path());
        command
    }

    /// Runs the program.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the program, which must succeed.
    pub(crate) fn succeed(&self, arguments: &str) {
        let run = self.run(arguments);
        let message = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success(), "{arguments}: {message}");
    }

    /// Snapshot settings that hide the name of the folder.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::clone_current();
        let real = self.dir.path().canonicalize().unwrap();
        for dir in [real.as_path(), self.dir.path()] {
            let regex = dir
                .display()
                .to_string()
                .replace('\\', r"\\")
                .replace('.', r"\.");
            settings.add_filter(&regex, "[DIR]");
        }
        settings
    }
}

/// Snapshot of exit status, stdout and stderr.
macro_rules! snapshot {
    ($name:literal, $test:expr, $arguments:expr) => {
        let test = &$test;
        test.settings().bind(|| {
            insta_cmd::assert_cmd_snapshot!($name, test.command($arguments));
        });
    };
}
pub(crate) use snapshot;
