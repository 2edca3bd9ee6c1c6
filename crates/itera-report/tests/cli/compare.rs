//! Comparison with older results, the check of the reports, the summary and the dashboard's form.

use itera_record::Record as _;

use crate::{
    fixture::{CliTest, snapshot},
    records::validation,
};

/// A folder with results, and `old/results` with the same.
fn with_old() -> CliTest {
    let test = CliTest::new();
    for name in ["engine-bench", "training-bench"] {
        std::fs::remove_file(test.path(&format!("results/{name}.json"))).unwrap();
    }
    for name in ["validation.json", "power.json"] {
        test.write(
            &format!("old/results/{name}"),
            test.read(&format!("results/{name}")),
        );
    }
    test
}

#[test]
fn the_help_says_what_there_is() {
    snapshot!(CliTest::empty(), "--help", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    Render the files under results/ into Markdown reports and charts.

    Reports depend on the results alone: the same files give the same bytes on every machine. Files that
    cannot be used are listed with the reason, in the reports and on standard error.

    Exit status: 0 done; 1 a check failed (--check found stale reports or bad files,
    --fail-on-regression found a regression, or nothing could be read); 2 could not run, or nothing
    could be compared.

    Usage: itera-report [OPTIONS]
           itera-report <COMMAND>

    Commands:
      count  Count the code of a repository into a result file, from which reports take their statistics
      help   Print this message or the help of the given subcommand(s)

    Options:
          --results <DIR>
              Folder of the result files [default: results of the workspace]

          --models <DIR>
              Folder of the models, whose training records are read [default: data/models beside the
              folder of results]

          --out <DIR>
              Folder for the reports [default: reports of the workspace, and the figures in its
              README.md and data/models/README.md]

          --check
              Write nothing; fail if the reports are not those of the results

          --compare <OLD_RESULTS>
              Compare with an older folder of results, and print old, new, change and verdict

          --fail-on-regression <PCT>
              Fail if something is worse than in --compare by more than so many percent and more than
              its noise

          --summary <FILE>
              File for a short Markdown text, fit for the summary of a CI job

          --format <FORMAT>
              What to write into the folder of the reports

              Possible values:
              - markdown:         Reports and charts
              - github-benchmark: Metrics for github-action-benchmark: benchmark-smaller-is-better.json
                and benchmark-bigger-is-better.json
              
              [default: markdown]

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    ----- stderr -----
    ");
}

#[test]
fn equal_results_have_no_regression() {
    let test = with_old();
    snapshot!(test, "--compare old/results --fail-on-regression 1", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    ### Comparison with the old results

    **No regression** above 1 %. 41 metrics: 0 better, 0 worse, 22 the same, 18 within noise, 0 not comparable, 1 not measured in the old results, 0 not measured in the new results.

    | what | metric | unit | better | old | new | change | verdict |
    | --- | --- | --- | --- | ---: | ---: | ---: | --- |
    | `small fp32 prefill` | latency / calibration | times | lower | 1.000 [0.9840, 1.050] | 1.000 [0.9840, 1.050] | 0 % | within noise |
    | `small fp32 prefill` | energy per token, estimated(tdp:desktop) | µJ | lower | 597.2 [477.8, 1,016] | 597.2 [477.8, 1,016] | 0 % | within noise |
    | `small fp32 prefill` | energy per token, estimated(tdp:embedded) | µJ | lower | 45.94 [36.75, 78.12] | 45.94 [36.75, 78.12] | 0 % | within noise |
    | `small fp32 decode` | latency / calibration | times | lower | 1.600 [1.574, 1.680] | 1.600 [1.574, 1.680] | 0 % | within noise |
    | `small fp32 decode` | energy per token, estimated(tdp:desktop) | µJ | lower | 955.5 [764.4, 1,625] | 955.5 [764.4, 1,625] | 0 % | within noise |
    | `small fp32 decode` | energy per token, estimated(tdp:embedded) | µJ | lower | 73.50 [58.80, 125.0] | 73.50 [58.80, 125.0] | 0 % | within noise |
    | `small int8 prefill` | latency / calibration | times | lower | 0.5500 [0.5412, 0.5775] | 0.5500 [0.5412, 0.5775] | 0 % | within noise |
    | `small int8 prefill` | energy per token, estimated(tdp:desktop) | µJ | lower | 328.5 [262.8, 558.6] | 328.5 [262.8, 558.6] | 0 % | within noise |
    | `small int8 prefill` | energy per token, estimated(tdp:embedded) | µJ | lower | 25.27 [20.21, 42.97] | 25.27 [20.21, 42.97] | 0 % | within noise |
    | `small int8 decode` | latency / calibration | times | lower | 0.8800 [0.8659, 0.9240] | 0.8800 [0.8659, 0.9240] | 0 % | within noise |
    | `small int8 decode` | energy per token, estimated(tdp:desktop) | µJ | lower | 525.5 [420.4, 893.8] | 525.5 [420.4, 893.8] | 0 % | within noise |
    | `small int8 decode` | energy per token, estimated(tdp:embedded) | µJ | lower | 40.43 [32.34, 68.75] | 40.43 [32.34, 68.75] | 0 % | within noise |
    | `small int4 prefill` | latency / calibration | times | lower | 0.6000 [0.5904, 0.6300] | 0.6000 [0.5904, 0.6300] | 0 % | within noise |
    | `small int4 prefill` | energy per token, estimated(tdp:desktop) | µJ | lower | 358.3 [286.6, 609.4] | 358.3 [286.6, 609.4] | 0 % | within noise |
    | `small int4 prefill` | energy per token, estimated(tdp:embedded) | µJ | lower | 27.56 [22.05, 46.87] | 27.56 [22.05, 46.87] | 0 % | within noise |
    | `small int4 decode` | latency / calibration | times | lower | 0.9600 [0.9446, 1.008] | 0.9600 [0.9446, 1.008] | 0 % | within noise |
    | `small int4 decode` | energy per token, estimated(tdp:desktop) | µJ | lower | 573.3 [458.6, 975.0] | 573.3 [458.6, 975.0] | 0 % | within noise |
    | `small int4 decode` | energy per token, estimated(tdp:embedded) | µJ | lower | 44.10 [35.28, 75.00] | 44.10 [35.28, 75.00] | 0 % | within noise |
    | `small fp32 on tinystories test` | bits/byte | bits/byte | lower | 1.23000 | 1.23000 | 0 % | same |
    | `small int8 on tinystories test` | bits/byte | bits/byte | lower | 1.23200 | 1.23200 | 0 % | same |
    | `small int4 on tinystories test` | bits/byte | bits/byte | lower | 1.26000 | 1.26000 | 0 % | same |
    | `small fp32 on wikitext2 test` | bits/byte | bits/byte | lower | 2.45000 | 2.45000 | 0 % | same |
    | `random fp32 on wikitext2 test` | bits/byte | bits/byte | lower | 4.75000 | 4.75000 | 0 % | same |
    | `part fp32 on wikitext2 test` | bits/byte | bits/byte | lower | 1.95000 | 1.95000 | 0 % | same |
    | `small fp32 prefill` | multiply-adds per token | operations | lower | 80,000 | 80,000 | 0 % | same |
    | `small fp32 decode` | multiply-adds per token | operations | lower | 80,000 | 80,000 | 0 % | same |
    | `small int8 prefill` | multiply-adds per token | operations | lower | 80,000 | 80,000 | 0 % | same |
    | `small int8 decode` | multiply-adds per token | operations | lower | 80,000 | 80,000 | 0 % | same |
    | `small int4 prefill` | multiply-adds per token | operations | lower | 80,000 | 80,000 | 0 % | same |
    | `small int4 decode` | multiply-adds per token | operations | lower | 80,000 | 80,000 | 0 % | same |
    | `small fp32` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `small fp32` | bytes | bytes | lower | 400,000 | 400,000 | 0 % | same |
    | `small int8` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `small int8` | bytes | bytes | lower | 110,000 | 110,000 | 0 % | same |
    | `small int4` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `small int4` | bytes | bytes | lower | 61,000 | 61,000 | 0 % | same |
    | `random fp32` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `random fp32` | bytes | bytes | lower | 400,000 | 400,000 | 0 % | same |
    | `part fp32` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `part fp32` | bytes | bytes | lower | 400,000 | 400,000 | 0 % | same |
    | `training small` | validation bits/byte | bits/byte | lower | – | 1.24000 | – | not measured in the old results |

    ----- stderr -----
    not measured: speed of training, no file of the form itera.training-bench/1
    not measured: speed of the native engine, no file of the form itera.engine-bench/1
    [DIR]/reports: 12 files, 12 of them new or changed
    ");
}

#[test]
fn a_worse_score_is_a_regression_and_another_text_is_not_comparable() {
    let test = with_old();
    for name in ["old/results/power.json", "results/power.json"] {
        std::fs::remove_file(test.path(name)).unwrap();
    }
    let mut old = validation(-0.05);
    old.rows[3].dataset_sha256 = "cd".repeat(32);
    old.rows.remove(4);
    test.write("old/results/validation.json", old.to_json().unwrap());
    snapshot!(test, "--compare old/results --fail-on-regression 1", @r"
    success: false
    exit_code: 1
    ----- stdout -----
    ### Comparison with the old results

    **1 regression** above 1 %. 17 metrics: 0 better, 1 worse, 11 the same, 0 within noise, 1 not comparable, 4 not measured in the old results, 0 not measured in the new results.

    | what | metric | unit | better | old | new | change | verdict |
    | --- | --- | --- | --- | ---: | ---: | ---: | --- |
    | `small fp32 on tinystories test` | bits/byte | bits/byte | lower | 1.18000 | 1.23000 | +4.24 % | **REGRESSION** (worse) |
    | `small fp32 on wikitext2 test` | bits/byte | bits/byte | lower | 2.45000 | 2.45000 | – | not comparable: text is cdcdcdcdcdcd there and cececececece here |
    | `small int8 on tinystories test` | bits/byte | bits/byte | lower | 1.23200 | 1.23200 | 0 % | same |
    | `small int4 on tinystories test` | bits/byte | bits/byte | lower | 1.26000 | 1.26000 | 0 % | same |
    | `part fp32 on wikitext2 test` | bits/byte | bits/byte | lower | 1.95000 | 1.95000 | 0 % | same |
    | `small fp32` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `small fp32` | bytes | bytes | lower | 400,000 | 400,000 | 0 % | same |
    | `small int8` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `small int8` | bytes | bytes | lower | 110,000 | 110,000 | 0 % | same |
    | `small int4` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `small int4` | bytes | bytes | lower | 61,000 | 61,000 | 0 % | same |
    | `part fp32` | parameters | parameters | lower | 100,000 | 100,000 | 0 % | same |
    | `part fp32` | bytes | bytes | lower | 400,000 | 400,000 | 0 % | same |
    | `random fp32 on wikitext2 test` | bits/byte | bits/byte | lower | – | 4.75000 | – | not measured in the old results |
    | `training small` | validation bits/byte | bits/byte | lower | – | 1.24000 | – | not measured in the old results |
    | `random fp32` | parameters | parameters | lower | – | 100,000 | – | not measured in the old results |
    | `random fp32` | bytes | bytes | lower | – | 400,000 | – | not measured in the old results |

    ----- stderr -----
    not measured: speed of training, no file of the form itera.training-bench/1
    not measured: speed of the native engine, no file of the form itera.engine-bench/1
    not measured: energy, no file of the form itera.power/1
    [DIR]/reports: 10 files, 10 of them new or changed
    ");
}

#[test]
fn nothing_to_compare_is_no_pass() {
    let test = with_old();
    test.write("old/results/power.json", "");
    test.write("old/results/validation.json", "");
    test.write("old/results/feedback.jsonl", "{\"user_rating\": 4}\n");
    let run = test.run("--compare old/results --fail-on-regression 1");
    assert_eq!(run.status.code(), Some(2));
    let message = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(message.contains("nothing could be compared"), "{message}");
}

#[test]
fn stale_reports_are_named() {
    let test = CliTest::new();
    test.succeed("");
    snapshot!(test, "--check", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    [DIR]/reports: all 14 files are those of the results
    ");
    test.write("reports/final_validation.md", "by hand");
    std::fs::remove_file(test.path("reports/bits_per_byte.png")).unwrap();
    test.write("reports/power_old.png", "");
    snapshot!(test, "--check", @r"
    success: false
    exit_code: 1
    ----- stdout -----
    bits_per_byte.png: is missing
    final_validation.md: differs from what the results give
    power_old.png: no result gives it any more; delete it

    ----- stderr -----
    [DIR]/reports: 3 files are stale; run `itera-report` without `--check`
    ");
}

#[test]
fn the_summary_says_what_was_found() {
    let test = with_old();
    test.succeed("--compare old/results --summary summary.md");
    insta::assert_snapshot!("summary", test.read("summary.md"));
}

#[test]
fn dashboards_get_one_file_for_each_direction() {
    let test = CliTest::new();
    test.succeed("--format github-benchmark --out benchmark");
    for name in ["smaller", "bigger"] {
        let text = test.read(&format!("benchmark/benchmark-{name}-is-better.json"));
        insta::assert_snapshot!(format!("benchmark_{name}"), text);
    }
}
