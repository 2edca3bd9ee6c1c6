//! A vocabulary that grows.

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    config::Preset,
    tokenizer::{BpeTokenizer, BytesTokenizer, Tokenizer},
};

const EMBEDDING: &str = "embedding.weight";

fn bpe(merges: &[(u32, u32)]) -> Tokenizer {
    Tokenizer::Bpe(BpeTokenizer::from_merges(merges.iter().copied()).expect("merges"))
}

/// A model of the tokenizer with weights from a formula.
fn made_up(tokenizer: Tokenizer) -> Checkpoint {
    let config = Preset::Test.config(tokenizer.vocab_size());
    let tensors = config.tensors().into_iter().map(|spec| {
        let values = (0..spec.len()).map(|index| (index as f32 + 1.0).sin());
        (spec.name, Tensor::f32(spec.shape, values.collect()))
    });
    Checkpoint {
        tensors: tensors.collect(),
        config,
        tokenizer,
        training: serde_json::Value::Null,
    }
}

/// The model with the vocabulary of `tokenizer`; none if it stays as it is, with another.
fn grown(small: &Checkpoint, tokenizer: &Tokenizer) -> Option<Checkpoint> {
    let mut grown = small.clone();
    grown.grow_vocabulary(tokenizer);
    if grown.tokenizer.to_json() == tokenizer.to_json() {
        return Some(grown);
    }
    assert_eq!(grown.tokenizer.to_json(), small.tokenizer.to_json());
    assert_eq!(grown.tensors, small.tensors);
    None
}

#[test]
fn a_new_token_begins_as_the_mean_of_its_parts() {
    let small = made_up(bpe(&[(97, 98)]));
    let longer = bpe(&[(97, 98), (257, 99), (258, 258)]);
    let grown = grown(&small, &longer).expect("its merges first");
    grown.validate().expect("a whole checkpoint");
    assert_eq!(grown.config.vocab_size, 260);
    let d_model = grown.config.d_model;
    let [rows, before] = [&grown, &small].map(|model| model.tensors[EMBEDDING].to_f32());
    assert_eq!(rows[..258 * d_model], before);
    let row = |token: usize| &rows[token * d_model..][..d_model];
    for (token, [first, second]) in [(258, [257, 99]), (259, [258, 258])] {
        let parts = row(first).iter().zip(row(second));
        let mean: Vec<f32> = parts.map(|(a, b)| (a + b) / 2.0).collect();
        assert_eq!(row(token), mean);
    }
    for (name, tensor) in small.tensors.iter().filter(|(name, _)| *name != EMBEDDING) {
        assert_eq!(grown.tensors[name], *tensor, "{name}");
    }
}

#[test]
fn integers_stay_and_do_not_grow() {
    let tokenizer = bpe(&[(97, 98)]);
    let mut small = made_up(tokenizer.clone());
    let embedding = &small.tensors[EMBEDDING];
    let integers = Tensor::quantized(embedding.shape.clone(), embedding.to_f32(), Precision::Int8);
    small.tensors.insert(EMBEDDING.to_owned(), integers);
    let same = grown(&small, &tokenizer).expect("its merges first");
    assert_eq!(same.tensors, small.tensors);
    let longer = bpe(&[(97, 98), (257, 99)]);
    assert!(grown(&small, &longer).is_none());
}

#[test]
fn a_vocabulary_that_does_not_begin_alike_is_refused() {
    let small = made_up(bpe(&[(97, 98)]));
    let others = [
        bpe(&[]),
        bpe(&[(97, 99), (97, 98)]),
        Tokenizer::Bytes(BytesTokenizer::new()),
    ];
    for other in others {
        assert!(grown(&small, &other).is_none());
    }
}
