//! Reading token by token, all at once, in pieces or in company gives the same bits.

use std::collections::BTreeMap;

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    config::{ModelConfig, Preset, Routing, TensorRole},
    kernels::Kernel,
    model::{Model, Scorer, Sequence},
    tokenizer::{BytesTokenizer, Tokenizer},
};
use proptest::prelude::*;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

fn model(config: &ModelConfig, seed: u64, precision: Precision) -> Model {
    Model::from_checkpoint(&checkpoint(config, seed, precision)).expect("the test model is sound")
}

/// Random weights, the matrices in a precision.
fn checkpoint(config: &ModelConfig, seed: u64, precision: Precision) -> Checkpoint {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || (rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 1.2;
    let tensors: BTreeMap<String, Tensor> = config
        .tensors()
        .into_iter()
        .map(|spec| {
            let values = (0..spec.len()).map(|_| draw()).collect();
            let tensor = match spec.role {
                TensorRole::Embedding | TensorRole::Projection => {
                    Tensor::quantized(spec.shape, values, precision)
                }
                _ => Tensor::f32(spec.shape, values),
            };
            (spec.name, tensor)
        })
        .collect();
    Checkpoint {
        config: config.clone(),
        tokenizer: Tokenizer::Bytes(BytesTokenizer::new()),
        training: serde_json::Value::Null,
        tensors,
    }
}

fn test_config() -> ModelConfig {
    Preset::Test.config(257)
}

fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

/// Logits after the last token, read one by one, and the state then.
fn stepped(model: &Model, tokens: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let mut logits = Vec::new();
    for token in tokens {
        logits = bits(model.step(*token, &mut state, &mut work).iter().copied());
    }
    (logits, bits(state.values()))
}

#[test]
fn groups_are_bounded_in_tokens_and_documents() {
    let lens = [0, 2000, 48, 1, 2048, 3000, 1].into_iter().chain([1; 200]);
    let groups = Scorer::groups(lens);
    assert_eq!(groups[..5], [0..3, 3..4, 4..5, 5..6, 6..70]);
    assert_eq!(groups.iter().map(ExactSizeIterator::len).max(), Some(64));
    assert!(groups.into_iter().flatten().eq(0..207));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn all_at_once_equals_token_by_token(
        seed in 0_u64..1000,
        precision in prop::sample::select(Precision::ALL.to_vec()),
        tokens in prop::collection::vec(0_u32..257, 1..70),
        split in 0_usize..70,
    ) {
        let model = model(&test_config(), seed, precision);
        let (logits, values) = stepped(&model, &tokens);
        // In two pieces, so that rounds start at any token.
        let (first, second) = tokens.split_at(split.min(tokens.len() - 1));
        let (mut state, mut work) = (model.new_state(), model.new_workspace());
        prop_assert!(model.prefill(first, &mut state, &mut work).is_some() || first.is_empty());
        let last = model.prefill(second, &mut state, &mut work).expect("the second piece is not empty");
        prop_assert_eq!(bits(last.iter().copied()), logits);
        prop_assert_eq!(bits(state.values()), values);
    }

    #[test]
    fn company_changes_nothing(
        seed in 0_u64..1000,
        precision in prop::sample::select(Precision::ALL.to_vec()),
        lens in prop::collection::vec(0_usize..80, 1..6),
    ) {
        let model = model(&test_config(), seed, precision);
        let texts: Vec<Vec<u32>> = lens
            .iter()
            .enumerate()
            .map(|(text, &len)| (0..len).map(|i| (i * i * 7 + text * 31) as u32 % 257).collect())
            .collect();
        let mut work = model.new_workspace();
        let mut states = vec![model.new_state(); texts.len()];
        let mut sequences: Vec<_> = texts
            .iter()
            .zip(&mut states)
            .map(|(tokens, state)| Sequence::new(tokens, state))
            .collect();
        let mut found = vec![None; texts.len()];
        model.forward_batch(&mut sequences, &mut work, &mut |index, logits| {
            assert!(found[index].is_none(), "a sequence ends once");
            found[index] = Some(bits(logits.iter().copied()));
        });
        for ((tokens, state), found) in texts.iter().zip(&states).zip(found) {
            let (logits, values) = stepped(&model, tokens);
            prop_assert_eq!(found.unwrap_or_default(), logits);
            prop_assert_eq!(bits(state.values()), values);
        }

        let mut states = vec![model.new_state(); texts.len()];
        let mut sequences: Vec<_> = texts
            .iter()
            .zip(&mut states)
            .map(|(tokens, state)| Sequence::predicting(tokens, 256, state))
            .collect();
        let mut together = vec![Vec::new(); texts.len()];
        model.score_batch(&mut sequences, &mut work, |index, nats| together[index].push(nats));
        for (tokens, together) in texts.iter().zip(together) {
            let alone = model.score(&mut model.new_state(), &mut work, 256, tokens);
            prop_assert_eq!(together, alone);
        }
    }
}

#[test]
fn every_kind_of_expert_and_kernel_gives_one_function() {
    let dense = test_config().dense_twin_of_total();
    let shared = ModelConfig {
        d_shared: 5,
        ..test_config()
    };
    let top_one = ModelConfig {
        top_k: 1,
        ..test_config()
    };
    let routed_over_the_chosen = ModelConfig {
        routing: Routing::Chosen,
        ..test_config()
    };
    let five_taps = ModelConfig {
        d_conv: 5,
        ..test_config()
    };
    let tokens: Vec<u32> = (0..29).map(|i| i * 37 % 257).collect();
    for config in [dense, shared, top_one, routed_over_the_chosen, five_taps] {
        for precision in Precision::ALL {
            let checkpoint = checkpoint(&config, 7, precision);
            let scores = |kernel| {
                let model = Model::with_kernel(&checkpoint, kernel).expect("the model is sound");
                let mut state = model.new_state();
                model.score(&mut state, &mut model.new_workspace(), 256, &tokens)
            };
            let expected = scores(Kernel::scalar());
            for kernel in Kernel::available() {
                let found = scores(kernel);
                if precision.max_integer().is_some() {
                    assert_eq!(found, expected, "{kernel} {precision}");
                }
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-3, "{kernel} {precision}: {a} and {b}");
                }
            }
        }
    }
}

