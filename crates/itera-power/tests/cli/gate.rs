//! The gate by its exit status. The baselines are edited, so that no verdict hangs on a clock.

use itera_record::{GateVerdict, Interval, PowerRecord};
use itera_testing::snapshot;

use crate::fixture::{CliTest, TINY};

/// A folder with `base.json`, measured a moment ago.
fn measured() -> CliTest {
    let test = CliTest::new();
    test.record(TINY, "base.json");
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
    let record = test.record(&format!("{TINY} --baseline slow.json"), "new.json");
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
    let run = test.run(&format!("{TINY} --baseline fast.json --output new.json"));
    assert_eq!(run.status.code(), Some(1));
    let gate = test.read("new.json").gate.unwrap();
    assert!(!gate.passed);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("REGRESSION in "), "{text}");
    let talk = String::from_utf8(run.stderr).unwrap();
    assert!(
        talk.contains("small fp32 prefill seemed slower and was measured again"),
        "{talk}"
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
    let run = test.run(&format!("{TINY} --baseline small.json"));
    assert_eq!(run.status.code(), Some(1));
}

#[test]
fn what_does_not_compare_ends_with_status_2_before_the_work() {
    let test = measured();
    snapshot!(test, "--checkpoint small --baseline base.json --precision fp32 --samples 10", @r"
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
    snapshot!(test, "--checkpoint small --baseline base.json --precision fp32 --seq-len 4 --samples 5", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare: this run has 5 samples a row, expected at least 10
    ");
}
