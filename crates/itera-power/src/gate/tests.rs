//! Decisions on synthetic samples.

use itera_record::{HostInfo, ModelInfo, PowerSamples, Summary};

use super::*;
use crate::gate::comparable::GateError;

const DIGEST: &str = "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0";

/// A row of 50 samples of about `latency` seconds, on a machine `speed` times as fast as another.
fn row(name: &str, mode: PowerMode, latency: f64, speed: f64) -> PowerRow {
    let noise = |i: u32, seed: u32| 0.98 + 0.04 * f64::from((i * 7 + seed * 11) % 50) / 49.0;
    let wall: Vec<f64> = (0..50)
        .map(|i| 10.0 * latency / speed * noise(i, 1))
        .collect();
    let calibration: Vec<f64> = (0..50).map(|i| 0.002 / speed * noise(i, 2)).collect();
    let summary = |values: &[f64]| Summary::of(values).unwrap();
    PowerRow {
        model: ModelInfo {
            name: name.into(),
            file_sha256: DIGEST.into(),
            params: 1000,
            active_params: 900,
            precision: "fp32".into(),
            bytes: 4000,
            bits_per_weight: 32.0,
        },
        mode,
        kernel: "avx2".into(),
        passes_per_sample: 10,
        tokens_per_sample: 1280,
        multiply_adds_per_token: 900,
        bits_per_byte: None,
        latency_seconds: summary(&wall.iter().map(|s| s / 10.0).collect::<Vec<_>>()),
        tokens_per_s: summary(&wall.iter().map(|s| 1280.0 / s).collect::<Vec<_>>()),
        cpu_seconds: summary(&wall.iter().map(|s| s / 10.0).collect::<Vec<_>>()),
        utilisation: summary(&[0.5; 50]),
        resident_bytes: None,
        resident_change_bytes: None,
        peak_resident_bytes: None,
        calibration_seconds: summary(&calibration),
        energy: vec![],
        samples: PowerSamples {
            cpu_seconds: wall.clone(),
            wall_seconds: wall,
            calibration_cpu_seconds: calibration.clone(),
            calibration_seconds: calibration,
            resident_bytes: vec![],
            counters: vec![],
        },
    }
}

fn host(cpu: &str) -> HostInfo {
    HostInfo {
        cpu: cpu.into(),
        cores: 2,
        os: "linux x86_64".into(),
        simd: vec![],
    }
}

fn protocol() -> itera_record::PowerProtocol {
    itera_record::PowerProtocol {
        seq_len_tokens: 128,
        threads: 1,
        tokens: "drawn".into(),
        calibration: "a loop".into(),
        samples: 50,
        min_seconds: 1.0,
        cores: 2,
        carbon_intensity_g_per_kwh: 475.0,
    }
}

fn baseline(rows: Vec<PowerRow>) -> Baseline {
    let record = PowerRecord {
        envelope: itera_record::Envelope {
            schema: PowerRecord::SCHEMA.into(),
            created_at: "2026-01-31T12:00:00Z".into(),
            tool: itera_record::ToolInfo {
                name: "itera-power".into(),
                version: "0.1.0".into(),
                commit: "unknown".into(),
            },
            host: host("some"),
            model: None,
        },
        protocol: protocol(),
        platforms: vec![],
        counters: vec![],
        idle_busy_share: None,
        rows,
        gate: None,
        notes: vec![],
    };
    record.validate().unwrap();
    Baseline {
        record,
        sha256: DIGEST.into(),
    }
}

fn decode(latency: f64, speed: f64) -> PowerRow {
    row("micro", PowerMode::Decode, latency, speed)
}

fn verdicts(old: PowerRow, new: PowerRow) -> Vec<(String, GateVerdict)> {
    let gate = compare(&baseline(vec![old]), 2, &[new], 10.0);
    gate.comparisons
        .into_iter()
        .map(|c| (c.metric, c.verdict))
        .collect()
}

#[test]
fn the_same_build_passes_and_a_slowed_one_fails_in_time_and_energy() {
    let gate = compare(
        &baseline(vec![decode(0.01, 1.0)]),
        2,
        &[decode(0.01, 1.0)],
        10.0,
    );
    assert!(gate.passed);
    assert_eq!(gate.comparisons.len(), 7);
    let new = decode(0.012, 1.0);
    let gate = compare(
        &baseline(vec![decode(0.01, 1.0)]),
        2,
        std::slice::from_ref(&new),
        10.0,
    );
    assert!(!gate.passed && regressed_in_time(&gate, &new));
    let regressed: Vec<_> = gate
        .comparisons
        .iter()
        .filter(|c| c.verdict == GateVerdict::Regression)
        .collect();
    let metrics: Vec<_> = regressed.iter().map(|c| c.metric.as_str()).collect();
    assert_eq!(
        metrics,
        [
            "latency / calibration",
            "CPU time / calibration",
            "energy / calibration, estimated(tdp)"
        ]
    );
    assert!((regressed[0].change_percent.unwrap() - 20.0).abs() < 1.0);
    assert!(regressed[0].p_value.unwrap() < 1e-6);
}

