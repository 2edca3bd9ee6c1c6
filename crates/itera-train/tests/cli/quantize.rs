//! `itera-train quantize`, with a small model whose weights are made up.

use std::{fs::File, process::Command};

use itera_core::{
    checkpoint::{Checkpoint, Precision},
    config::Preset,
    digest::sha256_hex,
    quant::{Provenance, source_sha256},
};
use itera_record::{QuantizationRecord, Record as _};
use serde_json::json;

use crate::fixture::{CliTest, assert_snapshot, model};

fn test() -> CliTest {
    CliTest::with_model()
}

#[test]
fn help() {
    assert_snapshot!(CliTest::new().command("quantize --help"));
}

#[test]
fn the_table_has_a_row_for_each_tensor() {
    let nearest = "quantize --checkpoint x.safetensors --precision int4 --method nearest";
    assert_snapshot!(test().command(nearest));
}

#[test]
fn the_file_lies_beside_and_says_what_it_was_made_from() {
    let test = test();
    let line = "quantize --checkpoint x.safetensors --precision int4 --calibration-tokens 500 \
                --validate --validate-tokens 200 --report x.json";
    let output = test.run(line);
    assert_eq!(
        test.files(),
        ["x.int4.safetensors", "x.json", "x.safetensors"]
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("calibrated with the first 500 tokens of sample-tinystories"),
        "{said}"
    );

    let quantised = Checkpoint::from_bytes(&test.read("x.int4.safetensors")).unwrap();
    assert_eq!(quantised.precision(), Precision::Int4);
    assert_eq!(quantised.training["seed"], 7);
    let record = QuantizationRecord::from_json(&test.read("x.json")).unwrap();
    assert_eq!(source_sha256(&quantised), Some(&*record.source.file_sha256));
    assert_eq!(
        record.file_bytes as usize,
        test.read("x.int4.safetensors").len()
    );
    assert_eq!(record.calibration.unwrap().tokens, 500);
    let cost = record.validation.unwrap();
    assert!(
        (cost.bits_per_byte_after / cost.bits_per_byte_before - 1.0).abs() < 0.05,
        "{cost:?}"
    );
    for tensor in &record.tensors {
        let is_integer = tensor.precision.starts_with("int");
        assert_eq!(
            tensor.bits_per_byte_cost.is_some(),
            is_integer,
            "{tensor:?}"
        );
    }
    // A second time gives the same bytes.
    let first = test.read("x.int4.safetensors");
    test.run(line);
    assert_eq!(test.read("x.int4.safetensors"), first);
}

#[test]
fn a_tensor_may_be_stored_otherwise() {
    let test = test();
    test.run(
        "quantize --checkpoint x.safetensors --precision int4 --method search \
         --calibration-tokens 0 --tensor embedding.weight=int8 --output y.safetensors",
    );
    let quantised = Checkpoint::from_bytes(&test.read("y.safetensors")).unwrap();
    let stored = |name: &str| quantised.tensors[name].precision();
    assert_eq!(stored("embedding.weight"), Precision::Int8);
    assert_eq!(stored("layers.0.moe.w_in"), Precision::Int4);
}

#[test]
fn a_file_keeps_to_its_bytes() {
    let test = test();
    let options = "--checkpoint x.safetensors --precision int8 --validate-tokens 300";
    test.run(&format!("quantize {options}"));
    let groups = test.read("x.int8.safetensors").len();
    for (share, method) in [(0.8, "search --calibration-tokens 0"), (0.9, "gptq")] {
        let bytes = (share * groups as f64) as usize;
        test.run(&format!(
            "quantize {options} --method {method} --bytes {bytes} --output small.safetensors"
        ));
        let size = test.read("small.safetensors").len();
        assert!(size <= bytes && 50 * size > 49 * bytes, "{size} of {bytes}");
    }
}

#[test]
fn no_file_has_so_few_bytes() {
    assert_snapshot!(test().command(
        "quantize --checkpoint x.safetensors --precision int8 --method search --calibration-tokens 0 \
         --validate-tokens 300 --bytes 1000"
    ));
}

#[test]
fn only_files_of_8_bits_keep_to_bytes() {
    assert_snapshot!(
        test().command("quantize --checkpoint x.safetensors --precision int4 --bytes 1000")
    );
}

