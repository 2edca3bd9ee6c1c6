//! Power records survive JSON, and what they may not say is refused.

use itera_record::{
    CounterSamples, CounterStatus, DominatingTerm, EnergyFigure, Envelope, GateComparison,
    GateResult, GateVerdict, HostInfo, Interval, ModelInfo, PowerMode, PowerPlatform,
    PowerProtocol, PowerRecord, PowerRow, PowerSamples, Record, SpeedBasis, Summary, ToolInfo,
    UNAVAILABLE,
};

const DIGEST: &str = "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0";

fn envelope() -> Envelope {
    Envelope {
        schema: PowerRecord::SCHEMA.into(),
        created_at: "2026-01-31T12:00:00Z".into(),
        tool: ToolInfo {
            name: "itera-power".into(),
            version: "0.1.0".into(),
            commit: "unknown".into(),
        },
        host: HostInfo {
            cpu: "some".into(),
            cores: 2,
            os: "linux x86_64".into(),
            simd: vec![],
        },
        model: None,
    }
}

fn model() -> ModelInfo {
    ModelInfo {
        name: "test".into(),
        file_sha256: DIGEST.into(),
        params: 1000,
        active_params: 900,
        precision: "fp32".into(),
        bytes: 4000,
        bits_per_weight: 32.0,
    }
}

fn protocol() -> PowerProtocol {
    PowerProtocol {
        seq_len_tokens: 8,
        threads: 1,
        tokens: "drawn".into(),
        calibration: "a loop".into(),
        processes: 2,
        samples: 1,
        min_seconds: 0.0,
        carbon_intensity_g_per_kwh: 475.0,
    }
}

fn figure(source: &str, method: String, joules: f64) -> EnergyFigure {
    let gross = Interval {
        low: joules / 2.0,
        nominal: joules,
        high: joules * 3.0,
    };
    EnergyFigure {
        source: source.into(),
        method,
        reason: None,
        speed: SpeedBasis::ThisMachine,
        tokens_per_s: Some(600.0),
        power_watts: Some(gross.map(|joules| joules * 600.0)),
        gross_joules_per_token: Some(gross),
        net_joules_per_token: None,
        tokens_per_joule: Some(gross.reciprocal()),
        dominating_term: Some(DominatingTerm::FullTdp),
        co2e_g_per_million_tokens: Some(gross),
    }
}

fn unavailable() -> EnergyFigure {
    EnergyFigure {
        method: UNAVAILABLE.into(),
        reason: Some("permission".into()),
        speed: SpeedBasis::Measured,
        tokens_per_s: None,
        power_watts: None,
        gross_joules_per_token: None,
        tokens_per_joule: None,
        dominating_term: None,
        co2e_g_per_million_tokens: None,
        ..figure("rapl:dram-0", String::new(), 1.0)
    }
}

/// Two passes of 8 tokens a sample; 20 and 40 ms, CPU 10 and 40 ms, 2 cores.
fn row() -> PowerRow {
    let summary = |values: &[f64]| Summary::of(values).unwrap();
    PowerRow {
        model: model(),
        mode: PowerMode::Decode,
        kernel: "scalar".into(),
        passes_per_sample: 2,
        tokens_per_sample: 16,
        multiply_adds_per_token: 900,
        bits_per_byte: Some(1.5),
        latency_seconds: summary(&[0.01, 0.02]),
        tokens_per_s: summary(&[800.0, 400.0]),
        cpu_seconds: summary(&[0.005, 0.02]),
        busy_threads: summary(&[0.5, 1.0]),
        peak_resident_bytes: Some(2_000_000),
        calibration_seconds: summary(&[0.001, 0.0011]),
        energy: vec![
            figure("rapl:package-0", "measured(rapl:package-0)".into(), 0.001),
            figure("tdp:laptop", "estimated(tdp:laptop)".into(), 0.01),
            unavailable(),
        ],
        samples: PowerSamples {
            wall_seconds: vec![0.02, 0.04],
            cpu_seconds: vec![0.01, 0.04],
            calibration_seconds: vec![0.001, 0.0011],
            calibration_cpu_seconds: vec![0.001, 0.001],
            counters: vec![CounterSamples {
                source: "rapl:package-0".into(),
                joules: vec![0.016, 0.016],
                calibration_joules: vec![0.001, 0.001],
            }],
        },
    }
}

fn record() -> PowerRecord {
    PowerRecord {
        envelope: envelope(),
        protocol: protocol(),
        platforms: vec![PowerPlatform {
            name: "laptop".into(),
            description: "a laptop".into(),
            cores: 4,
            tdp_watts: 15.0,
            idle_watts: 3.0,
            relative_speed: None,
            source: "assumed".into(),
            date: "2026".into(),
        }],
        counters: vec![CounterStatus {
            source: "rapl:package-0".into(),
            method: "measured(rapl:package-0)".into(),
            reason: None,
            idle_watts: Some(2.0),
            idle_after_watts: Some(2.5),
            spin_watts: Some(8.0),
            step_joules: Some(61e-6),
        }],
        idle_busy_share: Some(0.01),
        rows: vec![row()],
        gate: Some(GateResult {
            baseline_sha256: DIGEST.into(),
            is_in_turns: false,
            baseline_created_at: "2026-01-30T12:00:00Z".into(),
            max_regression_percent: 10.0,
            alpha: 0.01,
            comparisons: vec![GateComparison {
                model: "test".into(),
                precision: "fp32".into(),
                mode: None,
                metric: "bytes".into(),
                old: Some(4000.0),
                new: Some(4000.0),
                change_percent: Some(0.0),
                old_processes: vec![],
                new_processes: vec![],
                p_value: None,
                verdict: GateVerdict::Ok,
            }],
            passed: true,
        }),
        notes: vec!["a note".into()],
    }
}