#[test]
fn a_slower_machine_slows_the_calibration_too_and_passes() {
    let gate = compare(
        &baseline(vec![decode(0.01, 1.0)]),
        2,
        &[decode(0.01, 0.4)],
        10.0,
    );
    assert!(gate.passed, "{gate:?}");
    let change = gate.comparisons[4].change_percent.unwrap();
    assert!(change.abs() < 1.0, "{change}");
}

#[test]
fn counts_compare_exactly_and_bits_within_the_epsilon() {
    let mut new = decode(0.01, 1.0);
    new.model.bytes += 1;
    new.model.params -= 1;
    let found = verdicts(decode(0.01, 1.0), new);
    assert!(found.contains(&("bytes".into(), GateVerdict::Regression)));
    assert!(found.contains(&("parameters".into(), GateVerdict::Improved)));
    assert!(found.contains(&("multiply-adds per token".into(), GateVerdict::Ok)));
    let bits = |old, new| {
        let with = |bits| PowerRow {
            bits_per_byte: bits,
            ..decode(0.01, 1.0)
        };
        let found = verdicts(with(old), with(new));
        found
            .into_iter()
            .find(|(metric, _)| metric == "bits per byte")
            .map(|(_, verdict)| verdict)
    };
    assert_eq!(bits(Some(1.0), Some(1.0004)), Some(GateVerdict::Ok));
    assert_eq!(bits(Some(1.0), Some(1.001)), Some(GateVerdict::Regression));
    assert_eq!(bits(Some(1.0), Some(0.9)), Some(GateVerdict::Improved));
    assert_eq!(bits(None, Some(0.9)), Some(GateVerdict::NotInBaseline));
    assert_eq!(bits(Some(1.0), None), Some(GateVerdict::NotMeasured));
    assert_eq!(bits(None, None), None);
}

#[test]
fn measured_energy_is_compared_by_the_same_counter_only() {
    let with = |source: &str, joules: f64| {
        let mut row = decode(0.01, 1.0);
        row.samples.counters.push(CounterSamples {
            source: source.into(),
            joules: vec![joules; 50],
            calibration_joules: vec![0.02; 50],
        });
        row
    };
    let found = verdicts(with("rapl:package-0", 1.0), with("rapl:package-0", 1.3));
    // Equal values have no ranks; 50 of 1.3 against 50 of 1.1 have.
    assert!(found.contains(&(
        "energy / calibration, measured(rapl:package-0)".into(),
        GateVerdict::Regression
    )));
    let found = verdicts(with("rapl:package-0", 1.0), with("perf:energy-pkg", 1.3));
    assert!(!found.iter().any(|(metric, _)| metric.contains("measured")));
}

#[test]
fn rows_of_one_side_are_listed_and_are_no_regression() {
    let old = baseline(vec![
        decode(0.01, 1.0),
        row("old", PowerMode::Decode, 0.01, 1.0),
    ]);
    let gate = compare(
        &old,
        2,
        &[decode(0.01, 1.0), row("new", PowerMode::Prefill, 1.0, 1.0)],
        10.0,
    );
    assert!(gate.passed);
    let verdict = |name: &str| {
        gate.comparisons
            .iter()
            .find(|c| c.model == name)
            .unwrap()
            .verdict
    };
    assert_eq!(verdict("new"), GateVerdict::NotInBaseline);
    assert_eq!(verdict("old"), GateVerdict::NotMeasured);
}

#[test]
fn estimated_energy_needs_the_same_number_of_cores() {
    let gate = compare(
        &baseline(vec![decode(0.01, 1.0)]),
        8,
        &[decode(0.01, 1.0)],
        10.0,
    );
    assert!(
        !gate
            .comparisons
            .iter()
            .any(|c| c.metric.contains("estimated"))
    );
}

