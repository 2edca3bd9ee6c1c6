//! A temporary folder with a random model, and the program running in it.

use std::{
    fs,
    ops::Deref,
    process::{Command, Output},
};

use itera_record::{PowerRecord, Record as _};
use itera_testing::{TestFolder, bytes, small_checkpoint};

/// The least that is a measurement.
pub(crate) const TINY: &str =
    "--checkpoint small --processes 2 --samples 2 --seq-len 4 --min-seconds 0 --precision fp32";

/// The least that the gate accepts.
pub(crate) const GATE: &str =
    "--checkpoint small --processes 6 --samples 1 --seq-len 4 --min-seconds 0 --precision fp32";

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
    /// A folder with the model `small`.
    pub(crate) fn new() -> Self {
        let folder = TestFolder::new();
        folder.add_model("small", &small_checkpoint(bytes(), 1));
        Self { folder }
    }

    /// The program with these arguments; it finds the folder's models.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.folder
            .command_at_home(env!("CARGO_BIN_EXE_itera-power"), arguments)
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
}
