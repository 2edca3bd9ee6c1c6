//! Every bad input ends with exit status 2 and one message that says what to do.

use std::fs;

use itera_core::config::{ModelConfig, Preset};
use itera_testing::{bytes, random_checkpoint, small_checkpoint, snapshot};

use crate::fixture::{CliTest, text};

#[test]
fn opsets_that_graphs_cannot_have() {
    let test = CliTest::new();
    let config = ModelConfig {
        d_model: 32,
        d_inner: 32,
        d_expert: 16,
        ..Preset::Test.config(257)
    };
    test.add_model("small", &random_checkpoint(config, bytes(), 1));
    snapshot!(test, "onnx --checkpoint small --precision int4 --opset 20 --output files", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    small has no int4 file made from it beside it, so its weights were rounded in memory; `itera-train quantize` makes a better one
    error: `--opset` is 20, but integers of 4 bits with a scale for each block need at least 21; give `--opset 21`, or `--precision int8`
    ");
    snapshot!(test, "onnx --checkpoint small --precision fp32 --opset 9 --output files", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--opset` is 9, expected 18 to 23
    ");
    assert!(!test.path("files").exists());
}

#[test]
fn checkpoints_that_are_not_there_or_broken() {
    let test = CliTest::new();
    snapshot!(test, "onnx --checkpoint missing --output files", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: no checkpoint is called "missing"; looked for [PLACES]; models that exist: [MODELS]; give one of these, a path, or set ITERA_MODELS_DIR
    "#);
    let bytes = fs::read(test.path("models/small.safetensors")).unwrap();
    test.write("models/cut.safetensors", &bytes[..bytes.len() / 2]);
    snapshot!(test, "onnx --checkpoint cut --output files", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot load the checkpoint `[DIR]/models/cut.safetensors`: the length of the data is 18216, expected 42408: the file is cut off or has bytes added
    ");
    // As a later version of the architecture would write it.
    let mut newer = bytes;
    let at = newer
        .windows(18)
        .position(|w| w == br#""itera.format":"1""#)
        .unwrap();
    newer[at + 16] = b'9';
    test.write("models/newer.safetensors", newer);
    snapshot!(test, "onnx --checkpoint newer --output files", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot load the checkpoint `[DIR]/models/newer.safetensors`: `itera.format` is "9", expected a version up to 2: update itera, or make the file again with this version
    "#);
}

#[test]
fn files_that_are_not_ours() {
    let test = CliTest::new();
    test.write("empty.onnx", "");
    test.write("text.onnx", "this is no protobuf");
    test.succeed("onnx --checkpoint small --output . --precision fp32 --graph step");
    let bytes = fs::read(test.path("small.step.fp32.onnx")).unwrap();
    test.write("cut.onnx", &bytes[..bytes.len() / 2]);
    let mut changed = bytes.clone();
    let middle = bytes.len() / 2;
    changed[middle] ^= 0x55;
    test.write("changed.onnx", changed);
    snapshot!(test, "verify --runtime tract nothing.onnx", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read `nothing.onnx`; give a file that `itera-export onnx` wrote: No such file or directory (os error 2)
    ");
    snapshot!(test, "verify --runtime tract empty.onnx", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `empty.onnx` cannot be used; write it again with `itera-export onnx`: it was not written by `itera-export onnx`, or is cut short: it has no metadata `itera.onnx`
    ");
    snapshot!(test, "verify --runtime tract text.onnx", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `text.onnx` cannot be used; write it again with `itera-export onnx`: it is no ONNX file, or cut short: failed to decode Protobuf message: ModelProto.metadata_props: invalid wire type: EndGroup (expected LengthDelimited)
    ");
    snapshot!(test, "verify --runtime tract cut.onnx", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `cut.onnx` cannot be used; write it again with `itera-export onnx`: it is no ONNX file, or cut short: failed to decode Protobuf message: ModelProto.graph: buffer underflow
    ");
    let run = test.run("verify --runtime tract changed.onnx");
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("write it again with `itera-export onnx`"));
}

#[test]
fn files_of_another_checkpoint() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output . --precision fp32 --graph step");
    test.add_model("small", &small_checkpoint(bytes(), 9));
    snapshot!(test, "verify --runtime tract --dataset stories.txt small.step.fp32.onnx", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `small.step.fp32.onnx` was made from another version of the checkpoint small; write it again with `itera-export onnx`, or give the right one with `--checkpoint`
    ");
}

#[test]
fn the_round_trip_through_burn_takes_no_file() {
    let test = CliTest::new();
    snapshot!(test, "verify --runtime burn small.step.fp32.onnx", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--runtime burn` runs the graph that was compiled in and no file; leave out the files
    ");
}

#[cfg(not(feature = "burn"))]
#[test]
fn the_round_trip_through_burn_says_how_to_build_it() {
    let test = CliTest::new();
    snapshot!(test, "verify --runtime burn --output r.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: this build has no Burn; leave out `--runtime burn`, or build with `cargo build --release -p itera-export --features burn`
    ");
}

#[test]
fn libraries_that_cannot_be_loaded() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output . --precision fp32 --graph step");
    test.write("libonnxruntime.so", "this is no library");
    for (path, cause) in [
        ("libonnxruntime.so", "cannot be loaded"),
        ("none.so", "cannot be loaded"),
    ] {
        let mut command = test.command("verify --runtime onnxruntime small.step.fp32.onnx");
        let run = command
            .env("ORT_DYLIB_PATH", test.path(path))
            .output()
            .unwrap();
        let message = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{message}");
        assert!(message.contains(cause), "{message}");
        assert!(
            message.contains("scripts/setup-onnxruntime.sh"),
            "{message}"
        );
    }
}

#[test]
fn numbers_and_outputs() {
    let test = CliTest::new();
    snapshot!(test, "bench --checkpoint small --samples 0 --output r.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--samples` is 0, expected 1 to 10000
    ");
    snapshot!(test, "verify --max-tokens 0 --runtime tract --output r.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--max-tokens` is 0, expected at least 1
    ");
    snapshot!(test, "table nothing.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read `nothing.json`; `itera-export verify` makes one: No such file or directory (os error 2)
    ");
    test.write("other.json", r#"{"schema": "itera.power/1"}"#);
    snapshot!(test, "table other.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `other.json` is not what `itera-export` writes; remove it, or give another file: field `schema` is `itera.power/1`, expected `itera.export/1`
    ");
}

#[test]
fn an_output_is_replaced_only_by_a_complete_one() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output files --precision fp32");
    let before = fs::read(test.path("files/small.step.fp32.onnx")).unwrap();
    // The second checkpoint is not there, so nothing of the first is written either.
    test.add_model("small", &small_checkpoint(bytes(), 9));
    let run =
        test.run("onnx --checkpoint small --checkpoint missing --output files --precision fp32");
    assert_eq!(run.status.code(), Some(2));
    assert_eq!(
        fs::read(test.path("files/small.step.fp32.onnx")).unwrap(),
        before
    );
}

#[test]
fn outputs_are_neither_inputs_nor_each_other() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output files --precision fp32 --graph step");
    for folder in ["d1", "d2"] {
        let bytes = small_checkpoint(bytes(), 1).to_bytes().unwrap();
        test.write(&format!("{folder}/m.safetensors"), bytes);
    }
    let names = ["d1/m.safetensors", "files/small.step.fp32.onnx"];
    let content = || names.map(|name| fs::read(test.path(name)).unwrap());
    let before = content();
    for line in [
        "logits --checkpoint d1/m.safetensors --output d2/../d1/m.safetensors",
        "bench --checkpoint d1/m.safetensors --output d1/m.safetensors",
        "onnx --checkpoint d1/m.safetensors --checkpoint d2/m.safetensors --output col",
        "verify files/small.step.fp32.onnx --runtime tract --output ./files/small.step.fp32.onnx",
    ] {
        let run = test.run(line);
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{line}: {said}");
        assert!(said.contains("are the same file"), "{line}: {said}");
        assert!(content() == before && !test.path("col").exists(), "{line}");
    }
}

#[test]
fn results_of_two_processes_are_both_kept() {
    let test = CliTest::new();
    let graphs = ["step", "sequence"];
    for graph in graphs {
        test.succeed(&format!(
            "onnx --checkpoint small --output files --precision fp32 --graph {graph}"
        ));
    }
    let runs = graphs.map(|graph| {
        let line = format!(
            "verify files/small.{graph}.fp32.onnx --runtime tract --max-tokens 64 --output r.json"
        );
        test.command(&line).spawn().unwrap()
    });
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    let files: Vec<String> = test
        .record("r.json")
        .files
        .into_iter()
        .map(|file| file.file)
        .collect();
    assert_eq!(files, ["small.sequence.fp32.onnx", "small.step.fp32.onnx"]);
}