#[test]
fn a_mixed_model_keeps_to_its_bits() {
    let test = test();
    let options = "--checkpoint x.safetensors --method search --calibration-tokens 0";
    test.run(&format!("quantize {options} --precision int4"));
    test.run(&format!("quantize {options} --precision int8"));
    let bits = |name: &str| {
        let checkpoint = Checkpoint::from_bytes(&test.read(name)).unwrap();
        checkpoint.bits_per_weight()
    };
    let target = f64::midpoint(bits("x.int4.safetensors"), bits("x.int8.safetensors"));
    test.run(&format!(
        "quantize {options} --mixed --target-bits {target} --validate-tokens 300"
    ));
    assert!(bits("x.mixed.safetensors") <= target);
    let mixed = Checkpoint::from_bytes(&test.read("x.mixed.safetensors")).unwrap();
    let stored = |precision| {
        let tensors = mixed.tensors.values();
        tensors.filter(|t| t.precision() == precision).count()
    };
    assert!(stored(Precision::Int4) > 0 && stored(Precision::Int8) > 0);
}

#[test]
fn the_bits_of_a_mixed_model_are_too_few() {
    assert_snapshot!(test().command(
        "quantize --checkpoint x.safetensors --method search --calibration-tokens 0 --mixed \
         --target-bits 2 --validate-tokens 300"
    ));
}

#[test]
fn a_tuned_checkpoint_stands_for_another() {
    let test = test();
    let tuned = model(2, Preset::Test).to_bytes().unwrap();
    test.write("tuned.safetensors", &tuned);
    test.run(
        "quantize --checkpoint tuned.safetensors --of x.safetensors --precision int4 \
         --method search --calibration-tokens 0 --output x.int4.safetensors --report x.json",
    );
    let quantised = Checkpoint::from_bytes(&test.read("x.int4.safetensors")).unwrap();
    let source = sha256_hex(&test.read("x.safetensors"));
    assert_eq!(source_sha256(&quantised), Some(&*source));
    let record = QuantizationRecord::from_json(&test.read("x.json")).unwrap();
    assert_eq!(record.source.file_sha256, source);
    assert_eq!(record.tuned_sha256, Some(sha256_hex(&tuned)));
}

#[test]
fn a_checkpoint_of_other_sizes_stands_for_none() {
    let test = test();
    let other = model(1, Preset::Nano).to_bytes().unwrap();
    test.write("other.safetensors", other);
    assert_snapshot!(test.command(
        "quantize --checkpoint other.safetensors --of x.safetensors --precision int4 \
         --output y.safetensors"
    ));
}

#[test]
fn a_quantised_checkpoint_is_refused() {
    let test = test();
    test.run("quantize --checkpoint x.safetensors --precision int8 --method nearest");
    assert_snapshot!(test.command("quantize --checkpoint x.int8.safetensors --precision int4"));
}

#[test]
fn the_data_set_is_unknown() {
    assert_snapshot!(
        test().command("quantize --checkpoint x.safetensors --precision int4 --dataset nothing")
    );
}

#[test]
fn the_calibration_text_is_empty() {
    let test = test();
    test.write("empty.txt", "");
    assert_snapshot!(
        test.command("quantize --checkpoint x.safetensors --precision int4 --dataset empty.txt")
    );
}

#[test]
fn gptq_without_calibration_is_refused() {
    assert_snapshot!(
        test()
            .command("quantize --checkpoint x.safetensors --precision int4 --calibration-tokens 0")
    );
}

#[test]
fn the_tensor_is_unknown() {
    assert_snapshot!(test().command(
        "quantize --checkpoint x.safetensors --precision int4 --method nearest --tensor a=int8"
    ));
}

#[test]
fn the_precision_is_no_quantisation() {
    assert_snapshot!(test().command("quantize --checkpoint x.safetensors --precision fp32"));
}

#[test]
fn the_output_is_the_checkpoint() {
    assert_snapshot!(
        test()
            .command("quantize --checkpoint x.safetensors --precision int4 --output x.safetensors")
    );
}

#[test]
fn a_mixed_model_is_measured_on_text_that_is_not_calibrated_with() {
    // All of the sample would fit into the tokens of the calibration.
    let output = test().run(
        "quantize --checkpoint x.safetensors --mixed --target-bits 7 --validate-tokens 300 \
         --dataset sample-tinystories --output y.safetensors",
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("int8 for"), "{said}");
}

