//! The Python of docs/export.md, run where ONNX Runtime and numpy are installed.

use std::{fs, process::Command};

use itera_core::{checkpoint::Checkpoint, model::Model};
use itera_testing::skip;

use crate::fixture::{CliTest, checkout, text};

/// Tokens that the snippet writes.
const TOKENS: usize = 50;

/// The Python of the page on exports.
fn snippet() -> String {
    let page = fs::read_to_string(checkout().join("docs/export.md")).unwrap();
    let (_, code) = page.split_once("```python").expect("it has Python");
    let (_, code) = code.split_once('\n').expect("and more lines");
    code.split("```").next().unwrap().to_owned()
}

/// The most likely token after each, by the native engine.
fn greedy(checkpoint: &Checkpoint) -> Vec<u32> {
    let model = Model::from_checkpoint(checkpoint).unwrap();
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let mut token = checkpoint.tokenizer.end_of_text();
    let mut all = Vec::new();
    for _ in 0..TOKENS {
        let logits = model.step(token, &mut state, &mut work);
        let best = (0..logits.len())
            .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
            .unwrap();
        token = best as u32;
        all.push(token);
    }
    all
}

#[test]
fn the_python_of_the_page_writes_what_the_native_engine_writes() {
    let folder = checkout().join(".runtimes/python");
    let python = std::env::var("ITERA_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python)
        .args(["-c", "import numpy, onnxruntime"])
        .env("PYTHONPATH", &folder)
        .output();
    if !probe.is_ok_and(|run| run.status.success()) {
        skip("Python has no onnxruntime; run scripts/setup-onnxruntime.sh");
        return;
    }
    let test = CliTest::new();
    let models = checkout().join("data/models");
    let mut command = test.command(
        "onnx --checkpoint micro-tinystories --graph step --precision fp32 --output results/onnx",
    );
    let run = command.env("ITERA_MODELS_DIR", &models).output().unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    let run = Command::new(&python)
        .args(["-c", &snippet()])
        .current_dir(test.path("."))
        .env("PYTHONPATH", &folder)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    let bytes = fs::read(models.join("micro-tinystories.safetensors")).unwrap();
    let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
    let written: Vec<u8> = greedy(&checkpoint)
        .iter()
        .flat_map(|token| checkpoint.tokenizer.token_bytes(*token).to_vec())
        .collect();
    assert_eq!(
        text(&run.stdout).trim_end_matches('\n'),
        text(&written).trim_end_matches('\n')
    );
}
