//! What cannot work ends with exit status 2 and one message that says what to do.

use std::{fs, process::Command};

use crate::fixture::{CliTest, QUICK_FIT, assert_snapshot, workspace_data};

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn data_set_is_not_there() {
    let fetched = workspace_data().join("tinystories");
    if fetched.exists() {
        println!("skipped: {} is there", fetched.display());
        return;
    }
    let test = CliTest::new();
    assert_snapshot!(
        test.command("fit --dataset tinystories --preset test --steps 5 --output x.safetensors")
    );
}

#[test]
fn text_file_is_not_there() {
    let test = CliTest::new();
    assert_snapshot!(test.command("tokenizer --dataset no.txt --output x.json"));
}

#[test]
fn text_file_is_empty() {
    let test = CliTest::new();
    test.write("empty.txt", "");
    assert_snapshot!(
        test.command("fit --dataset empty.txt --preset test --steps 5 --output x.safetensors")
    );
}

#[test]
fn text_is_too_short() {
    let test = CliTest::new();
    test.write("short.txt", "Too short.");
    assert_snapshot!(
        test.command("fit --dataset short.txt --preset test --steps 5 --output x.safetensors")
    );
}

#[test]
fn char_needs_utf8() {
    let test = CliTest::new();
    test.write("latin1.txt", b"caf\xe9 au lait");
    assert_snapshot!(test.command(
        "fit --dataset latin1.txt --tokenizer char --preset test --steps 5 --output x.safetensors"
    ));
}

#[test]
fn output_is_no_file_name() {
    let test = CliTest::new();
    fs::create_dir(test.path("x.safetensors")).unwrap();
    assert_snapshot!(quick(&test, "--steps 5 --output x.safetensors"));
}

#[test]
fn output_cannot_be_written() {
    let test = CliTest::new();
    test.write("file", "");
    assert_snapshot!(quick(&test, "--steps 5 --output file/x.safetensors"));
}

#[test]
fn output_has_another_extension() {
    assert_snapshot!(quick(&CliTest::new(), "--steps 5 --output x.bin"));
}

#[test]
fn preset_is_unknown() {
    let test = CliTest::new();
    assert_snapshot!(
        test.command("fit --dataset sample --preset huge --steps 5 --output x.safetensors")
    );
}

#[test]
fn vocabulary_is_too_large_for_the_preset() {
    let test = CliTest::new();
    assert_snapshot!(test.command(
        "fit --dataset sample --preset micro --vocab-size 1024 --steps 5 --output x.safetensors"
    ));
}

#[test]
fn vocabulary_is_too_large_for_bpe() {
    let test = CliTest::new();
    assert_snapshot!(test.command("tokenizer --dataset sample --vocab-size 4096 --output x.json"));
}

#[test]
fn budget_is_missing() {
    assert_snapshot!(quick(&CliTest::new(), "--output x.safetensors"));
}

#[test]
fn tokenizer_file_is_broken() {
    let test = CliTest::new();
    test.write("x.json", "{\"model\": {\"type\": \"Unigram\"}}");
    assert_snapshot!(test.command(
        "fit --dataset sample --preset test --tokenizer x.json --steps 5 --output x.safetensors"
    ));
}

#[test]
fn checkpoint_is_cut_short() {
    let test = CliTest::new();
    test.write("x.safetensors", [9, 0, 0, 0, 0, 0, 0, 0, b'{']);
    assert_snapshot!(test.command("sample --checkpoint x.safetensors"));
}

#[test]
fn temperature_is_negative() {
    let test = CliTest::new();
    assert_snapshot!(test.command("sample --checkpoint x.safetensors --temperature=-1"));
}

fn quick(test: &CliTest, more: &str) -> Command {
    test.command(&format!("{QUICK_FIT} {more}"))
}

#[test]
fn start_from_another_tokenizer() {
    let test = CliTest::new();
    test.run(&format!("{QUICK_FIT} --steps 1 --output x.safetensors"));
    assert_snapshot!(test.command(
        "fit --dataset sample-tinystories --preset test --tokenizer char --steps 1 \
         --init x.safetensors --output y.safetensors"
    ));
}

#[test]
fn learn_from_another_tokenizer() {
    let test = CliTest::with_model();
    let said = test.refused(
        "fit --dataset sample-tinystories --preset test --tokenizer char --steps 1 \
         --teacher x.safetensors --output y.safetensors",
    );
    let message = "the tokenizer of `x.safetensors` is not the one of this run";
    assert!(said.contains(message), "{said}");
}

#[test]
fn start_from_another_preset() {
    let test = CliTest::new();
    test.run(&format!("{QUICK_FIT} --steps 1 --output x.safetensors"));
    assert_snapshot!(test.command(
        "fit --dataset sample-tinystories --preset nano --tokenizer bytes --steps 1 \
         --init x.safetensors --output y.safetensors"
    ));
}

#[test]
fn output_is_what_the_run_starts_from() {
    let test = CliTest::new();
    test.run(&format!("{QUICK_FIT} --steps 1 --output x.safetensors"));
    let before = test.read("x.safetensors");
    assert_snapshot!(quick(
        &test,
        "--steps 5 --init x.safetensors --output ./x.safetensors"
    ));
    assert!(test.read("x.safetensors") == before);
}

#[test]
fn tensor_is_not_there_and_the_budget_is_one_of_time() {
    let test = CliTest::new();
    assert_snapshot!(quick(
        &test,
        "--minutes 0.01 --quantize int4 --tensor nope=int8 --output x.safetensors"
    ));
}
