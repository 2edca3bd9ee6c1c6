//! Drawing a token: `cargo bench -p itera-core --bench sampling`.

use divan::{Bencher, black_box};
use itera_core::sampling::{Sampler, SamplingConfig};

fn main() {
    divan::main();
}

/// Entries of the shipped vocabularies, character and byte-pair.
const VOCABULARIES: [usize; 3] = [94, 1536, 1920];

fn draw(bencher: Bencher<'_, '_>, vocab_size: usize, config: SamplingConfig) {
    let logits: Vec<f32> = (0..vocab_size)
        .map(|id| (id * 7919 % 1009) as f32 / 60.0)
        .collect();
    let mut sampler = Sampler::new(config).expect("a sound config");
    bencher.bench_local(|| black_box(sampler.sample(black_box(&logits))));
}

#[divan::bench(args = VOCABULARIES)]
fn all_tokens(bencher: Bencher<'_, '_>, vocab_size: usize) {
    draw(bencher, vocab_size, SamplingConfig::default());
}

#[divan::bench(args = VOCABULARIES)]
fn greedy(bencher: Bencher<'_, '_>, vocab_size: usize) {
    let config = SamplingConfig {
        temperature: 0.0,
        ..SamplingConfig::default()
    };
    draw(bencher, vocab_size, config);
}

#[divan::bench(args = VOCABULARIES)]
fn nucleus(bencher: Bencher<'_, '_>, vocab_size: usize) {
    let config = SamplingConfig {
        top_k: Some(40),
        top_p: Some(0.9),
        ..SamplingConfig::default()
    };
    draw(bencher, vocab_size, config);
}
