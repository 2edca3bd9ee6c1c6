//! A file that computes something else is found out and renamed.

use itera_record::ExportVerdict;

use crate::fixture::{CliTest, text};

/// A file whose weights are not those of its checkpoint.
fn tampered(test: &CliTest) {
    test.succeed("onnx --checkpoint small --output files --precision fp32 --graph step");
    let mut proto = test.proto("files/small.step.fp32.onnx");
    let constants = &mut proto.graph.as_mut().unwrap().initializer;
    let weight = constants
        .iter_mut()
        .find(|c| c.name == "l0.in_proj")
        .unwrap();
    weight.raw_data[3] ^= 1; // the exponent of the first weight
    test.write_proto("files/small.step.fp32.onnx", proto);
}

#[test]
fn a_breach_is_status_1_and_the_file_is_kept_under_another_name() {
    let test = CliTest::new();
    tampered(&test);
    let run = test.run(
        "verify --runtime tract --dataset stories.txt --output r.json files/small.step.fp32.onnx",
    );
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
    assert!(!test.path("files/small.step.fp32.onnx").exists());
    assert!(test.path("files/small.step.fp32.failed.onnx").exists());
    let message = text(&run.stderr);
    assert!(
        message.contains("logits differ from the native engine's"),
        "{message}"
    );
    assert!(message.contains("small.step.fp32.failed.onnx"), "{message}");
    let record = test.record("r.json");
    assert_eq!(record.files[0].file, "small.step.fp32.failed.onnx");
    assert_eq!(record.checks[0].verdict, ExportVerdict::Failed);

    // A good file takes the place of the failed one in the result.
    test.succeed("onnx --checkpoint small --output files --precision fp32 --graph step");
    test.succeed(
        "verify --runtime tract --dataset stories.txt --output r.json files/small.step.fp32.onnx",
    );
    let passed = |check: &itera_record::ExportCheck| check.verdict == ExportVerdict::Passed;
    assert!(test.record("r.json").checks.iter().any(passed));
}

#[test]
fn a_graph_that_a_runtime_cannot_read_has_failed() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output files --precision fp32 --graph step");
    let mut proto = test.proto("files/small.step.fp32.onnx");
    proto.graph.as_mut().unwrap().node[0].op_type = "NoSuchOperator".to_owned();
    test.write_proto("files/small.step.fp32.onnx", proto);
    let run = test.run(
        "verify --runtime tract --dataset stories.txt --output r.json files/small.step.fp32.onnx",
    );
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
    assert!(
        text(&run.stdout).contains("NoSuchOperator"),
        "{}",
        text(&run.stdout)
    );
}

#[test]
fn the_table_is_that_of_the_result() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output files --precision int8");
    let verify = "verify --runtime tract --dataset stories.txt --output r.json \
                  files/small.step.int8.onnx files/small.sequence.int8.onnx";
    let printed = text(&test.run(verify).stdout);
    assert_eq!(printed, text(&test.run("table r.json").stdout));
    assert!(
        printed.contains("small.sequence.int8.onnx  tract"),
        "{printed}"
    );
}
