//! A file that computes something else is found out and renamed.

use itera_record::ExportVerdict;

use crate::fixture::{CliTest, text};

/// A file whose weights are not those of its checkpoint.
fn tampered(test: &CliTest, folder: &str) {
    test.succeed(&format!(
        "onnx --checkpoint small --output {folder} --precision fp32 --graph step"
    ));
    let file = format!("{folder}/small.step.fp32.onnx");
    let mut proto = test.proto(&file);
    let constants = &mut proto.graph.as_mut().unwrap().initializer;
    let weight = constants
        .iter_mut()
        .find(|c| c.name == "l0.in_proj")
        .unwrap();
    weight.raw_data[3] ^= 1; // the exponent of the first weight
    test.write_proto(&file, proto);
}

#[test]
fn a_breach_is_status_1_and_the_file_is_kept_under_another_name() {
    let test = CliTest::new();
    tampered(&test, "results/onnx");
    let run = test.run(
        "verify --runtime tract --dataset stories.txt --output r.json results/onnx/small.step.fp32.onnx",
    );
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
    assert!(!test.path("results/onnx/small.step.fp32.onnx").exists());
    assert!(
        test.path("results/onnx/small.step.fp32.failed.onnx")
            .exists()
    );
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
    test.succeed("onnx --checkpoint small --output results/onnx --precision fp32 --graph step");
    test.succeed(
        "verify --runtime tract --dataset stories.txt --output r.json results/onnx/small.step.fp32.onnx",
    );
    let record = test.record("r.json");
    let [file] = &record.files[..] else {
        panic!("{:?}", record.files);
    };
    let [check] = &record.checks[..] else {
        panic!("{:?}", record.checks);
    };
    assert_eq!(file.file, "small.step.fp32.onnx");
    assert_eq!(check.file, file.file);
    assert_eq!(check.verdict, ExportVerdict::Passed);
}

#[test]
fn a_breach_elsewhere_leaves_the_file_as_it_is() {
    let test = CliTest::new();
    tampered(&test, "files");
    let run = test.run(
        "verify --runtime tract --dataset stories.txt --output r.json files/small.step.fp32.onnx",
    );
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
    assert!(test.path("files/small.step.fp32.onnx").exists());
    assert_eq!(
        test.record("r.json").checks[0].verdict,
        ExportVerdict::Failed
    );
}

#[test]
fn nothing_verified_is_status_2() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output files --precision int4 --graph step");
    let run = test.run(
        "verify --runtime tract --dataset stories.txt --output r.json files/small.step.int4.onnx",
    );
    assert_eq!(run.status.code(), Some(2), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("nothing was verified"));
}

#[test]
fn batches_and_long_pieces_are_verified() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output files --precision int8");
    test.succeed(
        "verify --runtime tract --dataset stories.txt --output r.json --max-tokens 50 \
         files/small.step.int8.onnx files/small.sequence.int8.onnx",
    );
    let record = test.record("r.json");
    let shapes = record.checks.iter().flat_map(|check| {
        let figures = check.figures.as_ref().unwrap();
        figures
            .shapes
            .iter()
            .map(|shape| (shape.batch, shape.tokens))
    });
    let shapes: Vec<(u64, u64)> = shapes.collect();
    assert_eq!(shapes, [(1, 1000), (3, 33), (1, 33)]);
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

#[cfg(feature = "burn")]
#[test]
fn the_step_graph_survives_the_round_trip_through_burn() {
    let test = CliTest::new();
    test.succeed("verify --runtime burn --dataset stories.txt --output r.json");
    let record = test.record("r.json");
    assert!(record.files.is_empty() && record.checks.is_empty());
    let [trip] = record.round_trips.as_slice() else {
        panic!("{:?}", record.round_trips);
    };
    assert_eq!(trip.verdict, ExportVerdict::Passed, "{trip:?}");
    assert_eq!((trip.model.as_str(), trip.graph.as_str()), ("test", "step"));
    assert!(trip.importer.starts_with("burn-onnx 0."), "{trip:?}");
    let figures = trip.figures.as_ref().unwrap();
    assert!(figures.tokens > 200, "{figures:?}");
    assert!(figures.max_relative_difference < 1e-4, "{figures:?}");
    assert_eq!(figures.state_errors.len(), 2, "after 1 and 64 tokens");
    let printed = text(&test.run("table r.json").stdout);
    assert!(printed.contains("burn-onnx"), "{printed}");
}

#[cfg(not(feature = "burn"))]
#[test]
fn without_burn_the_round_trip_is_said_to_be_missing() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output files --precision fp32 --graph step");
    test.succeed("verify --dataset stories.txt --output r.json files/small.step.fp32.onnx");
    let trip = &test.record("r.json").round_trips[0];
    assert_eq!(trip.verdict, ExportVerdict::Unavailable, "{trip:?}");
    let printed = text(&test.run("table r.json").stdout);
    assert!(printed.contains("--features burn"), "{printed}");
}
