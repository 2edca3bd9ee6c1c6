//! The gate by its exit status. The baselines are edited, so that no verdict hangs on a clock.

use itera_record::{GateVerdict, Interval, PowerRecord};
use itera_testing::snapshot;

use crate::fixture::{CliTest, GATE};

/// A folder with `base.json`, measured a moment ago.
fn measured() -> CliTest {
    let test = CliTest::new();
    test.record(GATE, "base.json");
    test
}

/// Multiplies the times of all samples, and keeps what follows from them in step.
fn scale(record: &mut PowerRecord, factor: f64) {
    for row in &mut record.rows {
        for times in [&mut row.samples.wall_seconds, &mut row.samples.cpu_seconds] {
            scale_all(times, factor);
        }
        for counter in &mut row.samples.counters {
            counter
                .joules
                .iter_mut()
                .for_each(|joules| *joules *= factor);
        }
        for summary in [&mut row.latency_seconds, &mut row.cpu_seconds] {
            *summary = summary_of(*summary, factor);
        }
        row.tokens_per_s = summary_of(row.tokens_per_s, 1.0 / factor);
        for figure in &mut row.energy {
            let by = |of: &mut Option<Interval>, factor: f64| {
                *of = of.map(|of| of.map(|value| value * factor));
            };
            by(&mut figure.gross_joules_per_token, factor);
            by(&mut figure.net_joules_per_token, factor);
            by(&mut figure.co2e_g_per_million_tokens, factor);
            by(&mut figure.tokens_per_joule, 1.0 / factor);
            figure.tokens_per_s = figure.tokens_per_s.map(|speed| speed / factor);
        }
    }
}

fn scale_all(values: &mut [f64], factor: f64) {
    for value in values {
        *value *= factor;
    }
}

fn summary_of(summary: itera_record::Summary, factor: f64) -> itera_record::Summary {
    itera_record::Summary {
        mean: summary.mean * factor,
        sd: summary.sd * factor,
        min: summary.min * factor,
        median: summary.median * factor,
        p95: summary.p95 * factor,
        max: summary.max * factor,
    }
}

#[test]
fn a_baseline_far_slower_is_improved_upon() {
    let test = measured();
    test.edit("base.json", "slow.json", |record| scale(record, 100.0));
    let record = test.record(&format!("{GATE} --baseline slow.json"), "new.json");
    let gate = record.gate.unwrap();
    assert!(gate.passed);
    assert!(
        gate.comparisons
            .iter()
            .any(|c| c.verdict == GateVerdict::Improved)
    );
}

#[test]
fn a_baseline_far_faster_is_a_regression_and_the_result_is_written_all_the_same() {
    let test = measured();
    test.edit("base.json", "fast.json", |record| scale(record, 0.01));
    let run = test.run(&format!("{GATE} --baseline fast.json --output new.json"));
    assert_eq!(run.status.code(), Some(1));
    let gate = test.read("new.json").gate.unwrap();
    assert!(!gate.passed);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("REGRESSION in "), "{text}");
    // The record holds what was measured: the table and the rows are of one measurement.
    let record = test.read("new.json");
    let decode = &record.rows[1];
    let ratios = decode
        .samples
        .wall_seconds
        .iter()
        .zip(&decode.samples.calibration_seconds);
    let ratios: Vec<f64> = ratios
        .map(|(wall, unit)| wall / decode.passes_per_sample as f64 / unit)
        .collect();
    let is_latency = |c: &&itera_record::GateComparison| {
        c.metric.starts_with("latency") && c.mode == Some(decode.mode)
    };
    let comparisons = record.gate.unwrap().comparisons;
    let found = comparisons.iter().find(is_latency).unwrap();
    assert_eq!(
        found.new_processes,
        record.protocol.process_medians(&ratios)
    );
}

#[test]
fn a_model_that_grew_is_a_regression_at_any_speed() {
    let test = measured();
    test.edit("base.json", "small.json", |record| {
        scale(record, 100.0);
        for row in &mut record.rows {
            row.model.bytes -= 1;
        }
    });
    let run = test.run(&format!("{GATE} --baseline small.json"));
    assert_eq!(run.status.code(), Some(1));
}

#[test]
fn another_build_is_measured_in_turns() {
    let test = CliTest::new();
    let this = env!("CARGO_BIN_EXE_itera-power");
    let line = format!("{GATE} --mode decode --baseline {this} --max-regression 1000");
    let record = test.record(&line, "new.json");
    let gate = record.gate.unwrap();
    assert!(gate.passed && gate.is_in_turns);
    let latency = gate
        .comparisons
        .iter()
        .find(|c| c.metric == "latency / calibration")
        .unwrap();
    let counts = (latency.old_processes.len(), latency.new_processes.len());
    assert_eq!(counts, (6, 6));
    assert!(latency.old_processes != latency.new_processes);
    assert_eq!(record.rows[0].samples.wall_seconds.len(), 6);
    // Too few processes are refused before they are measured.
    let run =
        test.run(&format!("{line} --output few.json").replace("--processes 6", "--processes 2"));
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(
        said.contains("with 2 processes in the baseline and 2 now"),
        "{said}"
    );
    assert!(!test.path("few.json").exists());
}

#[test]
fn what_is_no_build_of_this_program_is_refused() {
    let test = CliTest::new();
    test.write("notes.txt", "some text");
    snapshot!(test, "--checkpoint small --baseline notes.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare: `notes.txt` is neither a result of `itera-power --output` nor a build of this program
    ");
    #[cfg(unix)]
    {
        let run = test.run(&format!("{GATE} --baseline /bin/true"));
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{said}");
        assert!(said.contains("answered in another form"), "{said}");
        let run = test.run(&format!("{GATE} --baseline /bin/false"));
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{said}");
        assert!(
            said.contains("--worker` ended with exit status: 1"),
            "{said}"
        );
    }
}

#[test]
fn what_does_not_compare_ends_with_status_2_before_the_work() {
    let test = measured();
    snapshot!(test, "--checkpoint small --baseline base.json --precision fp32", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare: --seq-len is 4 in the baseline and 128 now; measure both alike, or make the baseline anew
    ");
    snapshot!(test, "--checkpoint small --baseline base.json --precision int4 --seq-len 4", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare: the baseline has no row in common with this run; it has small fp32 prefill, small fp32 decode
    ");
    snapshot!(test, "--checkpoint small --baseline base.json --precision fp32 --seq-len 4 --processes 2", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare: with 6 processes in the baseline and 2 now, 4 tests can show no regression, however slow the build; measure both with `--processes 6`, or fewer rows
    ");
}
