//! Every form of the forward pass computes what itera-core computes, on both backends, and the
//! hand-written gradients are those of Burn's autodiff through the paper's form.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Int, Tensor, TensorData, activation},
};
use itera_core::{
    config::{ModelConfig, Preset, Routing},
    model::Model,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use itera_learn::{
    Backend,
    model::{Carry, LanguageModel, Tokens},
    scoring::Scorer,
};

const VOCABULARY: usize = 257;

fn config() -> ModelConfig {
    Preset::Test.config(VOCABULARY)
}

fn tokens(len: usize, seed: usize) -> Vec<u32> {
    (0..len)
        .map(|i| ((i * 31 + seed * 17 + i * i * 7) % VOCABULARY) as u32)
        .collect()
}

fn native(model: &LanguageModel) -> Model {
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let checkpoint = model.to_checkpoint(&tokenizer, serde_json::Value::Null);
    Model::from_checkpoint(&checkpoint).expect("a trained model is a sound checkpoint")
}

/// Logits after every token by the native step form, `[len, vocab_size]`.
fn native_logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    tokens
        .iter()
        .flat_map(|token| model.step(*token, &mut state, &mut work).to_vec())
        .collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("logits are f32")
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance,
            "{what}: value {index} is {a}, expected {b}"
        );
    }
}

fn routed_over_the_chosen() -> ModelConfig {
    ModelConfig {
        routing: Routing::Chosen,
        ..config()
    }
}

fn segment(batch: usize, inputs: Vec<u32>, resets: &[usize]) -> Tokens {
    let resets: Vec<bool> = (0..inputs.len())
        .map(|index| resets.contains(&index))
        .collect();
    Tokens {
        batch,
        length: inputs.len() / batch,
        inputs,
        resets: resets.into(),
    }
}

#[test]
fn all_forms_agree_with_the_native_model_on_both_backends() {
    let shared = ModelConfig {
        d_shared: 5,
        top_k: 1,
        ..config()
    };
    for config in [
        config(),
        routed_over_the_chosen(),
        shared,
        config().dense_twin_of_active(),
    ] {
        for &backend in Backend::HOST {
            let model = LanguageModel::new(&config, 11, &backend.device());
            let native = native(&model);
            for len in [1, 2, 7, 8, 9, 16, 37] {
                let input = tokens(len, len);
                let expected = native_logits(&native, &input);
                let what = |form: &str| format!("{form} on {backend}, {len} tokens");

                let fused = model.forward(&segment(1, input.clone(), &[]), &mut model.new_carry(1));
                assert_close(&values(fused.logits), &expected, 1e-4, &what("fused"));

                let whole = segment(1, input.clone(), &[]);
                let chunked = model.chunked(&whole, &mut model.new_paper_state(1));
                assert_close(&values(chunked), &expected, 1e-4, &what("chunked"));

                let mut state = model.new_paper_state(1);
                let steps = input
                    .iter()
                    .map(|token| model.step(&segment(1, vec![*token], &[]), &mut state));
                let stepped = Tensor::cat(steps.collect(), 1);
                assert_close(&values(stepped), &expected, 1e-4, &what("step"));
            }
        }
    }
}

#[test]
fn decays_beyond_the_range_of_floats_agree_too() {
    // exp(-dt A) of a chunk underflows, and its inverse would overflow.
    let mut parameters: BTreeMap<String, Vec<f32>> =
        LanguageModel::new(&config(), 6, &Backend::Flex.device())
            .parameters()
            .into_iter()
            .map(|(name, (_, values))| (name, values))
            .collect();
    for (name, values) in &mut parameters {
        if name.ends_with("dt_bias") {
            values.fill(3.0);
        } else if name.ends_with("a_log") {
            values.fill(4.0);
        }
    }
    let model = LanguageModel::new(&config(), 6, &Backend::Flex.device());
    let model = model.with_parameters(parameters);
    let input = tokens(37, 1);
    let expected = native_logits(&native(&model), &input);
    let fused = model.forward(&segment(1, input.clone(), &[]), &mut model.new_carry(1));
    assert_close(&values(fused.logits), &expected, 1e-4, "fused");
    let chunked = model.chunked(&segment(1, input, &[]), &mut model.new_paper_state(1));
    assert_close(&values(chunked), &expected, 1e-4, "chunked");
}

#[test]
fn presets_with_whole_lanes_agree_too() {
    // The test preset has heads of 8 channels; micro's fill a lane.
    let config = ModelConfig {
        n_layers: 1,
        ..Preset::Micro.config(VOCABULARY)
    };
    let model = LanguageModel::new(&config, 5, &Backend::Flex.device());
    let input = tokens(50, 3);
    let expected = native_logits(&native(&model), &input);
    let fused = model.forward(&segment(1, input, &[]), &mut model.new_carry(1));
    assert_close(&values(fused.logits), &expected, 1e-4, "fused micro");
}

