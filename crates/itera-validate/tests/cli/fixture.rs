//! A temporary folder with random models and texts, and the program running in it.

use std::{fs, ops::Deref, process::Command};

use insta::Settings;
use itera_core::{
    checkpoint::{Checkpoint, TensorData},
    tokenizer::{CharTokenizer, Tokenizer},
};
use itera_record::{Record as _, ValidationRecord};
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
    /// A folder with the model `small` (bytes) and the text `stories.txt`.
    pub(crate) fn new() -> Self {
        let folder = TestFolder::new();
        folder.write("stories.txt", STORIES);
        folder.add_model("small", &small_checkpoint(bytes(), 1));
        Self { folder }
    }

    /// The program with these arguments; it finds the folder's models and no data set.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.folder
            .command_at_home(env!("CARGO_BIN_EXE_itera-validate"), arguments)
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
        let mut settings = self.folder.settings();
        settings.add_filter(r"\d\.\d{3}e", "#.###e");
        settings.add_filter(r"\d\.\d{3}\b", "#.###");
        settings.add_filter(r"\d\.\d{4}\b", "#.####");
        settings.add_filter(r"\d\.\d{5}\b", "#.#####");
        settings.add_filter(r", (avx512|avx2|neon|scalar)\)", ", [KERNEL])");
        settings.add_filter(
            r"kernels of this processor are [^;]*;",
            "kernels of this processor are [KERNELS];",
        );
        settings.add_filter(r"\d+\.\d{9,}", "[NUMBER]");
        settings.add_filter(r"scored in [^\n]*", "scored in [TIME]");
        settings
    }
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
