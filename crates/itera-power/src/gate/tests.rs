//! Decisions on synthetic samples: ten processes of five samples.

use itera_record::{HostInfo, ModelInfo, PowerRecord, PowerSamples, Record as _, Summary};

use super::*;
use crate::gate::comparable::GateError;

const DIGEST: &str = "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0";

const PROCESSES: u32 = 10;
const SAMPLES: u32 = 5;
const ALL: usize = (PROCESSES * SAMPLES) as usize;

/// A row of samples of about `latency` seconds, on a machine `speed` times as fast as another. Processes
/// differ by up to 2 % either way, samples of a process by half a percent.
fn row(name: &str, mode: PowerMode, latency: f64, speed: f64) -> PowerRow {
    let around =
        |i: u32, of: u32, width: f64| 1.0 + width * (f64::from(i % of) / f64::from(of - 1) - 0.5);
    let noise = |i: u32, seed: u32| {
        around((i / SAMPLES) * 7 + seed, PROCESSES, 0.04) * around(i * 3 + seed, SAMPLES, 0.01)
    };
    let all = 0..PROCESSES * SAMPLES;
    let wall: Vec<f64> = all
        .clone()
        .map(|i| 10.0 * latency / speed * noise(i, 1))
        .collect();
    let calibration: Vec<f64> = all.map(|i| 0.002 / speed * noise(i, 2)).collect();
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
        busy_threads: summary(&[1.0; ALL]),
        peak_resident_bytes: None,
        calibration_seconds: summary(&calibration),
        energy: vec![],
        samples: PowerSamples {
            cpu_seconds: wall.clone(),
            wall_seconds: wall,
            calibration_cpu_seconds: calibration.clone(),
            calibration_seconds: calibration,
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

fn protocol() -> PowerProtocol {
    PowerProtocol {
        seq_len_tokens: 128,
        threads: 1,
        tokens: "drawn".into(),
        calibration: "a loop".into(),
        processes: PROCESSES.into(),
        samples: SAMPLES.into(),
        min_seconds: 1.0,
        carbon_intensity_g_per_kwh: 475.0,
    }
}

fn baseline(rows: Vec<PowerRow>) -> PowerRecord {
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
    record
}

/// The comparison of these rows at a limit of 10 %.
fn compare_rows(old: &PowerRecord, new: &[PowerRow]) -> GateResult {
    let before = Before {
        rows: &old.rows,
        protocol: &old.protocol,
        created_at: &old.envelope.created_at,
        sha256: DIGEST,
        is_in_turns: false,
    };
    compare(&before, new, &protocol(), 10.0)
}

fn decode(latency: f64, speed: f64) -> PowerRow {
    row("micro", PowerMode::Decode, latency, speed)
}

fn verdicts(old: PowerRow, new: PowerRow) -> Vec<(String, GateVerdict)> {
    let gate = compare_rows(&baseline(vec![old]), &[new]);
    gate.comparisons
        .into_iter()
        .map(|c| (c.metric, c.verdict))
        .collect()
}

#[test]
fn the_same_build_passes_and_a_slowed_one_fails() {
    let base = baseline(vec![decode(0.01, 1.0)]);
    let gate = compare_rows(&base, &[decode(0.01, 1.0)]);
    assert!(gate.passed);
    assert_eq!(gate.comparisons.len(), 6);
    let gate = compare_rows(&base, &[decode(0.012, 1.0)]);
    assert!(!gate.passed);
    let regressed: Vec<_> = gate
        .comparisons
        .iter()
        .filter(|c| c.verdict == GateVerdict::Regression)
        .collect();
    let metrics: Vec<_> = regressed.iter().map(|c| c.metric.as_str()).collect();
    // Energy by a TDP is time once more, and would make the test of the others harder.
    assert_eq!(metrics, ["latency / calibration", "CPU time / calibration"]);
    assert!((regressed[0].change_percent.unwrap() - 20.0).abs() < 1.0);
    assert_eq!(regressed[0].new_processes.len(), 10);
    assert!(regressed[0].p_value.unwrap() < 1e-5);
}

#[test]
fn samples_of_one_process_are_one_number() {
    // Four of ten processes are slower by a half, in each of their samples: 20 of 50 samples.
    let mut new = decode(0.01, 1.0);
    for times in [&mut new.samples.wall_seconds, &mut new.samples.cpu_seconds] {
        times[..20].iter_mut().for_each(|time| *time *= 1.5);
    }
    let gate = compare_rows(&baseline(vec![decode(0.01, 1.0)]), &[new]);
    assert!(gate.passed, "{gate:?}");
    let latency = &gate.comparisons[4];
    assert_eq!(latency.new_processes.len(), 10);
    assert!(latency.change_percent.unwrap() < 10.0);
}

#[test]
fn a_slower_machine_slows_the_calibration_too_and_passes() {
    let gate = compare_rows(&baseline(vec![decode(0.01, 1.0)]), &[decode(0.01, 0.4)]);
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
            joules: vec![joules; ALL],
            calibration_joules: vec![0.02; ALL],
        });
        row
    };
    let found = verdicts(with("rapl:package-0", 1.0), with("rapl:package-0", 1.3));
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
    let new = [decode(0.01, 1.0), row("new", PowerMode::Prefill, 1.0, 1.0)];
    let gate = compare_rows(&old, &new);
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
    let refused = |protocol: &PowerProtocol, cpu: &str, planned: &[Planned]| {
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
}

#[test]
fn a_gate_that_could_not_fail_is_refused() {
    // Of 6 orders of two and two processes one is the most extreme: 1/6 is no small chance.
    let mut base = baseline(vec![decode(0.01, 1.0)]);
    base.protocol.processes = 2;
    let planned = [Planned {
        name: "micro".into(),
        precision: "fp32".into(),
        mode: PowerMode::Decode,
        kernel: "avx2".into(),
    }];
    let mut few = protocol();
    few.processes = 2;
    let error = check(&base, &few, &host("some"), &planned).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot compare: with 2 processes in the baseline and 2 now, 2 tests can show no regression, \
         however slow the build; measure both with `--processes 5`, or fewer rows"
    );
    // What the message says would do, does, and less does not.
    assert!(check_design(2, 5, 5).is_ok() && check_design(2, 4, 4).is_err());
    // More of the one make up for few of the other.
    assert!(check_design(2, 2, 25).is_ok());
    for rows in [1, 24, 126, 1000] {
        assert!(check_design(tests(rows, 0), 10, 10).is_ok() == (rows < 500));
    }
}

#[test]
fn a_design_that_is_accepted_finds_what_is_far_slower() {
    let processes = 6;
    let of = |latency: f64| {
        let mut row = decode(latency, 1.0);
        let keep = processes * SAMPLES as usize;
        let samples = &mut row.samples;
        for values in [
            &mut samples.wall_seconds,
            &mut samples.cpu_seconds,
            &mut samples.calibration_seconds,
            &mut samples.calibration_cpu_seconds,
        ] {
            values.truncate(keep);
        }
        row
    };
    check_design(tests(1, 0), processes as u64, processes as u64).unwrap();
    let rows = [of(0.01)];
    let before = Before {
        rows: &rows,
        protocol: &protocol(),
        created_at: "",
        sha256: DIGEST,
        is_in_turns: true,
    };
    assert!(!compare(&before, &[of(0.03)], &protocol(), 10.0).passed);
}
