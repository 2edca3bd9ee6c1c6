//! Peak resident memory, measured in a process that does nothing but decode.

use std::{env, fs, process::Command};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, print};
use itera_core::{
    checkpoint::Precision,
    model::Model,
    models::{Weights, load_at_precision},
    sampling::argmax,
};
use itera_record::MemoryCost;

use super::Variant;
use crate::{args::BenchArgs, options::kernel};

/// Tokens decoded before memory is looked at.
const TOKENS: usize = 2000;

/// What a precision costs in memory, with the first kernel of the plan.
pub(super) fn of(args: &BenchArgs, variant: &Variant) -> anyhow::Result<MemoryCost> {
    let (loaded, model) = (&variant.loaded, &variant.models[0]);
    let precision = loaded.checkpoint.precision();
    let program = env::current_exe().context("cannot find this program to run it again")?;
    let child = Command::new(program)
        .arg("decode")
        .arg(&args.checkpoint)
        .arg(precision.name())
        .arg(model.kernel().name())
        .output()
        .context("cannot run this program again to measure its memory")?;
    ensure!(
        child.status.success(),
        "cannot measure memory: {}",
        String::from_utf8_lossy(&child.stderr).trim()
    );
    let peak = String::from_utf8_lossy(&child.stdout);
    let stored_so = loaded.weights == Weights::Stored;
    Ok(MemoryCost {
        precision: precision.to_string(),
        file_bytes: stored_so.then_some(loaded.file_bytes as u64),
        matrix_bytes_per_token: model.matrix_bytes_per_token() as u64,
        state_bytes: model.new_state().bytes() as u64,
        peak_resident_bytes: peak.trim().parse().ok(),
    })
}

/// Loads a model, decodes with it, and prints the peak resident memory of this process in bytes,
/// or `unknown`.
pub(crate) fn decode(
    checkpoint: &str,
    precision: Precision,
    kernel_name: &str,
) -> anyhow::Result<ExitStatus> {
    let loaded = load_at_precision(checkpoint, precision)?;
    let model = Model::with_kernel(&loaded.checkpoint, kernel(kernel_name)?)?;
    let mut token = loaded.checkpoint.tokenizer.end_of_text();
    drop(loaded);
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    for _ in 0..TOKENS {
        token = argmax(model.step(token, &mut state, &mut work));
    }
    let peak = peak_resident_bytes().map_or("unknown".to_owned(), |bytes| bytes.to_string());
    print(format!("{peak}\n"))?;
    Ok(ExitStatus::Done)
}

/// The high-water mark of resident memory, where the system has it in a file.
fn peak_resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
