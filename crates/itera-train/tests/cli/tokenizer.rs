//! `itera-train tokenizer`.

use itera_core::tokenizer::Tokenizer;

use crate::fixture::{CliTest, assert_snapshot};

#[test]
fn bpe_of_a_data_set() {
    let test = CliTest::new();
    let train = "tokenizer --dataset sample-tinystories --vocab-size 300 --output t.json";
    assert_snapshot!(test.command(train));
    let tokenizer = Tokenizer::from_json(str::from_utf8(&test.read("t.json")).unwrap());
    assert_eq!(tokenizer.unwrap().vocab_size(), 300);
    test.run(
        "fit --dataset sample-tinystories --preset test --tokenizer t.json --batch 2 --length 16 \
         --steps 2 --output x.safetensors",
    );
}

#[test]
fn char_of_a_file() {
    let test = CliTest::new();
    test.write("text.txt", "abcabc");
    assert_snapshot!(test.command("tokenizer --dataset text.txt --kind char --output t.json"));
}

#[test]
fn vocabulary_size_is_for_bpe() {
    let test = CliTest::new();
    assert_snapshot!(
        test.command("tokenizer --dataset sample --kind bytes --vocab-size 300 --output t.json")
    );
}
