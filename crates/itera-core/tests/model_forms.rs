//! The step form, the chunked form and scoring compute one function and carry one state.

use std::collections::BTreeMap;

use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    config::{ModelConfig, Preset},
    model::Model,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use proptest::prelude::*;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Largest difference of a logit between two orders of summation.
const TOLERANCE: f32 = 2e-4;

fn model(config: &ModelConfig, seed: u64) -> Model {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || (rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 1.2;
    let tensors: BTreeMap<String, Tensor> = config
        .tensors()
        .into_iter()
        .map(|spec| {
            let values = (0..spec.len()).map(|_| draw()).collect();
            (spec.name, Tensor::f32(spec.shape, values))
        })
        .collect();
    let checkpoint = Checkpoint {
        config: config.clone(),
        tokenizer: Tokenizer::Bytes(BytesTokenizer::new()),
        training: serde_json::Value::Null,
        tensors,
    };
    Model::from_checkpoint(&checkpoint).expect("the test model is sound")
}

fn test_config() -> ModelConfig {
    Preset::Test.config(257)
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len());
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (a - b).abs() < TOLERANCE,
            "{what}: logit {index} is {a} and {b}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn step_form_equals_chunked_form(
        seed in 0_u64..1000,
        tokens in prop::collection::vec(0_u32..257, 1..70),
        split in 0_usize..70,
    ) {
        let model = model(&test_config(), seed);
        let (mut stepped, mut chunked) = (model.new_state(), model.new_state());
        let mut logits = Vec::new();
        for token in &tokens {
            logits = model.step(*token, &mut stepped).to_vec();
        }
        // In two pieces, so that chunks start at any token.
        let (first, second) = tokens.split_at(split.min(tokens.len() - 1));
        prop_assert!(model.prefill(first, &mut chunked).is_some() || first.is_empty());
        let last = model.prefill(second, &mut chunked).expect("the second piece is not empty");
        assert_close(last, &logits, "after the last token");
        for (a, b) in stepped.values().zip(chunked.values()) {
            prop_assert!((a - b).abs() < TOLERANCE, "state values {a} and {b}");
        }
    }
}

#[test]
fn every_kind_of_expert_agrees_between_the_forms() {
    let dense = test_config().dense_twin_of_total();
    let shared = ModelConfig {
        d_shared: 5,
        ..test_config()
    };
    let top_one = ModelConfig {
        top_k: 1,
        ..test_config()
    };
    let tokens: Vec<u32> = (0..29).map(|i| i * 37 % 257).collect();
    for config in [dense, shared, top_one] {
        let model = model(&config, 7);
        let (mut stepped, mut chunked) = (model.new_state(), model.new_state());
        let mut logits = Vec::new();
        for token in &tokens {
            logits = model.step(*token, &mut stepped).to_vec();
        }
        let last = model
            .prefill(&tokens, &mut chunked)
            .expect("there are tokens");
        assert_close(last, &logits, "after the last token");
    }
}

#[test]
fn score_is_the_log_softmax_of_each_step_and_goes_on_where_it_ended() {
    let model = model(&test_config(), 3);
    let tokens: Vec<u32> = (0..45).map(|i| (i * i + 11) % 257).collect();
    let mut state = model.new_state();
    let mut context = 256;
    let mut expected = Vec::new();
    for token in &tokens {
        let logits = model.step(context, &mut state);
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
        expected.push(sum.ln() - f64::from(logits[*token as usize] - max));
        context = *token;
    }
    let mut state = model.new_state();
    let mut nats = model.score(&mut state, 256, &tokens[..13]);
    nats.extend(model.score(&mut state, tokens[12], &tokens[13..]));
    assert_eq!(nats.len(), expected.len());
    for (a, b) in nats.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

#[test]
fn a_reset_state_is_a_new_state() {
    let model = model(&test_config(), 5);
    let mut used = model.new_state();
    model.prefill(&[1, 2, 3, 4, 5], &mut used);
    used.reset();
    let fresh = model.step(9, &mut model.new_state()).to_vec();
    assert_eq!(model.step(9, &mut used), fresh);
}

#[test]
fn equal_router_logits_choose_the_lower_experts() {
    // A router of zeros makes all probabilities equal: experts 0 and 1 must be visited.
    let config = test_config();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut build = |spare: f32| {
        let mut tensors = BTreeMap::new();
        for spec in config.tensors() {
            let mut values: Vec<f32> = vec![0.0; spec.len()];
            if !spec.name.ends_with("router.weight") {
                rng.set_word_pos(0);
                for value in &mut values {
                    *value = rng.next_u32() as f32 / u32::MAX as f32 - 0.5;
                }
            }
            if spec.name.ends_with("moe.w_out") {
                let half = values.len() / 2;
                values[half..].fill(spare);
            }
            tensors.insert(spec.name, Tensor::f32(spec.shape, values));
        }
        let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
        let training = serde_json::Value::Null;
        let checkpoint = Checkpoint {
            config: config.clone(),
            tokenizer,
            training,
            tensors,
        };
        Model::from_checkpoint(&checkpoint).expect("the test model is sound")
    };
    let (plain, other) = (build(0.0), build(100.0));
    let a = plain
        .prefill(&[1, 2, 3], &mut plain.new_state())
        .map(<[f32]>::to_vec);
    let b = other
        .prefill(&[1, 2, 3], &mut other.new_state())
        .map(<[f32]>::to_vec);
    assert_eq!(a, b, "experts 2 and 3 must not be computed");
}
