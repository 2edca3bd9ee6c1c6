//! Bad files are listed with the reason and the rest is rendered; what cannot be done ends with exit
//! status 2 and a remedy.

use itera_record::Record as _;

use crate::{
    fixture::{CliTest, snapshot},
    records::validation,
};

#[test]
fn bad_files_are_listed_and_the_rest_is_rendered() {
    let test = CliTest::new();
    test.write("results/empty.json", " \n");
    test.write("results/malformed.json", "{\"schema\": \"itera.power/1\"");
    test.write("results/newer.json", "{\"schema\": \"itera.validation/2\"}");
    test.write("results/older.json", "{\"schema\": \"itera.power/0\"}");
    test.write("results/foreign.json", "{\"schema\": \"other/1\"}");
    test.write("results/none.json", "{}");
    test.write("results/other.json", "{\"schema\": \"itera.other/1\"}");
    test.write("results/binary.json", [0_u8, 255]);
    std::fs::remove_file(test.path("data/models/small.metrics.csv")).unwrap();
    snapshot!(test, "", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    warning: results/binary.json: is malformed: expected value at line 1 column 1
    warning: results/empty.json: is empty; run the tool that writes it again
    warning: results/foreign.json: is of the form `other/1`, which is none of this project
    warning: results/malformed.json: is malformed: EOF while parsing an object at line 1 column 26
    warning: results/newer.json: is of the form `itera.validation/2`, this program reads `itera.validation/1`; use the version of itera-report that belongs to it, or write the result anew
    warning: results/none.json: has no field `schema`, so it is no result of this project
    warning: results/older.json: is of the form `itera.power/0`, this program reads `itera.power/1`; use the version of itera-report that belongs to it, or write the result anew
    warning: data/models/small.metrics.csv: the curve of data/models/small.training.json is left out: No such file or directory (os error 2)
    results/other.json: of the form `itera.other/1`, which has no report
    [DIR]/reports: 13 files, 13 of them new or changed
    ");
    let report = test.read("reports/final_validation.md");
    let listed = report
        .split("## Files that could not be used")
        .nth(1)
        .unwrap();
    insta::assert_snapshot!("listed", listed);
    assert!(report.contains("1.2300"), "the scores are shown");
    // What was just written is not stale, but the files are still bad.
    assert_eq!(test.run("--check").status.code(), Some(1));
}

#[test]
fn negative_energies_and_missing_numbers_are_refused() {
    let test = CliTest::new();
    test.replace(
        "results/power.json",
        "\"tdp_watts\": 65.0",
        "\"tdp_watts\": -65.0",
    );
    test.replace(
        "results/validation.json",
        "\"seconds\": 0.5",
        "\"seconds\": null",
    );
    snapshot!(test, "", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    warning: results/power.json: is broken: field `platforms[desktop].tdp_watts` is -65, expected above 0
    warning: results/validation.json: is broken: not a record of this form: invalid type: null, expected f64 at line 83 column 18
    not measured: scores on text, no file of the form itera.validation/1
    not measured: energy, no file of the form itera.power/1
    [DIR]/reports: 9 files, 9 of them new or changed
    ");
}

#[test]
fn two_models_under_one_name_are_not_mixed() {
    let test = CliTest::new();
    let scores = test.read("results/validation.json");
    let digest = scores.split("\"file_sha256\": \"").nth(1).unwrap()[..64].to_owned();
    test.replace("results/power.json", &digest, &"ab".repeat(32));
    snapshot!(test, "", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    warning: results/engine-bench.json: two models are called `small` at fp32 (sha256 090909090909 in results/engine-bench.json, results/onnx-export.json, results/serve-bench.json, results/serve-simulation.json, results/validation.json, data/models/small.training.json; abababababab in results/power.json), so what is said about it is left out; measure again with one file, or give the other a name of its own
    warning: results/onnx-export.json: two models are called `small` at fp32 (sha256 090909090909 in results/engine-bench.json, results/onnx-export.json, results/serve-bench.json, results/serve-simulation.json, results/validation.json, data/models/small.training.json; abababababab in results/power.json), so what is said about it is left out; measure again with one file, or give the other a name of its own
    warning: results/power.json: two models are called `small` at fp32 (sha256 090909090909 in results/engine-bench.json, results/onnx-export.json, results/serve-bench.json, results/serve-simulation.json, results/validation.json, data/models/small.training.json; abababababab in results/power.json), so what is said about it is left out; measure again with one file, or give the other a name of its own
    warning: results/serve-bench.json: two models are called `small` at fp32 (sha256 090909090909 in results/engine-bench.json, results/onnx-export.json, results/serve-bench.json, results/serve-simulation.json, results/validation.json, data/models/small.training.json; abababababab in results/power.json), so what is said about it is left out; measure again with one file, or give the other a name of its own
    warning: results/serve-simulation.json: two models are called `small` at fp32 (sha256 090909090909 in results/engine-bench.json, results/onnx-export.json, results/serve-bench.json, results/serve-simulation.json, results/validation.json, data/models/small.training.json; abababababab in results/power.json), so what is said about it is left out; measure again with one file, or give the other a name of its own
    warning: results/validation.json: two models are called `small` at fp32 (sha256 090909090909 in results/engine-bench.json, results/onnx-export.json, results/serve-bench.json, results/serve-simulation.json, results/validation.json, data/models/small.training.json; abababababab in results/power.json), so what is said about it is left out; measure again with one file, or give the other a name of its own
    warning: data/models/small.training.json: two models are called `small` at fp32 (sha256 090909090909 in results/engine-bench.json, results/onnx-export.json, results/serve-bench.json, results/serve-simulation.json, results/validation.json, data/models/small.training.json; abababababab in results/power.json), so what is said about it is left out; measure again with one file, or give the other a name of its own
    not measured: training runs, no file of the form itera.training/1
    not measured: speed of the native engine, no file of the form itera.engine-bench/1
    not measured: speed of the server, no file of the form itera.serve-bench/1
    not measured: learning from feedback, no file of the form itera.simulation/1
    [DIR]/reports: 10 files, 10 of them new or changed
    ");
    let report = test.read("reports/final_validation.md");
    assert!(
        !report.contains("`small` | fp32"),
        "the ambiguous model is left out"
    );
    assert!(report.contains("`small.int8` | int8"), "others are shown");
}

#[test]
fn two_scores_of_one_thing_are_a_contradiction() {
    let test = CliTest::new();
    test.write("results/again.json", validation(0.01).to_json().unwrap());
    snapshot!(test, "--check", @r"
    success: false
    exit_code: 1
    ----- stdout -----
    ablations.md: is missing
    bits_per_byte.png: is missing
    export_report.md: is missing
    export_runtimes.png: is missing
    final_validation.md: is missing
    kernel_comparison.png: is missing
    perplexity_comparison.png: is missing
    power_desktop.png: is missing
    power_embedded.png: is missing
    power_validation.md: is missing
    quality_vs_size.png: is missing
    runtime_comparison.png: is missing
    training_curves.png: is missing
    validation_report.md: is missing

    ----- stderr -----
    warning: results/validation.json: small at fp32 on tinystories test scores 2557.713096266198 nats, but 2578.5075116829967 in results/again.json, which is shown; delete the wrong one
    [DIR]/reports: 14 files are stale; run `itera-report` without `--check`
    ");
    // The same scores in two files are no contradiction.
    test.write("results/again.json", validation(0.0).to_json().unwrap());
    test.succeed("");
    test.succeed("--check");
}

#[test]
fn nothing_to_read_is_a_failed_check() {
    let test = CliTest::empty();
    test.write("results/validation.json", "");
    snapshot!(test, "", @r"
    success: false
    exit_code: 1
    ----- stdout -----

    ----- stderr -----
    warning: results/validation.json: is empty; run the tool that writes it again
    warning: nothing could be read in `[DIR]/results`, so no report is written; let the tools write results first, for example `cargo run --release -p itera-validate`
    ");
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let test = CliTest::new();
    snapshot!(test, "--results nowhere", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read the folder of results `nowhere`; name another with `--results`, or let the tools write results first, for example `cargo run --release -p itera-validate`: No such file or directory (os error 2)
    ");
    snapshot!(test, "--compare nowhere", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare with the old results: cannot read the folder of results `nowhere`; name another with `--results`, or let the tools write results first, for example `cargo run --release -p itera-validate`: No such file or directory (os error 2)
    ");
    snapshot!(test, "--fail-on-regression 5", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: the following required arguments were not provided:
      --compare <OLD_RESULTS>

    Usage: itera-report --compare <OLD_RESULTS> --fail-on-regression <PCT>

    For more information, try '--help'.
    ");
    snapshot!(test, "--compare results --fail-on-regression -5", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: unexpected argument '-5' found

    Usage: itera-report [OPTIONS]
           itera-report <COMMAND>

    For more information, try '--help'.
    ");
    test.write("file", "");
    snapshot!(test, "--out file/reports", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot write `file/reports/ablations.md`; name another place, or make its folder writable: Not a directory (os error 20)
    ");
    snapshot!(test, "count --root data --output code.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: there is no code in `data`; name the root of a repository with `--root`
    ");
}
