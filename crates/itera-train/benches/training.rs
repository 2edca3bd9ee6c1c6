//! Training speed of `micro` with a 512-entry vocabulary at length 256, in tokens per second.
//!
//! `cargo bench -p itera-train --bench training` prints the median of the measured steps and writes
//! `results/training-bench.json`. A step is tens of milliseconds of work on all replicas, so the
//! steps themselves are the samples.
#![expect(clippy::print_stdout, reason = "the result of a bench goes to stdout")]

use std::{path::Path, time::Instant};

use itera_core::{config::Preset, files::write_atomic};
use itera_data::TokenSet;
use itera_learn::{
    Backend, Decay, Schedule,
    trainer::{TrainConfig, Trainer},
};
use serde_json::{Value, json};

/// The allocator of itera-train.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VOCABULARY: usize = 512;
const LENGTH: usize = 256;
const STEPS: u64 = 60;

fn main() {
    let rows: Vec<Value> = [(4, 1), (8, 2), (16, 2)].map(|(b, r)| measure(b, r)).into();
    let host = itera_cli::host();
    let record = json!({
        "schema": "itera.training-bench/1",
        "command": "cargo bench -p itera-train --bench training",
        "created_at": itera_cli::created_at(),
        "tool": itera_cli::tool("itera-train"),
        "host": host,
        "cores": host.cores,
        "preset": "micro",
        "vocab_size": VOCABULARY,
        "length": LENGTH,
        "rows": rows,
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/training-bench.json");
    let text = serde_json::to_string_pretty(&record).expect("a record of plain values") + "\n";
    write_atomic(&path, text.as_bytes()).expect("results/ can be written");
}

fn measure(batch: usize, replicas: usize) -> Value {
    let mut speeds = speeds(batch, replicas);
    speeds.sort_by(f64::total_cmp);
    let at = |share: f64| speeds[(share * (speeds.len() - 1) as f64) as usize];
    let median = at(0.5);
    println!("micro, length {LENGTH}, batch {batch}, {replicas} replicas: {median:.0} tokens/s");
    json!({
        "batch": batch,
        "replicas": replicas,
        "tokens_per_s_median": median,
        "tokens_per_s_p10": at(0.1),
        "tokens_per_s_p90": at(0.9),
        "steps": STEPS,
    })
}

/// Tokens per second of each step.
fn speeds(batch: usize, replicas: usize) -> Vec<f64> {
    let config = TrainConfig {
        batch,
        length: LENGTH,
        replicas,
        schedule: Schedule {
            peak: 1e-3,
            floor: 0.1,
            warmup: 10,
            steps: STEPS,
            decay: Decay::Cosine,
        },
        ..TrainConfig::default()
    };
    // Token statistics do not matter for speed, and the lengths of documents hardly do.
    let token = |d: usize, i: usize| ((i * 7 + d * 13) % (VOCABULARY - 1)) as u16;
    let documents = (0..200).map(|d| (0..400).map(|i| token(d, i)).collect::<Vec<_>>());
    let model = Preset::Micro.config(VOCABULARY);
    let end_of_text = VOCABULARY as u32 - 1;
    let mut trainer = Trainer::new(
        &model,
        config,
        documents.collect::<TokenSet>(),
        end_of_text,
        Backend::Flex,
    )
    .expect("the documents fill a segment");
    let mut speeds = Vec::new();
    while !trainer.is_done() {
        let start = Instant::now();
        let report = trainer.step();
        speeds.push(report.tokens as f64 / start.elapsed().as_secs_f64());
    }
    speeds
}