/// Applies `spoil` to a good record and returns the message of the refusal.
fn refusal(spoil: impl FnOnce(&mut PowerRecord)) -> String {
    let mut record = record();
    spoil(&mut record);
    record.to_json().unwrap_err().to_string()
}

#[test]
fn a_platform_has_cores_of_its_own() {
    let platform = &record().platforms[0];
    let threads = [0.5, 1.0, 4.0, 9.0].into_iter();
    let shares: Vec<f64> = threads
        .map(|threads| platform.utilisation(threads))
        .collect();
    assert_eq!(shares, [0.125, 0.25, 1.0, 1.0]);
}

#[test]
fn the_samples_of_a_process_are_one_number() {
    let protocol = PowerProtocol {
        samples: 3,
        ..protocol()
    };
    let medians = protocol.process_medians(&[3.0, 1.0, 2.0, 30.0, 10.0, 20.0]);
    assert_eq!(medians, [2.0, 20.0]);
}

#[test]
fn power_records_round_trip() {
    let json = record().to_json().unwrap();
    assert_eq!(PowerRecord::from_json(json.as_bytes()).unwrap(), record());
}

#[test]
fn negative_and_missing_energies_are_refused_at_the_reader() {
    let json = record().to_json().unwrap();
    let read = |json: String| {
        let refused = PowerRecord::from_json(json.as_bytes());
        refused.unwrap_err().to_string()
    };
    let negative = json.replacen("\"nominal\": 0.001", "\"nominal\": -0.001", 1);
    assert!(
        read(negative).contains("energy[rapl:package-0].gross_joules_per_token"),
        "{json}"
    );
    let null = json.replacen("\"nominal\": 0.001", "\"nominal\": null", 1);
    assert!(read(null).contains("not a record of this form"));
}

#[test]
fn what_no_record_may_say_is_refused_with_the_field() {
    let gross = |record: &mut PowerRecord, f: fn(&mut Interval)| {
        f(record.rows[0].energy[0]
            .gross_joules_per_token
            .as_mut()
            .unwrap());
    };
    assert!(refusal(|r| gross(r, |i| i.nominal = f64::NAN)).contains("is NaN"));
    assert!(refusal(|r| gross(r, |i| i.low = 0.0)).contains("above 0"));
    assert!(refusal(|r| gross(r, |i| i.high = i.low / 2.0)).contains("low <= nominal <= high"));
    assert!(refusal(|r| gross(r, |i| i.nominal *= 1.01)).contains("tokens_per_joule"));
    assert!(refusal(|r| r.rows[0].energy[2].reason = None).contains("a reason"));
    assert!(refusal(|r| r.rows[0].energy[0].method = UNAVAILABLE.into()).contains("a reason"));
    assert!(
        refusal(|r| r.rows[0].energy[1].method = "measured(tdp:laptop)".into())
            .contains("`estimated(tdp:laptop)` or `unavailable`")
    );
    assert!(
        refusal(
            |r| r.rows[0].energy[2].gross_joules_per_token = Some(Interval {
                low: 1.0,
                nominal: 1.0,
                high: 1.0
            })
        )
        .contains("null, since it is unavailable")
    );
    // Energy is power times time, and a platform draws no more than its nominal power.
    let order = refusal(|r| r.rows[0].energy[0].tokens_per_s = Some(6000.0));
    assert!(order.contains("tokens_per_s"), "{order}");
    let unit = refusal(|r| {
        let figure = &mut r.rows[0].energy[0];
        figure.gross_joules_per_token = figure.gross_joules_per_token.map(|of| of.map(|j| j / 1e3));
        figure.tokens_per_joule = figure.tokens_per_joule.map(|of| of.map(|per| per * 1e3));
    });
    assert!(unit.contains("gross_joules_per_token.nominal"), "{unit}");
    let watts = refusal(|r| r.platforms[0].tdp_watts = 4.0);
    assert!(watts.contains("power_watts.nominal"), "{watts}");
    assert!(refusal(|r| r.platforms[0].idle_watts = 16.0).contains("0 to 15"));
    assert!(refusal(|r| r.platforms.push(r.platforms[0].clone())).contains("twice"));
    assert!(refusal(|r| r.rows.push(r.rows[0].clone())).contains("each once"));
    assert!(refusal(|r| r.rows[0].tokens_per_sample = 17).contains("tokens_per_sample"));
    assert!(refusal(|r| r.rows[0].samples.cpu_seconds[0] = -1.0).contains("cpu_seconds"));
    assert!(refusal(|r| r.rows[0].samples.wall_seconds[0] = 0.0).contains("above 0"));
    assert!(refusal(|r| r.rows[0].samples.wall_seconds.push(1.0)).contains("a list of 3"));
    assert!(refusal(|r| r.rows[0].latency_seconds.mean = 1.0).contains("latency_seconds.mean"));
    assert!(refusal(|r| r.rows[0].busy_threads.max = 1.5).contains("busy_threads.max"));
    assert!(refusal(|r| r.protocol.processes = 3).contains("1 samples of 3 processes"));
    assert!(refusal(|r| r.platforms[0].cores = 0).contains("at least 1"));
    assert!(refusal(|r| r.counters[0].idle_watts = Some(-1.0)).contains("at least 0"));
    assert!(
        refusal(|r| r.gate.as_mut().unwrap().passed = false).contains("`gate.passed` is false")
    );
}
