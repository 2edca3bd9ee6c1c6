//! A whole run and its files.

use itera_core::{
    checkpoint::{Checkpoint, Precision},
    config::Preset,
    digest::sha256_hex,
    model::Model,
};
use itera_record::{Record as _, TrainingRecord};

use crate::fixture::{CliTest, QUICK_FIT, assert_snapshot, model};

#[test]
fn run_prints_its_result() {
    let test = CliTest::new();
    assert_snapshot!(test.command(&format!(
        "{QUICK_FIT} --steps 10 --output out/x.safetensors"
    )));
}

#[test]
fn quiet_run_talks_to_nobody() {
    let test = CliTest::new();
    let run = test.run(&format!(
        "{QUICK_FIT} --steps 3 --output x.safetensors --quiet"
    ));
    assert_eq!(String::from_utf8(run.stderr).unwrap(), "");
}

#[test]
fn separators_inside_lines_are_said() {
    let test = CliTest::new();
    test.write("t.txt", "A story of a cat.<|endoftext|>\n".repeat(40));
    let fit = QUICK_FIT.replace("sample-tinystories", "t.txt");
    let run = test.run(&format!("{fit} --steps 1 --output x.safetensors --quiet"));
    let said = String::from_utf8(run.stderr).unwrap();
    let warning = "`t.txt` holds <|endoftext|> 40 times as text; to separate documents, ";
    assert!(said.contains(warning), "{said}");
}

#[test]
fn files_describe_the_run() {
    let test = CliTest::new();
    test.run(&format!(
        "{QUICK_FIT} --steps 10 --seed 3 --output x.safetensors"
    ));
    let expected = [
        "x.curve.png",
        "x.metrics.csv",
        "x.safetensors",
        "x.training.json",
    ];
    assert_eq!(test.files(), expected);
    assert!(test.read("x.curve.png").starts_with(b"\x89PNG"));

    let bytes = test.read("x.safetensors");
    let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
    let model = Model::from_checkpoint(&checkpoint).unwrap();
    assert_eq!(model.config().vocab_size, 257);
    let training = &checkpoint.training;
    assert_eq!(training["dataset"], "sample-tinystories");
    assert_eq!(training["steps"], 10);
    assert_eq!(training["tokens"], 10 * 4 * 16);
    assert_eq!(training["seed"], 3);
    assert_eq!(training["train_sha256"].as_str().unwrap().len(), 64);
    assert!(training["valid_sha256"].is_null());

    let record = TrainingRecord::from_json(&test.read("x.training.json")).unwrap();
    let sha256 = sha256_hex(&bytes);
    assert_eq!(record.envelope.model.unwrap().file_sha256, sha256);
    assert_eq!(record.steps, 10);
    assert_eq!(record.command[..2], ["itera-train", "fit"]);
    assert_eq!(record.curve.as_deref(), Some("x.metrics.csv"));

    let metrics = test.read("x.metrics.csv");
    let last = csv::Reader::from_reader(&*metrics)
        .into_records()
        .last()
        .unwrap()
        .unwrap();
    let valid: f64 = last[6].parse().unwrap();
    assert_eq!(&last[0], "10");
    assert!((valid - record.valid_bits_per_byte.unwrap()).abs() < 1e-4);
}

#[test]
fn recorded_command_repeats_the_run() {
    let test = CliTest::new();
    test.run(&format!("{QUICK_FIT} --steps 5 --output x.safetensors"));
    let first = test.read("x.safetensors");
    let record = TrainingRecord::from_json(&test.read("x.training.json")).unwrap();
    std::fs::remove_file(test.path("x.safetensors")).unwrap();
    test.run(&record.command[1..].join(" "));
    assert!(
        test.read("x.safetensors") == first,
        "the repeated run gives another file"
    );
}

#[test]
fn minutes_become_steps() {
    let test = CliTest::new();
    test.run(&format!(
        "{QUICK_FIT} --minutes 0.02 --output x.safetensors"
    ));
    let record = TrainingRecord::from_json(&test.read("x.training.json")).unwrap();
    assert!(record.steps > 0);
    assert_eq!(record.protocol["minutes"], 0.02);
    let steps = record
        .command
        .iter()
        .position(|word| word == "--steps")
        .unwrap();
    assert_eq!(record.command[steps + 1], record.steps.to_string());
}

#[test]
fn minutes_with_a_teacher_become_steps_too() {
    let test = CliTest::new();
    test.run(&format!(
        "{QUICK_FIT} --steps 1 --output teacher.safetensors"
    ));
    test.run(&format!(
        "{QUICK_FIT} --minutes 0.02 --init teacher.safetensors --teacher teacher.safetensors \
         --output x.safetensors"
    ));
    let record = TrainingRecord::from_json(&test.read("x.training.json")).unwrap();
    assert!(record.steps > 0);
}

