//! A temporary folder with made-up models and texts, and the program running in it.

use std::{
    fs,
    io::Write as _,
    ops::Deref,
    process::{Command, Output, Stdio},
};

use insta::Settings;
use itera_core::{
    checkpoint::Precision,
    quant::{Options, quantize},
};
use itera_testing::{STORIES, TestFolder, bytes, small_checkpoint};

/// The program in a temporary folder.
pub(crate) struct CliTest {
    folder: TestFolder,
}

impl Deref for CliTest {
    type Target = TestFolder;

    fn deref(&self) -> &TestFolder {
        &self.folder
    }
}

impl CliTest {
    /// A folder with the models `small` and `other` (bytes, int8) and the text `stories.txt`.
    pub(crate) fn new() -> Self {
        let folder = TestFolder::new();
        folder.write("stories.txt", STORIES);
        for (name, seed) in [("small", 1), ("other", 2)] {
            let options = Options::data_free(Precision::Int8);
            let (integers, _) = quantize(&small_checkpoint(bytes(), seed), &options).unwrap();
            folder.add_model(name, &integers);
        }
        Self { folder }
    }

    /// The program with these arguments; it finds the folder's models.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.folder
            .command_at_home(env!("CARGO_BIN_EXE_itera-zip"), arguments)
    }

    /// Runs the program, which must succeed.
    pub(crate) fn run(&self, arguments: &str, input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {errors}");
        output
    }

    /// A file of the folder.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Snapshot settings that hide what changes from run to run.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = self.folder.settings();
        settings.add_filter(r"\d+\.\d{3} MB/s", "#.### MB/s");
        settings.add_filter(r"\b[0-9a-f]{6}\b", "[DIGEST]");
        // The byte that names a model may name others too.
        settings.add_filter(
            r"(give `--checkpoint micro-tinystories --precision int4`)( or `[^`]*`)+",
            "$1",
        );
        settings
    }
}
