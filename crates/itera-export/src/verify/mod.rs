//! The command `verify`: do other runtimes compute what the native engine computes?
//!
//! | file | what |
//! |---|---|
//! | `text` | the tokens of real text that are read |
//! | `reference` | what the native engine says about them |
//! | `compare` | the differences of a runtime |

mod compare;
mod reference;
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, model_info, note, print, results_folder, warn};
use itera_core::{checkpoint::Precision, io::LoadedCheckpoint};
use itera_record::{ExportCheck, ExportFile, ExportRecord, ExportVerdict};

use self::{reference::Reference, text::Text};
use crate::{
    args::{RuntimeArg, VerifyArgs},
    file::OnnxFile,
    onnx, results,
    runtime::{Session, library, onnxruntime::OnnxRuntime, tract, tract::Tract},
    table,
};

/// The most that a logit may differ, relative to the largest of its token. Files of any precision are held against the native engine in
/// floats with the very weights of the file, so only the order of additions differs.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// What is put into the name of a file that failed.
const FAILED: &str = "failed.onnx";

/// Checks every file in every runtime.
pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitStatus> {
    let output = results::path(args.output.as_ref())?;
    let mut record = results::read_or_new(&output)?;
    let paths = paths(&args.files)?;
    let files = paths.iter().map(|path| OnnxFile::read(path));
    let files: Vec<OnnxFile> = files.collect::<anyhow::Result<_>>()?;
    let runtimes = Runtimes::new(args.runtime)?;
    ensure!(
        args.max_tokens > 0,
        "`--max-tokens` is 0, expected at least 1"
    );
    let mut done: Vec<(PathBuf, ExportFile, Vec<ExportCheck>)> = Vec::new();
    let mut references: Vec<Reference> = Vec::new();
    for (path, file) in paths.iter().zip(&files) {
        let known = references.iter().position(|known| known.is_of(file));
        let reference = if let Some(known) = known {
            &references[known]
        } else {
            references.push(reference(args, path, file)?);
            &references[references.len() - 1]
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let described = describe(&name, file, reference.checkpoint());
        let checks = runtimes.check(&name, file, reference);
        done.push((path.clone(), described, checks));
    }
    let failed = keep_failed(&mut done)?;
    replace(&mut record, &done);
    let record = results::write(&output, record)?;
    print(table::checks(&record))?;
    Ok(if failed {
        ExitStatus::CheckFailed
    } else {
        ExitStatus::Done
    })
}

/// The files given, or all in `results/onnx` but those that failed before.
fn paths(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    if !given.is_empty() {
        return Ok(given.to_vec());
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

/// The runtimes to check in.
struct Runtimes {
    tract: bool,
    onnxruntime: Option<Result<OnnxRuntime, String>>,
}

impl Runtimes {
    /// A library that is missing is an error only where it was asked for by name.
    fn new(wanted: RuntimeArg) -> anyhow::Result<Self> {
        let onnxruntime = match wanted {
            RuntimeArg::Tract => None,
            RuntimeArg::All if library::find().is_none() => {
                let reason = format!("not installed; {}", library::REMEDY);
                warn(format!("ONNX Runtime is {reason}"));
                Some(Err(reason))
            }
            RuntimeArg::All | RuntimeArg::Onnxruntime => Some(Ok(OnnxRuntime::load()?)),
        };
        Ok(Self {
            tract: wanted != RuntimeArg::Onnxruntime,
            onnxruntime,
        })
    }

    fn check(&self, name: &str, file: &OnnxFile, reference: &Reference) -> Vec<ExportCheck> {
        let mut checks = Vec::new();
        let check = |runtime: &str, version: &str, outcome| ExportCheck {
            file: name.to_owned(),
            file_sha256: file.sha256.clone(),
            runtime: runtime.to_owned(),
            version: version.to_owned(),
            ..verdict(outcome)
        };
        if self.tract {
            let loaded = Tract::load(file).map(|session| Box::new(session) as Box<dyn Session>);
            let outcome = match loaded {
                // tract 0.23 has no integers of 4 bits.
                Err(error) if file.precision == Precision::Int4 => Outcome::Lacks(chain(&error)),
                loaded => measure(loaded, file, reference),
            };
            checks.push(check("tract", tract::VERSION, outcome));
        }
        match &self.onnxruntime {
            Some(Ok(library)) => {
                let loaded = library.session(file, 1);
                let loaded = loaded.map(|session| Box::new(session) as Box<dyn Session>);
                let outcome = measure(loaded, file, reference);
                checks.push(check("onnxruntime", &library.version, outcome));
            }
            Some(Err(reason)) => {
                checks.push(check("onnxruntime", "none", Outcome::Lacks(reason.clone())));
            }
            None => {}
        }
        checks
    }
}

/// What came of a check.
enum Outcome {
    Ran(Box<itera_record::ExportFigures>),
    /// The runtime cannot run such a file.
    Lacks(String),
    /// It should have been able to.
    Broke(String),
}

fn measure(
    loaded: anyhow::Result<Box<dyn Session>>,
    file: &OnnxFile,
    reference: &Reference,
) -> Outcome {
    let figures =
        loaded.and_then(|mut session| compare::figures(session.as_mut(), file, reference));
    match figures {
        Ok(figures) => Outcome::Ran(Box::new(figures)),
        Err(error) => Outcome::Broke(chain(&error)),
    }
}

/// An error with its causes, in one line.
fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// A check without its names.
fn verdict(outcome: Outcome) -> ExportCheck {
    let (verdict, reason, figures) = match outcome {
        Outcome::Ran(figures) => match compare::breach(&figures) {
            None => (ExportVerdict::Passed, None, Some(*figures)),
            Some(reason) => (ExportVerdict::Failed, Some(reason), Some(*figures)),
        },
        Outcome::Lacks(reason) => (ExportVerdict::Unavailable, Some(reason), None),
        Outcome::Broke(reason) => (ExportVerdict::Failed, Some(reason), None),
    };
    ExportCheck {
        file: String::new(),
        file_sha256: String::new(),
        runtime: String::new(),
        version: String::new(),
        verdict,
        reason,
        figures,
    }
}

/// Renames the files that failed, so that nobody takes them for good. Returns whether there are any.
fn keep_failed(done: &mut [(PathBuf, ExportFile, Vec<ExportCheck>)]) -> anyhow::Result<bool> {
    let mut any = false;
    for (path, file, checks) in done {
        let failed = |check: &&ExportCheck| check.verdict == ExportVerdict::Failed;
        let Some(reason) = checks
            .iter()
            .find(failed)
            .and_then(|check| check.reason.clone())
        else {
            continue;
        };
        any = true;
        let kept = path.with_extension(FAILED);
        fs::rename(&*path, &kept).with_context(|| {
            format!("cannot rename `{}` to `{}`", path.display(), kept.display())
        })?;
        warn(format!(
            "{} failed: {reason}; it is now {}",
            path.display(),
            kept.display()
        ));
        file.file = kept
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for check in checks {
            check.file.clone_from(&file.file);
        }
    }
    Ok(any)
}

/// Puts the outcome in place of what the record said about the same files and runtimes.
fn replace(record: &mut ExportRecord, done: &[(PathBuf, ExportFile, Vec<ExportCheck>)]) {
    for (path, file, checks) in done {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        record
            .files
            .retain(|known| known.file != name && known.file != file.file);
        record.files.push(file.clone());
        let is_stale = |known: &ExportCheck| {
            let same_file = known.file == name || known.file == file.file;
            let same_runtime = checks.iter().any(|check| check.runtime == known.runtime);
            same_file && (same_runtime || known.file_sha256 != file.file_sha256)
        };
        record.checks.retain(|known| !is_stale(known));
        record.checks.extend(checks.iter().cloned());
    }
    record.files.sort_by(|a, b| a.file.cmp(&b.file));
    record
        .checks
        .sort_by(|a, b| (&a.file, &a.runtime).cmp(&(&b.file, &b.runtime)));
}
