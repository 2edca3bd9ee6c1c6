//! Tells the program which compiler built it: the time of the calibration workload depends on it.

use std::{env, process::Command};

fn main() {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    // `rustc 1.95.0`, without the commit and the date.
    let version = version.unwrap_or_default();
    let mut words: Vec<&str> = version.split_whitespace().take(2).collect();
    let level = env::var("OPT_LEVEL").unwrap_or_default();
    let level = format!("opt-level {level}");
    words.push(&level);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    words.extend(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    println!("cargo:rustc-env=ITERA_POWER_COMPILER={}", words.join(" "));
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    println!("cargo:rerun-if-changed=build.rs");
}