#[test]
fn a_better_file_is_not_replaced_unasked() {
    let test = test();
    test.write(
        "tuned.safetensors",
        model(2, Preset::Test).to_bytes().unwrap(),
    );
    let fast = "--precision int4 --method search --calibration-tokens 0";
    test.run(&format!(
        "quantize --checkpoint tuned.safetensors --of x.safetensors --output x.int4.safetensors {fast}"
    ));
    let trained = test.read("x.int4.safetensors");
    let plain = format!("quantize --checkpoint x.safetensors {fast}");
    let said = test.refused(&plain);
    assert!(
        said.contains("is a better file: its weights were trained on"),
        "{said}"
    );
    assert!(test.read("x.int4.safetensors") == trained);
    test.run(&format!("{plain} --replace"));
    assert!(test.read("x.int4.safetensors") != trained);
}

#[test]
fn a_file_of_the_right_calibration_is_not_replaced_by_one_of_another() {
    let test = test();
    let text = "A story of a cat.\n<|endoftext|>\n".repeat(40);
    test.write("t.txt", &text);
    let mut trained = model(1, Preset::Test);
    trained.training = json!({"dataset": "t.txt", "train_sha256": sha256_hex(text.as_bytes())});
    test.write("x.safetensors", trained.to_bytes().unwrap());
    let line = "quantize --checkpoint x.safetensors --precision int4 --calibration-tokens 300";
    test.run(line);
    let said = test.refused(&format!("{line} --dataset sample-tinystories"));
    assert!(
        said.contains("rounded with the text that the checkpoint was trained on"),
        "{said}"
    );
}

#[test]
fn a_checkpoint_decides_on_no_file_but_the_text_of_its_training() {
    let test = test();
    let text = "A story of a cat.\n<|endoftext|>\n".repeat(40);
    test.write("t.txt", &text);
    let calibrated_with = |dataset: &str, sha256: &str| {
        let mut hostile = model(1, Preset::Test);
        hostile.training = json!({"dataset": dataset, "train_sha256": sha256});
        test.write("h.safetensors", hostile.to_bytes().unwrap());
        test.run(
            "quantize --checkpoint h.safetensors --precision int4 --calibration-tokens 300 \
             --output y.safetensors --replace",
        );
        let made = Checkpoint::from_bytes(&test.read("y.safetensors")).unwrap();
        Provenance::of(&made).unwrap().calibration.unwrap().dataset
    };
    let sha256 = sha256_hex(text.as_bytes());
    assert_eq!(calibrated_with("t.txt", &sha256), "t.txt");
    assert_eq!(calibrated_with("t.txt", "0"), "sample");
    assert_eq!(calibrated_with("/dev/zero", "0"), "sample");
    assert_eq!(calibrated_with("no.txt", &sha256), "sample");
    assert_eq!(calibrated_with("sample-wikitext2", "0"), "sample-wikitext2");
}

#[cfg(unix)]
#[test]
fn a_checkpoint_opens_no_pipe_and_no_file_of_any_size() {
    let test = test();
    let pipe = Command::new("mkfifo").arg(test.path("pipe")).status();
    assert!(pipe.unwrap().success());
    let large = File::create(test.path("large.txt")).unwrap();
    large.set_len((1 << 30) + 1).unwrap();
    for name in ["pipe", "large.txt"] {
        let mut hostile = model(1, Preset::Test);
        hostile.training = json!({"dataset": name, "train_sha256": "0"});
        test.write("h.safetensors", hostile.to_bytes().unwrap());
        let line = "quantize --checkpoint h.safetensors --precision int4 --calibration-tokens 300 \
                    --output y.safetensors --replace";
        let said = String::from_utf8(test.run(line).stderr).unwrap();
        let refused = format!(
            "{name}, which the checkpoint was trained on, is not a file of at most 1073741824 bytes here: using the \
             sample text instead"
        );
        assert!(said.contains(&refused), "{said}");
    }
}

#[test]
fn a_text_with_nothing_held_out_is_refused_before_the_work() {
    let test = test();
    test.write("few.txt", "A story of a cat.\n<|endoftext|>\n".repeat(9));
    for line in [
        "quantize --precision int4 --validate",
        "prune --heads 1 --output y.safetensors",
    ] {
        let said = test.refused(&format!(
            "{line} --checkpoint x.safetensors --dataset few.txt"
        ));
        assert!(
            said.contains("few.txt has fewer than 10 documents"),
            "{said}"
        );
        assert!(!said.contains("calibrated"), "{said}");
    }
}
