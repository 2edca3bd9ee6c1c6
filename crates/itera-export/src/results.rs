//! The result, `results/onnx-export.json`: the commands of this tool each replace their own part.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use itera_cli::{OutputLock, envelope, note, results_folder};
use itera_core::files::write_atomic;
use itera_record::{ExportRecord, Record as _};

use crate::TOOL;

/// Name of the file in the folder of the results.
const FILE: &str = "onnx-export.json";

/// The file asked for, or the usual one.
pub(crate) fn usual(given: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    match given {
        Some(path) => Ok(path.clone()),
        None => Ok(results_folder()?.join(FILE)),
    }
}

/// What the file holds.
pub(crate) fn read(path: &Path) -> anyhow::Result<ExportRecord> {
    let json = fs::read(path).with_context(|| {
        format!(
            "cannot read `{}`; `itera-export verify` makes one",
            path.display()
        )
    })?;
    ExportRecord::from_json(&json).with_context(|| {
        format!(
            "`{}` is not what `itera-export` writes; remove it, or give another file",
            path.display()
        )
    })
}

/// What the file holds, or an empty record where there is none.
pub(crate) fn read_or_new(path: &Path) -> anyhow::Result<ExportRecord> {
    if path.exists() && path.is_file() {
        return read(path);
    }
    Ok(ExportRecord {
        envelope: envelope::<ExportRecord>(TOOL, None),
        files: Vec::new(),
        checks: Vec::new(),
        round_trips: Vec::new(),
        bench: None,
    })
}

/// Changes the record that the file holds, or a new one, and writes it as one made now. Other processes
/// that change it wait.
pub(crate) fn update(
    path: &Path,
    change: impl FnOnce(&mut ExportRecord),
) -> anyhow::Result<ExportRecord> {
    let _lock = OutputLock::wait(path)?;
    let mut record = read_or_new(path)?;
    change(&mut record);
    record.envelope = envelope::<ExportRecord>(TOOL, None);
    let json = record.to_json().context("cannot write the result")?;
    write_atomic(path, json.as_bytes())?;
    note(format!("wrote {}", path.display()));
    Ok(record)
}