#[test]
fn resets_and_carried_state_cut_documents_where_they_start() {
    let model = LanguageModel::new(&config(), 2, &Backend::Flex.device());
    let native = native(&model);
    let (first, second) = (tokens(21, 1), tokens(30, 2));
    let mut expected = native_logits(&native, &first);
    expected.extend(native_logits(&native, &second));
    // Both documents in one lane, read in segments of 17 tokens: one inside the first document,
    // one across the start of the second, one inside it.
    let stream: Vec<u32> = first.iter().chain(&second).copied().collect();
    for mut carry in [model.new_carry(1), Carry::Plain(model.new_paper_state(1))] {
        let mut found = Vec::new();
        for (index, piece) in stream.chunks(17).enumerate() {
            let start = index * 17;
            let resets: Vec<usize> = [0, 21]
                .into_iter()
                .filter(|at| (start..start + piece.len()).contains(at))
                .map(|at| at - start)
                .collect();
            let output = model.forward(&segment(1, piece.to_vec(), &resets), &mut carry);
            found.extend(values(output.logits));
        }
        assert_close(&found, &expected, 1e-4, "two documents in one lane");
    }
}

/// Gradients by name.
fn gradients(model: &LanguageModel, loss: &Tensor<1>) -> BTreeMap<String, Vec<f32>> {
    struct Collect(GradientsParams, Vec<String>, BTreeMap<String, Vec<f32>>);
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.1.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.1.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let grad = self
                .0
                .remove::<D>(param.id)
                .expect("every parameter has a gradient");
            self.2.insert(self.1.join("."), values(grad));
        }
    }
    let grads = GradientsParams::from_grads(loss.backward(), model);
    let mut collect = Collect(grads, Vec::new(), BTreeMap::new());
    model.visit(&mut collect);
    collect.2
}

#[test]
fn hand_written_gradients_are_those_of_the_papers_form() {
    let wide = ModelConfig {
        n_layers: 1,
        ..Preset::Micro.config(64)
    };
    let shared = ModelConfig {
        d_shared: 5,
        ..config()
    };
    for config in [
        config(),
        routed_over_the_chosen(),
        shared,
        config().dense_twin_of_total(),
        wide,
    ] {
        for &backend in Backend::HOST {
            let model = LanguageModel::new(&config, 4, &backend.device().autodiff());
            let (batch, length) = (2, 35);
            let input: Vec<u32> = tokens(batch * length, 5)
                .iter()
                .map(|t| t % config.vocab_size as u32)
                .collect();
            let targets: Vec<u32> = input.iter().map(|t| (t * 3 + 1) % 64).collect();

            // Documents that start between chunks and within one, and a state from before.
            let whole = segment(batch, input, &[0, 3, 8, length + 13]);
            let mut carry = model.new_carry(batch);
            model.forward(&whole, &mut carry);
            let fused = model.forward(&whole, &mut carry).logits;
            let fused_loss = itera_learn::cross_entropy(fused, targets.clone().into());
            let fused = gradients(&model, &fused_loss);
            assert_eq!(fused.len(), config.tensors().len());

            let mut carry = Carry::Plain(model.new_paper_state(batch));
            model.forward(&whole, &mut carry);
            let Carry::Plain(mut state) = carry.clone() else {
                unreachable!("its kind stays")
            };
            let in_one_chunk = model.forward(&whole, &mut carry).logits;
            let chunked = model.chunked(&whole, &mut state);
            let chunked = chunked.reshape([batch * length, config.vocab_size]);
            let targets: Vec<i32> = targets.iter().map(|t| *t as i32).collect();
            let targets = Tensor::<2, Int>::from_data(
                TensorData::new(targets, [batch * length, 1]),
                &model.device(),
            );
            for rows in [in_one_chunk, chunked] {
                let log_p = activation::log_softmax(rows, 1);
                let loss = log_p.gather(1, targets.clone()).mean().neg();
                assert_close(
                    &values(fused_loss.clone().detach()),
                    &values(loss.clone().detach()),
                    1e-5,
                    "loss",
                );
                for (name, expected) in &gradients(&model, &loss) {
                    let scale = expected.iter().fold(0.0_f32, |max, g| max.max(g.abs()));
                    assert!(
                        scale > 0.0,
                        "the gradient of {name} vanishes in the paper's form"
                    );
                    assert_close(&fused[name], expected, 1e-3 * scale + 1e-7, name);
                }
            }
        }
    }
}

#[test]
fn scores_through_burn_agree_with_the_native_one() {
    let model = LanguageModel::new(&config(), 9, &Backend::Flex.device());
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let checkpoint = model.to_checkpoint(&tokenizer, serde_json::Value::Null);
    let scorer = Scorer::new(&checkpoint, Backend::Flex).expect("the checkpoint is sound");
    let native = native(&model);
    // Longer than what is read at a time.
    let text = tokens(531, 8);
    let expected = native.score(
        &mut native.new_state(),
        &mut native.new_workspace(),
        256,
        &text,
    );
    let mut state = scorer.new_state();
    let mut found = scorer.score(&mut state, 256, &text[..20]);
    found.extend(scorer.score(&mut state, text[19], &text[20..]));
    let whole = model.score(256, &text);
    assert_eq!((found.len(), whole.len()), (expected.len(), expected.len()));
    for (found, expected) in found.iter().chain(&whole).zip(expected.iter().cycle()) {
        assert!((found - expected).abs() < 1e-4, "{found} and {expected}");
    }
}
