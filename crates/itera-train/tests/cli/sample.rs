//! `itera-train sample`, with a model whose weights are made up.

use std::{io::Read as _, process::Stdio};

use itera_core::{
    config::Preset,
    tokenizer::{CharTokenizer, Tokenizer},
};
use itera_testing::random_checkpoint;

use crate::fixture::{CliTest, assert_snapshot};

/// A character model with made-up weights.
fn made_up() -> Vec<u8> {
    let alphabet = "abcdefghijklmnopqrstuvwxyz .é".as_bytes();
    let tokenizer = CharTokenizer::train([alphabet].into_iter()).unwrap();
    let tokenizer = Tokenizer::Char(tokenizer);
    let config = Preset::Test.config(tokenizer.vocab_size());
    random_checkpoint(config, tokenizer, 1).to_bytes().unwrap()
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

#[test]
fn it_ends_quietly_when_its_reader_is_gone() {
    let test = test();
    let endless =
        "sample --checkpoint x.safetensors --temperature 0 --max-tokens 1000000000 --prompt a";
    let mut run = test
        .command(endless)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = run.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 20]).unwrap();
    drop(stdout);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
