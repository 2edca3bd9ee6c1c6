//! Where results go.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, anyhow};
use itera_core::files;

/// `results` of the workspace around the current directory, or of the current directory itself.
///
/// # Errors
///
/// There is no current directory.
pub fn results_folder() -> anyhow::Result<PathBuf> {
    let here = env::current_dir().context("cannot find the current directory")?;
    let is_workspace = |folder: &&Path| {
        fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
    };
    let root = here.ancestors().find(is_workspace).unwrap_or(&here);
    Ok(root.join("results"))
}

/// Finds out before the work whether a file can be written.
///
/// # Errors
///
/// It cannot, with the remedy.
pub fn check_output(path: &Path) -> anyhow::Result<()> {
    files::check_writable(path).map_err(|error| {
        anyhow!(
            "{:#}; give another output file, or make its folder writable",
            Error::new(error)
        )
    })
}
