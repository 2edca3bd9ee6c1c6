//! Comparison with older results, the check of the reports, the summary and the dashboard's form.

use itera_record::{Record as _, Summary};

use crate::{
    fixture::{CliTest, snapshot},
    records::{power, validation},
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
    snapshot!("the_help_says_what_there_is", CliTest::empty(), "--help");
}

#[test]
fn equal_results_have_no_regression() {
    let test = with_old();
    snapshot!(
        "equal_results_have_no_regression",
        test,
        "--compare old/results --fail-on-regression 1"
    );
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
    snapshot!(
        "a_worse_score_is_a_regression_and_another_text_is_not_comparable",
        test,
        "--compare old/results --fail-on-regression 1"
    );
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
    snapshot!("stale_reports_are_named", test, "--check");
    test.write("reports/final_validation.md", "by hand");
    std::fs::remove_file(test.path("reports/bits_per_byte.png")).unwrap();
    test.write("reports/power_old.png", "");
    snapshot!("stale_reports_are_named_2", test, "--check");
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

#[test]
fn a_slower_build_is_a_regression_in_time_and_energy() {
    let test = with_old();
    test.write("results/power.json", power(1.0).to_json().unwrap());
    assert_eq!(
        test.run("--compare old/results --fail-on-regression 2")
            .status
            .code(),
        Some(0)
    );
    test.write("results/power.json", power(1.5).to_json().unwrap());
    let run = test.run("--compare old/results --fail-on-regression 2");
    let table = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(run.status.code(), Some(1), "{table}");
    for metric in [
        "latency / calibration",
        "energy per token, estimated(tdp:desktop)",
    ] {
        let lines = table.lines().filter(|line| line.contains(metric));
        assert!(lines.clone().count() > 0, "{metric}: {table}");
        assert!(
            lines.clone().all(|line| line.contains("REGRESSION")),
            "{metric}: {table}"
        );
    }
}

#[test]
fn a_tenth_slower_is_found() {
    let test = with_old();
    test.write("results/power.json", power(1.1).to_json().unwrap());
    let run = test.run("--compare old/results --fail-on-regression 2");
    let table = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(run.status.code(), Some(1), "{table}");
    let of_times =
        |line: &&str| line.contains("calibration |") || line.contains("energy per token");
    let lines = table.lines().filter(of_times);
    assert!(lines.clone().count() >= 24, "{table}");
    assert!(
        lines.clone().all(|line| line.contains("REGRESSION")),
        "{table}"
    );
}

#[test]
fn on_a_busy_machine_only_the_time_of_the_processor_is_compared() {
    let test = with_old();
    let mut record = power(1.0);
    record.idle_busy_share = Some(0.9);
    // Interrupted: on the wall twice as long.
    for row in &mut record.rows {
        let samples = &mut row.samples;
        samples.wall_seconds.iter_mut().for_each(|s| *s *= 2.0);
        let of = |f: &dyn Fn(f64) -> f64, values: &[f64]| {
            Summary::of(&values.iter().map(|v| f(*v)).collect::<Vec<_>>()).unwrap()
        };
        let (passes, tokens) = (row.passes_per_sample as f64, row.tokens_per_sample as f64);
        row.latency_seconds = of(&|s| s / passes, &samples.wall_seconds);
        row.tokens_per_s = of(&|s| tokens / s, &samples.wall_seconds);
        row.busy_threads = of(&|busy| busy, &samples.busy_threads());
        for figure in &mut row.energy {
            figure.tokens_per_s = figure.tokens_per_s.map(|speed| speed / 2.0);
        }
    }
    test.write("results/power.json", record.to_json().unwrap());
    let run = test.run("--compare old/results --fail-on-regression 2");
    let table = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(run.status.code(), Some(0), "{table}");
    for line in table.lines() {
        if line.contains("latency / calibration") || line.contains("energy per token") {
            assert!(
                line.contains("not comparable: rest of the machine was not said, is busy"),
                "{line}"
            );
        }
        if line.contains("CPU time / calibration") {
            assert!(line.contains("within noise"), "{line}");
        }
    }
}

#[test]
fn bounds_of_a_model_hide_no_energy() {
    // Times are as they were, energies are three times as large; within the bounds that both have.
    let test = with_old();
    let mut record = power(1.0);
    for figure in record.rows.iter_mut().flat_map(|row| &mut row.energy) {
        for of in [
            &mut figure.gross_joules_per_token,
            &mut figure.co2e_g_per_million_tokens,
        ] {
            *of = of.map(|of| of.map(|value| 3.0 * value));
        }
        figure.tokens_per_joule = figure
            .tokens_per_joule
            .map(|of| of.map(|value| value / 3.0));
    }
    test.write("results/power.json", record.to_json().unwrap());
    let run = test.run("--compare old/results --fail-on-regression 2");
    let table = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(run.status.code(), Some(1), "{table}");
    let mut energies = table
        .lines()
        .filter(|line| line.contains("energy per token"));
    assert!(energies.all(|line| line.contains("REGRESSION")), "{table}");
}

#[test]
fn another_model_of_a_platform_is_another_figure() {
    let test = with_old();
    let mut record = power(1.0);
    record.platforms[0].idle_watts += 1.0;
    test.write("results/power.json", record.to_json().unwrap());
    let run = test.run("--compare old/results --fail-on-regression 2");
    let table = String::from_utf8_lossy(&run.stdout).into_owned();
    let said =
        "not comparable: platform was 65 W, 13 W at rest, 2 cores, speed 1, is 65 W, 14 W at rest";
    assert!(table.contains(said), "{table}");
}

#[test]
fn what_is_gone_or_broken_passes_no_gate() {
    for content in [None, Some("{\"schema\": \"itera.power/1\"")] {
        let test = with_old();
        match content {
            None => std::fs::remove_file(test.path("results/power.json")).unwrap(),
            Some(content) => test.write("results/power.json", content),
        }
        let run = test.run("--compare old/results --fail-on-regression 2");
        assert_eq!(run.status.code(), Some(1));
    }
    // A file that adds nothing and cannot be read may hide what became worse.
    let test = with_old();
    test.write("results/another.json", "{");
    assert_eq!(
        test.run("--compare old/results --fail-on-regression 2")
            .status
            .code(),
        Some(1)
    );
    assert_eq!(test.run("--compare old/results").status.code(), Some(0));
}

#[test]
fn results_are_compared_with_the_metrics_of_a_release() {
    let test = CliTest::new();
    test.succeed("--format metrics --out results");
    // The release is that of the tools that measured.
    let name = "results/metrics-0.1.0.json";
    test.write("results/power.json", power(1.5).to_json().unwrap());
    test.succeed("");
    assert!(test.path(name).exists());
    let report = test.read("reports/validation_report.md");
    let changed = report.split("## What changed").nth(1).unwrap();
    assert!(changed.contains("| worse |"), "{changed}");
}
