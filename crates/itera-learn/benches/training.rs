//! Training speed of `micro` with a 512-entry vocabulary at length 256, in tokens per second.
//!
//! `cargo bench -p itera-learn --bench training` prints the median of the measured steps. Not a
//! micro-benchmark: a step is tens of milliseconds of work on all replicas, so the steps themselves
//! are the samples.
#![expect(clippy::print_stdout, reason = "the result of a bench goes to stdout")]

use std::time::Instant;

use itera_core::config::Preset;
use itera_learn::{
    Backend, Decay, OptimizerConfig, RouterLoss, Schedule,
    trainer::{TrainConfig, Trainer},
};

const VOCABULARY: usize = 512;
const STEPS: u64 = 40;

fn main() {
    for (batch, replicas) in [(4, 1), (8, 2), (16, 2)] {
        let speed = tokens_per_second(batch, replicas);
        println!("micro, length 256, batch {batch}, {replicas} replicas: {speed:.0} tokens/s");
    }
}

fn tokens_per_second(batch: usize, replicas: usize) -> f64 {
    let config = TrainConfig {
        batch,
        length: 256,
        replicas,
        seed: 1,
        schedule: Schedule {
            peak: 1e-3,
            floor: 0.1,
            warmup: 10,
            steps: STEPS,
            decay: Decay::Cosine,
        },
        optimizer: OptimizerConfig {
            beta_1: 0.9,
            beta_2: 0.99,
            weight_decay: 0.05,
            clip_norm: 1.0,
        },
        router: RouterLoss {
            balance: 0.01,
            z: 1e-3,
        },
    };
    // Token statistics do not matter for speed; lengths of documents hardly do.

    let document = |d: usize| (0..400).map(move |i| ((i * 7 + d * 13) % (VOCABULARY - 1)) as u32);
    let documents = (0..200).map(|d| document(d).collect()).collect();
    let model = Preset::Micro.config(VOCABULARY);
    let end_of_text = VOCABULARY as u32 - 1;
    let mut trainer = Trainer::new(&model, config, documents, end_of_text, Backend::Flex)
        .expect("the documents fill a segment");
    let mut speeds = Vec::new();
    while !trainer.is_done() {
        let start = Instant::now();
        let report = trainer.step();
        speeds.push(report.tokens as f64 / start.elapsed().as_secs_f64());
    }
    speeds.sort_by(f64::total_cmp);
    speeds[speeds.len() / 2]
}
