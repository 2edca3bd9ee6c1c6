//! Text to tokens, one thread: `cargo bench -p itera-core --bench tokenizer`.

use divan::{Bencher, black_box, counter::BytesCount};
use itera_core::models::load_checkpoint;

fn main() {
    divan::main();
}

/// A shipped model and a text of its kind.
const CASES: [(&str, &str); 3] = [
    (
        "micro-tinystories",
        include_str!("../../../data/samples/tinystories-sample.txt"),
    ),
    (
        "nano-tinystories",
        include_str!("../../../data/samples/tinystories-sample.txt"),
    ),
    (
        "micro-wikitext2",
        include_str!("../../../data/samples/wikitext2-sample.txt"),
    ),
];

#[divan::bench(args = CASES.map(|(name, _)| name))]
fn documents(bencher: Bencher<'_, '_>, name: &str) {
    let tokenizer = load_checkpoint(name)
        .expect("it ships")
        .checkpoint
        .tokenizer;
    let text = CASES
        .iter()
        .find(|case| case.0 == name)
        .map_or("", |case| case.1);
    let documents: Vec<&str> = text.split("<|endoftext|>").collect();
    let bytes: usize = documents.iter().map(|text| text.len()).sum();
    let mut ids = Vec::new();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        ids.clear();
        for document in &documents {
            tokenizer
                .encode_into(black_box(document.as_bytes()), &mut ids)
                .expect("text");
        }
        ids.len()
    });
}