#[test]
fn score_is_the_log_softmax_of_each_step_and_goes_on_where_it_ended() {
    let model = model(&test_config(), 3, Precision::Fp32);
    let tokens: Vec<u32> = (0..45).map(|i| (i * i + 11) % 257).collect();
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let mut context = 256;
    let mut expected = Vec::new();
    for token in &tokens {
        let logits = model.step(context, &mut state, &mut work);
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
        expected.push(sum.ln() - f64::from(logits[*token as usize] - max));
        context = *token;
    }
    let mut state = model.new_state();
    let mut nats = model.score(&mut state, &mut work, 256, &tokens[..13]);
    nats.extend(model.score(&mut state, &mut work, tokens[12], &tokens[13..]));
    assert_eq!(nats.len(), expected.len());
    for (a, b) in nats.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

#[test]
fn a_reset_state_is_a_new_state() {
    let model = model(&test_config(), 5, Precision::Fp32);
    let (mut used, mut work) = (model.new_state(), model.new_workspace());
    model.prefill(&[1, 2, 3, 4, 5], &mut used, &mut work);
    used.reset();
    let fresh = model.step(9, &mut model.new_state(), &mut work).to_vec();
    assert_eq!(model.step(9, &mut used, &mut work), fresh);
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
        .prefill(
            &[1, 2, 3],
            &mut plain.new_state(),
            &mut plain.new_workspace(),
        )
        .map(<[f32]>::to_vec);
    let b = other
        .prefill(
            &[1, 2, 3],
            &mut other.new_state(),
            &mut other.new_workspace(),
        )
        .map(<[f32]>::to_vec);
    assert_eq!(a, b, "experts 2 and 3 must not be computed");
}

#[test]
fn documents_score_alike_in_any_company() {
    let model = model(&test_config(), 5, Precision::Int8);
    let lens = (0..2 * Scorer::GROUP + 3).map(|i| i * 7 % 40);
    let documents: Vec<Vec<u32>> = lens
        .map(|len| (0..len).map(|i| (i * i + 31 * len) as u32 % 256).collect())
        .collect();
    let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
    let mut scorer = model.scorer(256);
    let together = scorer.documents(&slices);
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    for (document, found) in slices.iter().zip(together) {
        state.reset();
        let nats = model.score(&mut state, &mut work, 256, document);
        let expected = nats.into_iter().fold(0.0, |sum, next| sum + next);
        assert_eq!(found.to_bits(), f64::to_bits(expected));
        assert_eq!(scorer.documents(&[*document]), [found]);
    }
}
