//! Hostile files must not make the reader ask for memory. Alone in its binary, because it measures
//! the address space of the process, which other tests would change.

#![cfg(target_os = "linux")]

#[path = "checkpoint_format/support.rs"]
mod support;

use std::fs;

use itera_core::checkpoint::{Checkpoint, Precision};
use serde_json::{Value, json};
use support::{assemble, edit_json, edited};

/// Growth that is allowed: a dense JSON value of the longest text that is read
/// (1 MiB, which grows sixteenfold), and copies of files that have up to 2 MB.
const ALLOWED_KIB: u64 = 24 << 10;

/// Largest address space that the process has had. Counts memory that was asked for and never
/// touched, which the resident size does not.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmPeak:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A training record that costs the most memory for its length: one number for every two bytes.
fn record(numbers: usize) -> Value {
    format!("[{}0]", "0,".repeat(numbers)).into()
}

/// A header of so many empty tensors, each in as few bytes as can be.
fn table(tensors: usize) -> String {
    let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let entries: Vec<_> = (0..tensors).map(|i| format!("\"{i:x}\":{entry}")).collect();
    format!("{{{}}}", entries.join(","))
}

fn hostile_files(sound: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let tensor = "layers.0.moe.w_in";
    let with = |edit: &dyn Fn(&mut Value)| edited(sound, |header, _| edit(header));
    let config = |field: &'static str, value: u64| {
        with(&move |header| edit_json(header, "itera.config", |c| c[field] = value.into()))
    };
    let mut files = vec![
        (
            "huge shape",
            with(&|h| h[tensor]["shape"] = json!([1_u64 << 40, 1 << 10])),
        ),
        (
            "overflowing shape",
            with(&|h| h[tensor]["shape"] = json!([u64::MAX, u64::MAX])),
        ),
        (
            "huge extent",
            with(&|h| h[tensor]["data_offsets"] = json!([0, 1_u64 << 50])),
        ),
        ("many layers", config("n_layers", 256)),
        ("many experts", config("n_experts", 65_536)),
        ("large vocabulary", config("vocab_size", 65_536)),
        (
            "many axes",
            with(&|h| h[tensor]["shape"] = json!(vec![1; 400_000])),
        ),
        (
            "long training record",
            with(&|h| h["__metadata__"]["itera.training"] = record(900_000)),
        ),
        ("deep header", assemble(&"[".repeat(1 << 20), &[])),
        ("long header", assemble(&table(300_000), &[])),
        ("header of tensors", assemble(&table(18_000), &[])),
    ];
    for declared in [
        u64::MAX,
        u64::MAX - 7,
        1 << 62,
        1 << 40,
        1 << 33,
        99_000_000,
    ] {
        let mut file = sound.to_vec();
        file[..8].copy_from_slice(&declared.to_le_bytes());
        files.push(("huge header", file));
    }
    files
}

#[test]
fn hostile_files_ask_for_little_memory() {
    let sound = support::checkpoint(support::small(), Precision::Int8)
        .to_bytes()
        .unwrap();
    let files = hostile_files(&sound);
    Checkpoint::from_bytes(&sound).unwrap();
    let dense = edited(&sound, |header, _| {
        header["__metadata__"]["itera.training"] = record(500_000);
    });
    let before = peak_kib();
    Checkpoint::from_bytes(&dense).unwrap();
    assert!(
        peak_kib() - before < ALLOWED_KIB,
        "a dense record took {} KiB",
        peak_kib() - before
    );

    for (what, file) in files {
        let before = peak_kib();
        assert!(
            Checkpoint::from_bytes(&file).is_err(),
            "{what} was accepted"
        );
        let grown = peak_kib() - before;
        assert!(
            grown < ALLOWED_KIB,
            "{what}: {grown} KiB for a file of {} bytes",
            file.len()
        );
    }
}
