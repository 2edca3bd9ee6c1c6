//! The command `verify`: do other runtimes compute what the native engine computes?
//!
//! | file | what |
//! |---|---|
//! | `text` | the tokens of real text that are read |
//! | `reference` | what the native engine says about them |
//! | `runtimes` | the runtimes, and what came of a check |
//! | `compare` | the differences of a runtime |
//! | `shapes` | the same for batches and lengths that text does not try |
//! | `round_trip`, `fixture` | a small graph that became Burn code again |

mod compare;
mod fixture;
mod reference;
mod round_trip;
mod runtimes;
mod shapes;
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, Files, model_info, note, print, results_folder, warn};
use itera_core::{checkpoint::Precision, models::LoadedCheckpoint};
use itera_record::{ExportCheck, ExportFile, ExportRecord, ExportVerdict};

use self::{reference::Reference, runtimes::Runtimes, text::Text};
use crate::{
    args::{RuntimeArg, VerifyArgs},
    file::OnnxFile,
    onnx, results,
    runtime::library,
    table,
};

/// The most that a logit may differ, relative to the largest of its token. Files of any precision are
/// held against the native engine in floats with the very weights of the file, so only the order of
/// additions differs.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// What is put into the name of a file that failed.
const FAILED: &str = "failed.onnx";

/// A file, what the record says about it, and what came of it in each runtime.
type Checked = (PathBuf, ExportFile, Vec<ExportCheck>);

/// Checks every file in every runtime, and the round trip through Burn.
pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitStatus> {
    ensure!(
        args.max_tokens > 0,
        "`--max-tokens` is 0, expected at least 1"
    );
    let output = results::usual(args.output.as_ref())?;
    let paths = paths(args)?;
    let files = paths.iter().fold(Files::default(), |files, path| {
        files.read("a file to verify", path)
    });
    files.write("`--output`", &output).check()?;
    // Said before the work if it is something else.
    results::read_or_new(&output)?;
    let mut done = check_files(args, &paths)?;
    let mut failed = done.iter().flat_map(|(_, _, checks)| checks).any(is_failed);
    keep_failed(&mut done)?;
    let trip = match args.runtime {
        RuntimeArg::Burn | RuntimeArg::All => Some(round_trip::check(args)?),
        _ => None,
    };
    let trip_verdict = trip.as_ref().map(|trip| trip.verdict);
    failed |= trip_verdict == Some(ExportVerdict::Failed);
    let record = results::update(&output, |record| {
        replace(record, &done);
        if let Some(trip) = trip {
            record.round_trips = vec![trip];
        }
    })?;
    print(table::verified(&record))?;
    let ran = |verdict| verdict != ExportVerdict::Unavailable;
    ensure!(
        done.iter()
            .flat_map(|(_, _, checks)| checks)
            .any(|check| ran(check.verdict))
            || trip_verdict.is_some_and(ran),
        "nothing was verified: no runtime that was asked for can run these files here; {}",
        library::REMEDY
    );
    Ok(if failed {
        ExitStatus::CheckFailed
    } else {
        ExitStatus::Done
    })
}

/// The files given, or all in `results/onnx` but those that failed before.
fn paths(args: &VerifyArgs) -> anyhow::Result<Vec<PathBuf>> {
    if args.runtime == RuntimeArg::Burn {
        ensure!(
            args.files.is_empty(),
            "`--runtime burn` runs the graph that was compiled in and no file; leave out the files"
        );
        return Ok(Vec::new());
    }
    if !args.files.is_empty() {
        return Ok(args.files.clone());
    }
    let folder = results_folder()?.join(onnx::FOLDER);
    let remedy = || {
        format!(
            "there are no ONNX files in `{}`; write some with `itera-export onnx`, or name some",
            folder.display()
        )
    };
    let entries = fs::read_dir(&folder).with_context(remedy)?;
    let is_wanted = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".onnx") && !name.ends_with(FAILED)
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_wanted)
        .collect();
    paths.sort();
    ensure!(!paths.is_empty(), "{}", remedy());
    Ok(paths)
}

/// Every file in every runtime. Files of one checkpoint share what the native engine says.
fn check_files(args: &VerifyArgs, paths: &[PathBuf]) -> anyhow::Result<Vec<Checked>> {
    let files = paths.iter().map(|path| OnnxFile::read(path));
    let files: Vec<OnnxFile> = files.collect::<anyhow::Result<_>>()?;
    let runtimes = Runtimes::new(args.runtime)?;
    let mut done = Vec::new();
    let mut references: Vec<Reference> = Vec::new();
    for (path, file) in paths.iter().zip(&files) {
        let known = references.iter().position(|known| known.is_of(file));
        let reference = if let Some(known) = known {
            &references[known]
        } else {
            references.push(reference(args, path, file)?);
            &references[references.len() - 1]
        };
        let name = file_name(path);
        let described = describe(&name, file, reference.checkpoint());
        let checks = runtimes.check(&name, file, reference);
        done.push((path.clone(), described, checks));
    }
    Ok(done)
}

