//! Which files there are, and their bytes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// More than any tool writes; a larger file is not read into memory.
const MAX_BYTES: u64 = 64 << 20;

/// Files of training runs beside the models.
const TRAINING: &str = ".training.json";

/// The folder among the models of those that do not ship for use, but to learn from.
const TEACHERS: &str = "teacher";

/// A file and its bytes, or why there are none.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) bytes: Result<Vec<u8>, String>,
}

impl File {
    /// Reads a file; what goes wrong is part of the outcome.
    pub(super) fn read(path: PathBuf) -> Self {
        let bytes = bytes(&path);
        Self { path, bytes }
    }
}

/// The files of the results, and the training records beside the models and the teachers, each in
/// the order of their names.
///
/// # Errors
/// If the folder of results cannot be listed. That of the models may be missing.
pub(super) fn of(results: &Path, models: &Path) -> anyhow::Result<Vec<File>> {
    let is_result = |name: &str| matches!(name.rsplit_once('.'), Some((_, "json" | "jsonl")));
    let listed = list(results, is_result).with_context(|| {
        format!(
            "cannot read the results folder `{}`; name another with `--results`, or let the \
             tools write results first, for example `cargo run --release -p itera-validate`",
            results.display()
        )
    })?;
    let records = |folder: &Path| list(folder, |name| name.ends_with(TRAINING)).unwrap_or_default();
    Ok(listed
        .into_iter()
        .chain(records(models))
        .chain(records(&models.join(TEACHERS)))
        .map(File::read)
        .collect())
}

/// The files of a folder that are wanted, sorted by name.
fn list(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_wanted(&name) && !name.starts_with('.') && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_BYTES {
        return Err(format!("it has {size} bytes, at most {MAX_BYTES} are read"));
    }
    fs::read(path).map_err(|error| error.to_string())
}
