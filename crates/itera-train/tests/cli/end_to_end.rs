//! The way to a file of integers: a teacher, a student, training for integers, quantisation; each run
//! interrupted once.

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    digest::sha256_hex,
    quant::Provenance,
};
use itera_record::{Record as _, TrainingRecord};

use crate::fixture::{CliTest, QUICK_FIT};

/// Trains with these options twice, once interrupted; returns the record of the whole run.
fn fit_twice(test: &CliTest, options: &str, output: &str) -> TrainingRecord {
    let fit =
        |output: &str| format!("{QUICK_FIT} --steps 8 {options} --output {output}.safetensors");
    test.run(&fit(output));
    test.run(&format!("{} --stop-after 3", fit("halves")));
    test.run(&format!("{} --resume", fit("halves")));
    let [whole, halves] = [output, "halves"].map(|name| {
        let checkpoint =
            Checkpoint::from_bytes(&test.read(&format!("{name}.safetensors"))).unwrap();
        checkpoint.tensors
    });
    assert!(
        whole == halves,
        "{options}: the resumed run has other weights"
    );
    TrainingRecord::from_json(&test.read(&format!("{output}.training.json"))).unwrap()
}

#[test]
fn a_taught_model_becomes_a_file_of_integers() {
    let test = CliTest::new();
    fit_twice(&test, "--dropout 0.1 --optimizer muon", "teacher");
    let plain = "--init teacher.safetensors --teacher teacher.safetensors";
    let averaged = fit_twice(
        &test,
        &format!("{plain} --average 0.9 --distill 0.5"),
        "student",
    );
    assert_eq!(averaged.protocol["average"], 0.9);
    assert_eq!(averaged.protocol["distill"], 0.5);
    let tuned = fit_twice(
        &test,
        "--init student.safetensors --teacher teacher.safetensors --teacher student.safetensors \
         --quantize int4 --tensor embedding.weight=int8",
        "tuned",
    );
    assert_eq!(tuned.protocol["quantize"]["usual"], "int4");
    test.run(
        "quantize --checkpoint tuned.safetensors --of student.safetensors --precision int4 \
         --tensor embedding.weight=int8 --method search --calibration-tokens 0 --validate \
         --output student.int4.safetensors --report student.json",
    );
    let integers = Checkpoint::from_bytes(&test.read("student.int4.safetensors")).unwrap();
    assert_eq!(integers.precision(), Precision::Int4);
    assert_eq!(
        integers.tensors["embedding.weight"].precision(),
        Precision::Int8
    );
    let provenance = Provenance::of(&integers).unwrap();
    assert_eq!(
        provenance.source_sha256,
        sha256_hex(&test.read("student.safetensors"))
    );
    assert_eq!(
        provenance.tuned_sha256,
        Some(sha256_hex(&test.read("tuned.safetensors")))
    );
    // Integers were trained for, so that rounding to them loses nothing that was not lost before.
    let floats = Checkpoint::from_bytes(&test.read("tuned.safetensors")).unwrap();
    for (name, tensor) in &integers.to_fp32().tensors {
        let [a, b] = [tensor, &floats.tensors[name]].map(Tensor::to_f32);
        let largest = b.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        for (a, b) in a.iter().zip(b.iter()) {
            assert!((a - b).abs() <= 0.01 * largest, "{name}: {a} for {b}");
        }
    }
}