/// Loads the checkpoint that a file was made from, and lets the native engine read the text.
fn reference(args: &VerifyArgs, path: &Path, file: &OnnxFile) -> anyhow::Result<Reference> {
    let name = args.checkpoint.as_deref().unwrap_or(&file.name);
    let load = |precision| {
        onnx::load(name, precision).with_context(|| {
            format!(
                "cannot find the checkpoint that `{}` was made from; give it with `--checkpoint`",
                path.display()
            )
        })
    };
    let loaded = load(file.precision)?;
    ensure!(
        loaded.file_sha256 == file.source_sha256,
        "`{}` was made from another version of the checkpoint {}; write it again with \
         `itera-export onnx`, or give the right one with `--checkpoint`",
        path.display(),
        file.name
    );
    let fp32 = load(Precision::Fp32)?;
    let text = Text::load(args, &loaded)?;
    note(format!(
        "{} ({}): {} tokens of {}",
        file.name,
        file.precision,
        text.tokens(),
        text.label()
    ));
    Reference::new(loaded, &fp32, text)
}

/// What the record says about a file.
fn describe(name: &str, file: &OnnxFile, loaded: &LoadedCheckpoint) -> ExportFile {
    let model = model_info(&loaded.name, &loaded.file_sha256, &loaded.checkpoint);
    let bytes = file.bytes.len() as f64;
    ExportFile {
        file: name.to_owned(),
        file_sha256: file.sha256.clone(),
        graph: file.kind.to_string(),
        opset: file.opset as u64,
        layers: if file.is_stacked {
            "stacked"
        } else {
            "unrolled"
        }
        .to_owned(),
        nodes: file.nodes as u64,
        file_bytes: file.bytes.len() as u64,
        file_per_weight_bytes: bytes / model.bytes as f64,
        file_bits_per_weight: 8.0 * bytes / model.params as f64,
        model,
    }
}

fn is_failed(check: &ExportCheck) -> bool {
    check.verdict == ExportVerdict::Failed
}

/// Renames files of the results whose logits are wrong, so that nobody takes them for good. A file elsewhere, or one
/// that a runtime broke on, stays as it is.
fn keep_failed(done: &mut [Checked]) -> anyhow::Result<()> {
    let folder = results_folder()
        .ok()
        .map(|results| results.join(onnx::FOLDER));
    for (path, file, checks) in done {
        let Some(failed) = checks.iter().find(|check| is_failed(check)) else {
            continue;
        };
        let reason = failed.reason.clone().unwrap_or_default();
        let is_wrong = |check: &ExportCheck| is_failed(check) && check.figures.is_some();
        let is_ours = path.parent().and_then(|parent| parent.canonicalize().ok())
            == folder
                .as_ref()
                .and_then(|folder| folder.canonicalize().ok());
        if !is_ours || !checks.iter().any(is_wrong) {
            warn(format!("{} failed: {reason}", path.display()));
            continue;
        }
        let kept = path.with_extension(FAILED);
        fs::rename(&*path, &kept).with_context(|| {
            format!("cannot rename `{}` to `{}`", path.display(), kept.display())
        })?;
        warn(format!(
            "{} failed: {reason}; it is now {}",
            path.display(),
            kept.display()
        ));
        file.file = file_name(&kept);
        for check in checks {
            check.file.clone_from(&file.file);
        }
    }
    Ok(())
}

/// The name under which a record knows a file.
fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Puts the outcome in place of what the record said about the same files and runtimes.
fn replace(record: &mut ExportRecord, done: &[Checked]) {
    for (path, file, checks) in done {
        // It may have failed before, or fail now, and then has another name.
        let names = [file_name(path), file_name(&path.with_extension(FAILED))];
        record.files.retain(|known| !names.contains(&known.file));
        record.files.push(file.clone());
        let is_stale = |known: &ExportCheck| {
            let same_runtime = checks.iter().any(|check| check.runtime == known.runtime);
            let is_other = known.file_sha256 != file.file_sha256;
            names.contains(&known.file) && (same_runtime || is_other)
        };
        record.checks.retain(|known| !is_stale(known));
        for known in &mut record.checks {
            if names.contains(&known.file) {
                known.file.clone_from(&file.file);
            }
        }
        record.checks.extend(checks.iter().cloned());
    }
    record.files.sort_by(|a, b| a.file.cmp(&b.file));
    record
        .checks
        .sort_by(|a, b| (&a.file, &a.runtime).cmp(&(&b.file, &b.runtime)));
}
