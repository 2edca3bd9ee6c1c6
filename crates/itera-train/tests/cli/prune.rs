//! `itera-train prune`, with a small model whose weights are made up.

use itera_core::{
    checkpoint::{Checkpoint, Tensor},
    config::Preset,
};

use crate::fixture::{CliTest, assert_snapshot, model};

const LITTLE_TEXT: &str = "--calibration-tokens 200 --validate-tokens 200";

#[test]
fn help() {
    assert_snapshot!(CliTest::new().command("prune --help"));
}

#[test]
fn a_pruned_model_is_smaller_and_trains_on() {
    let test = CliTest::with_model();
    test.run(&format!(
        "prune --checkpoint x.safetensors --heads 2 --experts 3 --output y.safetensors {LITTLE_TEXT}"
    ));
    let pruned = Checkpoint::from_bytes(&test.read("y.safetensors")).unwrap();
    assert_eq!((pruned.config.n_heads(), pruned.config.n_experts), (2, 3));
    assert_eq!(pruned.training["pruned"]["heads"], 2);
    assert!(test.read("y.safetensors").len() < test.read("x.safetensors").len());
    test.run(
        "fit --dataset sample-tinystories --init y.safetensors --batch 2 \
         --length 8 --steps 2 --evaluate-every 0 --output z.safetensors",
    );
    let trained = Checkpoint::from_bytes(&test.read("z.safetensors")).unwrap();
    assert_eq!(trained.config, pruned.config);
    assert_eq!(trained.training["preset"], "custom");
}

#[test]
fn more_heads_than_there_are() {
    assert_snapshot!(CliTest::with_model().command(&format!(
        "prune --checkpoint x.safetensors --heads 9 --output y.safetensors {LITTLE_TEXT}"
    )));
}

#[test]
fn nothing_is_to_go() {
    assert_snapshot!(CliTest::with_model().command(&format!(
        "prune --checkpoint x.safetensors --output y.safetensors {LITTLE_TEXT}"
    )));
}

#[test]
fn the_output_is_the_checkpoint() {
    assert_snapshot!(CliTest::with_model().command(&format!(
        "prune --checkpoint x.safetensors --heads 2 --output x.safetensors {LITTLE_TEXT}"
    )));
}

#[test]
fn weights_that_overflow_are_refused() {
    let test = CliTest::new();
    let mut huge = model(1, Preset::Test);
    let weight = &huge.tensors["layers.0.mixer.out_proj.weight"];
    let values = weight.to_f32().iter().map(|x| x * 1e38).collect();
    let weight = Tensor::f32(weight.shape.clone(), values);
    huge.tensors
        .insert("layers.0.mixer.out_proj.weight".to_owned(), weight);
    test.write("x.safetensors", huge.to_bytes().unwrap());
    let said = test.refused(&format!(
        "prune --checkpoint x.safetensors --heads 2 --output y.safetensors {LITTLE_TEXT}"
    ));
    assert!(said.contains("its weights overflow"), "{said}");
    assert_eq!(test.files(), ["x.safetensors"]);
}
