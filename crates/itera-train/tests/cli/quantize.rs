//! `itera-train quantize`, with a small model whose weights are made up.

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    config::{Preset, TensorRole},
    digest::sha256_hex,
    quant::source_sha256,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use itera_record::{QuantizationRecord, Record as _};

use crate::fixture::{CliTest, assert_snapshot};

/// A byte-level model with weights from a small generator, trained on the sample as it says.
fn made_up() -> Checkpoint {
    made_up_from(1, Preset::Test)
}

fn made_up_from(mut state: u64, preset: Preset) -> Checkpoint {
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let config = preset.config(tokenizer.vocab_size());
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    let tensors = config.tensors().into_iter().map(|spec| {
        let value = |_| match spec.role {
            TensorRole::Norm => 1.0,
            _ => 0.3 * uniform(),
        };
        let values = (0..spec.len()).map(value).collect();
        (spec.name, Tensor::f32(spec.shape, values))
    });
    Checkpoint {
        tensors: tensors.collect(),
        config,
        tokenizer,
        training: serde_json::json!({"dataset": "sample-tinystories", "seed": 7}),
    }
}

pub(crate) fn test() -> CliTest {
    let test = CliTest::new();
    test.write("x.safetensors", made_up().to_bytes().unwrap());
    test
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
    let tuned = made_up_from(2, Preset::Test).to_bytes().unwrap();
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
    let other = made_up_from(1, Preset::Nano).to_bytes().unwrap();
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
