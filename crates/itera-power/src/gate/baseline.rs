//! What is compared with: an earlier result, or another build that is measured in turns with this one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use itera_core::digest::sha256_hex;
use itera_record::{PowerRecord, Record as _};

/// The baseline that was named.
#[derive(Debug)]
pub(crate) enum Baseline {
    /// A result of `--output`.
    Record {
        record: Box<PowerRecord>,
        sha256: String,
    },
    /// A program of this kind.
    Program { path: PathBuf, sha256: String },
}

impl Baseline {
    /// Reads a baseline: JSON is a result, and what may be run a program.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let bytes = fs::read(path).with_context(|| {
            format!(
                "cannot compare: cannot read the baseline `{shown}`; make one with `--output`, or give \
                 another build of this program"
            )
        })?;
        let sha256 = sha256_hex(&bytes);
        if bytes.trim_ascii_start().starts_with(b"{") {
            let record = PowerRecord::from_json(&bytes).with_context(|| {
                format!("cannot compare: `{shown}` is not what `itera-power --output` writes")
            })?;
            let record = Box::new(record);
            return Ok(Self::Record { record, sha256 });
        }
        ensure!(
            is_program(path),
            "cannot compare: `{shown}` is neither a result of `itera-power --output` nor a build of this \
             program"
        );
        // A name without a folder would be looked for elsewhere.
        let path = fs::canonicalize(path)
            .with_context(|| format!("cannot compare: cannot find `{shown}`"))?;
        Ok(Self::Program { path, sha256 })
    }
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "exe")
}
