//! The bench, and the logits for scripts.

use std::fs;

use crate::fixture::{CliTest, onnxruntime_is_there, text};

#[test]
fn every_runtime_that_is_there_is_measured_in_turns() {
    let test = CliTest::new();
    test.succeed("bench --checkpoint small --seq-len 20 --samples 3 --output r.json");
    let bench = test.record("r.json").bench.unwrap();
    let measured = |runtime: &str| {
        bench
            .rows
            .iter()
            .filter(|row| row.runtime == runtime)
            .count()
    };
    assert_eq!(measured("native"), 3);
    assert!(measured("tract") >= 2, "{:?}", bench.missing);
    assert_eq!(
        measured("onnxruntime"),
        if onnxruntime_is_there() { 3 } else { 0 }
    );
    let with_burn = usize::from(cfg!(feature = "burn"));
    for runtime in ["burn-flex", "burn-ndarray"] {
        assert_eq!(measured(runtime), with_burn, "{:?}", bench.missing);
    }
    assert!(bench.rows.iter().all(|row| row.is_interleaved));
    assert!(bench.rows.iter().all(|row| row.sample_seconds.len() == 3));
    assert!(
        bench
            .rows
            .is_sorted_by(|a, b| a.median_seconds <= b.median_seconds)
    );
    let missing: Vec<&str> = bench
        .missing
        .iter()
        .map(|gap| gap.runtime.as_str())
        .collect();
    for runtime in ["torchscript", "llama.cpp", "transformers"] {
        assert!(missing.contains(&runtime), "{missing:?}");
    }
}

#[test]
fn torchscript_joins_where_its_file_is_of_the_same_run() {
    let test = CliTest::new();
    let write = |sha256: &str, len| {
        test.write(
            "torchscript.json",
            serde_json::json!({
                "schema": "itera.torchscript/1", "version": "2.9", "checkpoint_sha256": sha256,
                "seq_len": len, "threads": 1, "max_abs_difference": 1e-5, "file_bytes": 1000,
                "sample_seconds": [0.003, 0.002, 0.004],
            })
            .to_string(),
        );
    };
    let model = fs::read(test.path("models/small.safetensors")).unwrap();
    let sha256 = itera_core::digest::sha256_hex(&model);
    let bench = "bench --checkpoint small --seq-len 20 --samples 2 --output r.json";
    let row = || {
        test.succeed(bench);
        let bench = test.record("r.json").bench.unwrap();
        bench
            .rows
            .into_iter()
            .find(|row| row.runtime == "torchscript")
    };
    write(&sha256, 20);
    let row_of_same = row().unwrap();
    assert!(!row_of_same.is_interleaved);
    assert!((row_of_same.median_seconds - 0.003).abs() < 1e-12);
    write(&sha256, 21);
    assert!(row().is_none(), "another length");
    write(&"0".repeat(64), 20);
    assert!(row().is_none(), "another checkpoint");
    test.write("torchscript.json", "{}");
    let run = test.run(bench);
    assert_eq!(run.status.code(), Some(2));
    assert!(
        text(&run.stderr).contains("scripts/torchscript.py"),
        "{}",
        text(&run.stderr)
    );
}

#[test]
fn rows_of_python_runtimes_join_where_their_file_is_of_the_same_run() {
    let test = CliTest::new();
    let model = fs::read(test.path("models/small.safetensors")).unwrap();
    let row = |runtime: &str, seconds: f64| {
        serde_json::json!({
            "runtime": runtime, "version": "1", "precision": "fp32", "file_bytes": 1000,
            "sample_seconds": [seconds], "decode_seconds": [1.0],
        })
    };
    let file = serde_json::json!({
        "schema": "itera.runtimes/1", "seq_len": 20, "threads": 1,
        "checkpoint_sha256": itera_core::digest::sha256_hex(&model),
        "rows": [row("llama.cpp", 0.5), row("transformers", 2.0)],
    });
    test.write("runtimes.json", file.to_string());
    let bench = "bench --checkpoint small --seq-len 20 --samples 2 --output r.json";
    test.succeed(bench);
    let rows = test.record("r.json").bench.unwrap().rows;
    let slowest = rows.last().unwrap();
    assert_eq!(slowest.runtime, "transformers");
    assert!((slowest.tokens_per_s - 10.0).abs() < 1e-9 && !slowest.is_interleaved);
    let llama = rows.iter().find(|row| row.runtime == "llama.cpp").unwrap();
    assert!((llama.speed_up - 4.0).abs() < 1e-9);
    test.write("runtimes.json", "{}");
    let run = test.run(bench);
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("scripts/runtimes/bench.py"));
}

#[test]
fn logits_are_those_after_every_token() {
    let test = CliTest::new();
    test.succeed("logits --checkpoint small --seq-len 9 --output l.json");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(test.path("l.json")).unwrap()).unwrap();
    assert_eq!(json["tokens"].as_array().unwrap().len(), 9);
    assert_eq!(json["tokens"][0], 256, "a text starts with its end");
    let rows = json["logits"].as_array().unwrap();
    assert!(rows.len() == 9 && rows.iter().all(|row| row.as_array().unwrap().len() == 257));
}
