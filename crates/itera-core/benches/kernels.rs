//! The whole forward pass and its largest products, at each precision and kernel:
//! `cargo bench -p itera-core`. The table with medians, memory and roofline is `itera-validate
//! bench`.

use divan::{Bencher, black_box, counter::ItemsCount};
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    kernels::Kernel,
    model::{Model, Sequence},
    models::load_at_precision,
};

fn main() {
    divan::main();
}

/// Every precision with every kernel of this processor.
fn cases() -> impl Iterator<Item = String> {
    let kernels = Kernel::available();
    Precision::ALL.into_iter().flat_map(move |precision| {
        let name = move |kernel: &Kernel| format!("{precision}-{kernel}");
        kernels.iter().map(name).collect::<Vec<_>>()
    })
}

fn checkpoint(precision: Precision) -> Checkpoint {
    load_at_precision("micro-tinystories", precision)
        .expect("a shipped model")
        .checkpoint
}

fn model(case: &str) -> Model {
    let (precision, kernel) = case.split_once('-').expect("a name of `cases`");
    let precision = precision.parse().expect("a precision");
    let kernel = kernel.parse().expect("a kernel of this processor");
    Model::with_kernel(&checkpoint(precision), kernel).expect("a sound model")
}

fn tokens(len: usize) -> Vec<u32> {
    (0..len)
        .map(|i| (i * i * 7 + 31 * i) as u32 % 512)
        .collect()
}

#[divan::bench(args = cases())]
fn decode(bencher: Bencher<'_, '_>, case: &str) {
    let model = model(case);
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let tokens = tokens(64);
    bencher
        .counter(ItemsCount::new(tokens.len()))
        .bench_local(|| {
            for token in &tokens {
                black_box(model.step(*token, &mut state, &mut work));
            }
        });
}

#[divan::bench(args = cases())]
fn prefill_128(bencher: Bencher<'_, '_>, case: &str) {
    let model = model(case);
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let tokens = tokens(128);
    bencher
        .counter(ItemsCount::new(tokens.len()))
        .bench_local(|| {
            black_box(model.prefill(&tokens, &mut state, &mut work));
        });
}

#[divan::bench(args = cases())]
fn decode_16_sessions(bencher: Bencher<'_, '_>, case: &str) {
    let model = model(case);
    let mut states = vec![model.new_state(); 16];
    let mut work = model.new_workspace();
    let tokens = tokens(16);
    bencher
        .counter(ItemsCount::new(tokens.len()))
        .bench_local(|| {
            let sequences = tokens.as_chunks::<1>().0.iter().zip(&mut states);
            let mut sequences: Vec<_> = sequences
                .map(|(token, state)| Sequence::new(token, state))
                .collect();
            model.forward_batch(&mut sequences, &mut work, &mut |_, logits| {
                black_box(logits);
            });
        });
}

#[divan::bench(args = cases())]
fn score(bencher: Bencher<'_, '_>, case: &str) {
    let model = model(case);
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let tokens = tokens(1024);
    bencher
        .counter(ItemsCount::new(tokens.len()))
        .bench_local(|| black_box(model.score(&mut state, &mut work, 256, &tokens)));
}
