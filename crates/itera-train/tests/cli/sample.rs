//! `itera-train sample`, with a model whose weights are made up.

use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    config::{Preset, TensorRole},
    tokenizer::{CharTokenizer, Tokenizer},
};

use crate::fixture::{CliTest, assert_snapshot};

/// A character model with weights from a small generator written out here, so that they never
/// change.
fn made_up() -> Vec<u8> {
    let alphabet = "abcdefghijklmnopqrstuvwxyz .é".as_bytes();
    let tokenizer = CharTokenizer::train([alphabet].into_iter()).unwrap();
    let tokenizer = Tokenizer::Char(tokenizer);
    let config = Preset::Test.config(tokenizer.vocab_size());
    let mut state = 1_u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    let tensors = config.tensors().into_iter().map(|spec| {
        let value = |_| match spec.role {
            TensorRole::Norm => 1.0,
            _ => uniform(),
        };
        let values = (0..spec.len()).map(value).collect();
        (spec.name, Tensor::f32(spec.shape, values))
    });
    let tensors = tensors.collect();
    let training = serde_json::json!({});
    Checkpoint {
        config,
        tokenizer,
        training,
        tensors,
    }
    .to_bytes()
    .unwrap()
}

fn test() -> CliTest {
    let test = CliTest::new();
    test.write("x.safetensors", made_up());
    test
}

#[test]
fn greedy_text_is_golden() {
    let greedy = "sample --checkpoint x.safetensors --temperature 0 --max-tokens 60";
    assert_snapshot!(test().command(greedy).args(["--prompt", "once upon"]));
}

#[test]
fn equal_seeds_give_equal_text() {
    let test = test();
    let sample = |more: &str| {
        let line = format!("sample --checkpoint x.safetensors --max-tokens 40 {more}");
        String::from_utf8(test.run(&line).stdout).unwrap()
    };
    assert_eq!(sample("--seed 1"), sample("--seed 1"));
    assert_ne!(sample("--seed 1"), sample("--seed 2"));
    assert_ne!(sample("--seed 1 --top-k 1"), sample("--seed 1"));
    assert_eq!(
        sample("--seed 1 --top-k 1"),
        sample("--seed 2 --top-p 0.000001")
    );
}

#[test]
fn checkpoint_is_unknown() {
    let test = CliTest::new();
    let output = test.command("sample --checkpoint nobody").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.starts_with("error: no checkpoint is called \"nobody\""),
        "{message}"
    );
}