#[test]
fn the_record_and_a_resumed_run_know_all_teachers() {
    let test = CliTest::with_model();
    test.write("y.safetensors", model(2, Preset::Test).to_bytes().unwrap());
    let digests = ["x", "y"].map(|name| sha256_hex(&test.read(&format!("{name}.safetensors"))));
    let fit = |teachers: &str| format!("{QUICK_FIT} --steps 2 {teachers} --output z.safetensors");
    let named = || {
        let record = TrainingRecord::from_json(&test.read("z.training.json")).unwrap();
        record.protocol["teacher_sha256"].clone()
    };
    test.run(&fit("--teacher x.safetensors"));
    assert_eq!(named(), digests[0]);
    let both = fit("--teacher x.safetensors --teacher y.safetensors");
    test.run(&format!("{both} --stop-after 1"));
    let said = test.refused(&format!("{} --resume", fit("--teacher y.safetensors")));
    assert!(said.contains("`teacher_sha256` is"), "{said}");
    test.run(&format!("{both} --resume"));
    assert_eq!(named(), serde_json::json!(digests));
}

#[test]
fn a_run_from_a_packed_file_keeps_its_scales() {
    let test = CliTest::with_model();
    test.run(
        "quantize --checkpoint x.safetensors --precision int8 --bytes 12000 --dataset sample-tinystories \
         --output packed.safetensors",
    );
    let [from_packed, from_floats] = [("packed", "a"), ("x", "b")].map(|(init, output)| {
        test.run(&format!(
            "{QUICK_FIT} --steps 20 --init {init}.safetensors --quantize int8 --output {output}.safetensors"
        ));
        test.run(&format!(
            "quantize --checkpoint {output}.safetensors --of x.safetensors --precision int8 --method search \
             --calibration-tokens 0 --output {output}.int8.safetensors"
        ));
        test.read(&format!("{output}.int8.safetensors"))
    });
    // With scales of its own for each group, a file needs more bytes.
    let (packed, free) = (from_packed.len(), from_floats.len());
    assert!(packed < 13_000 && free > 15_000, "{packed} {free}");
    let float = Checkpoint::from_bytes(&test.read("a.safetensors")).unwrap();
    for (name, tensor) in &Checkpoint::from_bytes(&from_packed).unwrap().tensors {
        // The checkpoint of floats holds what the integers stand for.
        if tensor.precision() == Precision::Int8 {
            assert_eq!(tensor.to_f32(), float.tensors[name].to_f32(), "{name}");
        }
    }
}

#[test]
fn presets_keep_their_promise_with_any_tokenizer() {
    let test = CliTest::new();
    test.run(
        "fit --dataset sample-tinystories --preset nano --tokenizer char --batch 2 --length 16 \
         --steps 1 --dense total --backend ndarray --decay trapezoid --output x.safetensors",
    );
    let checkpoint = Checkpoint::from_bytes(&test.read("x.safetensors")).unwrap();
    assert_eq!(checkpoint.config.n_experts, 1);
    assert!(checkpoint.config.parameters() <= itera_core::config::NANO_PARAMETER_BUDGET);
}

#[test]
fn a_run_can_start_from_a_checkpoint() {
    let test = CliTest::new();
    test.run(&format!(
        "{QUICK_FIT} --steps 12 --learning-rate 1e-2 --output first.safetensors"
    ));
    let loss = |name: &str| {
        let record = TrainingRecord::from_json(&test.read(name)).unwrap();
        record.valid_bits_per_byte.unwrap()
    };
    // With a rate that changes nothing, the second run ends where the first did.
    test.run(&format!(
        "{QUICK_FIT} --steps 1 --learning-rate 1e-30 --init first.safetensors --output second.safetensors"
    ));
    let (first, second) = (loss("first.training.json"), loss("second.training.json"));
    assert!((first - second).abs() < 1e-6, "{first} and {second}");
    test.run(&format!(
        "{QUICK_FIT} --steps 1 --learning-rate 1e-30 --output fresh.safetensors"
    ));
    assert!(loss("fresh.training.json") > first + 0.1);
}

#[test]
fn vocabulary_of_the_initial_checkpoint_grows() {
    let test = CliTest::new();
    let fit = QUICK_FIT.replace("--tokenizer bytes", "--tokenizer bpe");
    test.run(&format!(
        "{fit} --vocab-size 300 --steps 1 --output x.safetensors"
    ));
    let grow = "fit --dataset sample-tinystories --batch 4 --length 16 --steps 1 --evaluate-every 0 \
         --init x.safetensors --output y.safetensors --vocab-size";
    test.run(&format!("{grow} 340"));
    let grown = Checkpoint::from_bytes(&test.read("y.safetensors")).unwrap();
    assert_eq!(grown.config.vocab_size, 340);
    let said = test.refused(&format!("{grow} 280"));
    let message = "the tokenizer of `x.safetensors` is not the one of this run";
    assert!(said.contains(message), "{said}");
}
