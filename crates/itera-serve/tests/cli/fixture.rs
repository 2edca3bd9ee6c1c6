//! The program in a temporary folder.

use std::{
    ops::Deref,
    process::{Command, Output},
};

use itera_testing::TestFolder;

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
    pub(crate) fn new() -> Self {
        Self {
            folder: TestFolder::new(),
        }
    }

    /// The program with these arguments, in the folder.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.folder
            .command(env!("CARGO_BIN_EXE_itera-serve"), arguments)
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }
}
