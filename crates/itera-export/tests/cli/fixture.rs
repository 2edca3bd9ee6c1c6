//! A temporary folder with random models and a text, and the program running in it.

use std::{
    fs,
    ops::Deref,
    path::Path,
    process::{Command, Output},
};

use insta::Settings;
use itera_core::digest::sha256_hex;
use itera_record::{ExportRecord, Record as _};
use itera_testing::{STORIES, TestFolder, bytes, small_checkpoint};
use prost::Message as _;
use tract_onnx::pb::ModelProto;

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
    /// A folder with the model `small` and the text `stories.txt`.
    pub(crate) fn new() -> Self {
        let folder = TestFolder::new();
        folder.write("stories.txt", STORIES);
        folder.add_model("small", &small_checkpoint(bytes(), 1));
        Self { folder }
    }

    /// The program with these arguments; it finds the folder's models and no data set.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.folder
            .command_at_home(env!("CARGO_BIN_EXE_itera-export"), arguments)
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
        let mut settings = self.folder.settings();
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
