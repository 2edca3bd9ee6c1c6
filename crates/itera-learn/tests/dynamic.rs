//! Dynamic evaluation scores before it learns, and without a learning rate it is static.

use itera_core::{
    config::Preset,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use itera_learn::{
    Backend,
    dynamic::{DynamicConfig, DynamicScorer},
    model::LanguageModel,
};

const SEGMENT: usize = 24;

fn scorer(learning_rate: f64, pull: f64) -> DynamicScorer {
    let model = LanguageModel::new(&Preset::Test.config(257), 5, &Backend::Flex.device());
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let checkpoint = model.to_checkpoint(&tokenizer, serde_json::Value::Null);
    let config = DynamicConfig {
        learning_rate,
        pull,
    };
    DynamicScorer::new(&checkpoint, config).unwrap()
}

/// Texts of all seeds begin with the same four segments.
fn text(seed: u32) -> Vec<u32> {
    (0..200).map(|i| (i * i + seed * (i / 96)) % 23).collect()
}

/// Bits of the likelihood of every token; learns if `learn`.
fn read(scorer: &mut DynamicScorer, tokens: &[u32], learn: bool) -> Vec<u64> {
    let mut previous = 256;
    let mut bits = Vec::new();
    for segment in tokens.chunks(SEGMENT) {
        let nats = if learn {
            scorer.score_then_learn(previous, segment)
        } else {
            scorer.score(previous, segment)
        };
        bits.extend(nats.into_iter().map(f64::to_bits));
        previous = segment[segment.len() - 1];
    }
    bits
}

fn total(bits: &[u64]) -> f64 {
    bits.iter().map(|bits| f64::from_bits(*bits)).sum()
}

#[test]
fn a_segment_is_scored_before_it_is_learnt_from() {
    let still = read(&mut scorer(1e-2, 0.0), &text(0), false);
    let moving = read(&mut scorer(1e-2, 0.0), &text(0), true);
    assert_eq!(moving[..SEGMENT], still[..SEGMENT]);
    assert_ne!(moving[SEGMENT..2 * SEGMENT], still[SEGMENT..2 * SEGMENT]);
    // What comes later has no part in a score.
    let other = read(&mut scorer(1e-2, 0.0), &text(1), true);
    assert_eq!(moving[..96], other[..96]);
    assert_ne!(moving[96..], other[96..]);
}

#[test]
fn a_learning_rate_of_zero_is_the_static_score() {
    let mut moving = scorer(0.0, 0.0);
    let found = read(&mut moving, &text(0), true);
    assert_eq!(found, read(&mut scorer(0.0, 0.0), &text(0), false));
    assert_eq!(moving.updates(), 9);
}

#[test]
fn learning_helps_where_a_text_repeats_itself_and_the_pull_holds_back() {
    let read = |pull| read(&mut scorer(1e-2, pull), &text(0), true);
    let (still, free, held) = (
        total(&self::read(&mut scorer(1e-2, 0.0), &text(0), false)),
        total(&read(0.0)),
        total(&read(0.5)),
    );
    assert!(free < 0.9 * still, "{free} against {still}");
    assert!(free < held && held < still, "{free}, {held}, {still}");
}

#[test]
fn a_reset_forgets_the_text_and_keeps_the_weights() {
    let mut moving = scorer(1e-2, 0.0);
    let first = read(&mut moving, &text(0), true);
    let before = moving.model().parameters();
    moving.reset();
    assert_eq!(moving.model().parameters(), before);
    let again = read(&mut moving, &text(0), false);
    assert!(total(&again) < total(&first));
    moving.reset();
    assert_eq!(read(&mut moving, &text(0), false), again);
}