#[test]
fn what_does_not_compare_is_refused() {
    let base = baseline(vec![decode(0.01, 1.0)]);
    let planned = |name: &str, kernel: &str| {
        vec![Planned {
            name: name.into(),
            precision: "fp32".into(),
            mode: PowerMode::Decode,
            kernel: kernel.into(),
        }]
    };
    let micro = planned("micro", "avx2");
    assert!(
        check(&base, &protocol(), &host("some"), &micro)
            .unwrap()
            .is_empty()
    );
    let notes = check(&base, &protocol(), &host("other"), &micro).unwrap();
    assert!(notes[0].contains("another processor (some)"), "{notes:?}");
    let refused = |protocol: &itera_record::PowerProtocol, cpu: &str, planned: &[Planned]| {
        check(&base, protocol, &host(cpu), planned).unwrap_err()
    };
    let mut other = protocol();
    other.seq_len_tokens = 64;
    let error = refused(&other, "some", &micro);
    assert_eq!(
        error.to_string(),
        "cannot compare: --seq-len is 128 in the baseline and 64 now; measure both alike, or make the \
         baseline anew"
    );
    let error = refused(&protocol(), "some", &planned("nano", "avx2"));
    assert!(
        error.to_string().ends_with("it has micro fp32 decode"),
        "{error}"
    );
    // Another kernel on the same processor is a change of the build; on another it is another machine.
    assert!(
        check(
            &base,
            &protocol(),
            &host("some"),
            &planned("micro", "scalar")
        )
        .is_ok()
    );
    assert!(matches!(
        refused(&protocol(), "other", &planned("micro", "scalar")),
        GateError::Kernel { .. }
    ));
    let mut few = protocol();
    few.samples = 5;
    assert!(matches!(
        refused(&few, "some", &micro),
        GateError::FewSamples { samples: 5, .. }
    ));
}

#[test]
fn a_regression_is_one_only_if_every_measurement_shows_it() {
    let base = baseline(vec![decode(0.01, 1.0)]);
    let of = |latency: f64| compare(&base, 2, &[decode(latency, 1.0)], 10.0);
    let mut gate = of(0.013);
    merge(&mut gate, &of(0.012));
    assert!(!gate.passed);
    assert!((gate.comparisons[4].change_percent.unwrap() - 20.0).abs() < 1.0);
    merge(&mut gate, &of(0.0101));
    assert!(gate.passed);
    merge(&mut gate, &of(0.02));
    assert!(gate.passed, "a later noise does not undo it");
}

#[test]
fn a_measurement_without_a_regression_clears_the_first() {
    let base = baseline(vec![decode(0.01, 1.0)]);
    let mut gate = compare(&base, 2, &[decode(0.012, 1.0)], 10.0);
    assert!(!gate.passed);
    // Half of the samples far above, half below: a larger change that shows nothing.
    let mut noisy = decode(0.01, 1.0);
    let samples = &mut noisy.samples;
    for (i, seconds) in samples.wall_seconds.iter_mut().enumerate() {
        *seconds *= if i % 2 == 0 || i < 3 { 1.3 } else { 0.8 };
    }
    samples.cpu_seconds.clone_from(&samples.wall_seconds);
    let again = compare(&base, 2, &[noisy], 10.0);
    let change = |gate: &GateResult| gate.comparisons[4].change_percent.unwrap();
    assert!(again.passed && change(&again) > change(&gate), "{again:?}");
    merge(&mut gate, &again);
    assert!(gate.passed);
}

#[test]
fn a_counter_that_fails_meanwhile_does_not_shift_the_others() {
    let metered = |name: &str, latency: f64, joules: Option<f64>| {
        let mut row = row(name, PowerMode::Decode, latency, 1.0);
        row.samples.counters = Vec::from_iter(joules.map(|joules| CounterSamples {
            source: "rapl:package-0".into(),
            joules: vec![joules; 50],
            calibration_joules: vec![0.1; 50],
        }));
        row
    };
    let base = baseline(vec![
        metered("a", 0.01, Some(1.0)),
        metered("b", 0.01, Some(1.0)),
    ]);
    let of = |latency: f64, joules: Option<f64>| {
        let rows = [metered("a", 0.01, joules), metered("b", latency, joules)];
        compare(&base, 2, &rows, 10.0)
    };
    let mut gate = of(0.013, Some(1.0));
    assert!(!gate.passed);
    let names: Vec<String> = gate.comparisons.iter().map(|c| c.metric.clone()).collect();
    merge(&mut gate, &of(0.013, None));
    let after: Vec<String> = gate.comparisons.iter().map(|c| c.metric.clone()).collect();
    assert_eq!(names, after);
    assert!(!gate.passed, "the slow row is slow in both");
}
