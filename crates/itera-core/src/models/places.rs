//! Where checkpoints lie, by their names.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf, is_separator},
};

use super::{BUILT_IN, ModelError};
use crate::{checkpoint::Precision, files::FileError};

/// Environment variable that names a directory of checkpoints, searched before `data/models`.
pub const MODELS_DIR_VARIABLE: &str = "ITERA_MODELS_DIR";

const EXTENSION: &str = "safetensors";

/// The file of the companion of a checkpoint at a precision: `NAME.int4.safetensors` beside
/// `NAME.safetensors`.
pub fn companion_path(checkpoint: &Path, precision: Precision) -> PathBuf {
    checkpoint.with_extension(format!("{precision}.{EXTENSION}"))
}

/// The model that a quantised companion is named after.
pub(super) fn base_name(name: &str) -> Option<&str> {
    let (base, precision) = name.rsplit_once('.')?;
    matches!(precision, "int8" | "int4").then_some(base)
}

/// Names of the models in `$ITERA_MODELS_DIR` and `data/models`, sorted, each once; [`BUILT_IN`] where
/// there are none. A quantised companion beside its model is not listed; [`load_at_precision`](super::load_at_precision) finds it.
///
/// # Errors
/// A directory that exists but cannot be listed.
pub fn shipped_models() -> Result<Vec<String>, ModelError> {
    shipped_in(&model_directories())
}

pub(super) fn shipped_in(directories: &[PathBuf]) -> Result<Vec<String>, ModelError> {
    let mut names = models_in(directories)?;
    if names.is_empty() {
        names.push(BUILT_IN.to_owned());
    }
    Ok(names)
}

/// Directories that may hold checkpoints, in the order of search; each once, existing or not.
pub(super) fn model_directories() -> Vec<PathBuf> {
    let named = env::var_os(MODELS_DIR_VARIABLE)
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let below = |directory: &Path| directory.join("data").join("models");
    let nearest = env::current_dir().ok().and_then(|current| {
        current
            .ancestors()
            .map(below)
            .find(|models| models.is_dir())
    });
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(below);
    let mut directories: Vec<PathBuf> = Vec::new();
    for directory in [named, nearest, sources.filter(|models| models.is_dir())] {
        directories.extend(directory.filter(|new| !directories.contains(new)));
    }
    directories
}

/// The file that an argument means, looked up in `directories` if it is a name.
pub(super) fn resolve(name_or_path: &str, directories: &[PathBuf]) -> Result<PathBuf, ModelError> {
    let path = Path::new(name_or_path);
    let is_file = path.exists() && !path.is_dir();
    let like_a_path = name_or_path.contains(is_separator)
        || path
            .extension()
            .is_some_and(|extension| extension == EXTENSION);
    if is_file || like_a_path {
        return Ok(path.to_owned());
    }
    let looked_for: Vec<PathBuf> = directories
        .iter()
        .map(|directory| directory.join(format!("{name_or_path}.{EXTENSION}")))
        .collect();
    if let Some(found) = looked_for.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    let known = models_in(directories)?;
    Err(ModelError::UnknownName {
        name: name_or_path.to_owned(),
        looked_for,
        known,
    })
}

/// Names of the models in `directories`, sorted, without companions of others; a directory that does
/// not exist has none.
fn models_in(directories: &[PathBuf]) -> Result<Vec<String>, ModelError> {
    let mut names = BTreeSet::new();
    for directory in directories {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FileError::read(directory, error).into()),
        };
        for entry in entries {
            let path = entry
                .map_err(|error| FileError::read(directory, error))?
                .path();
            if path.extension() == Some(OsStr::new(EXTENSION)) && path.is_file() {
                names.extend(
                    path.file_stem()
                        .map(|stem| stem.to_string_lossy().into_owned()),
                );
            }
        }
    }
    let is_companion = |name: &str| base_name(name).is_some_and(|base| names.contains(base));
    Ok(names
        .iter()
        .filter(|name| !is_companion(name))
        .cloned()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_listed_only_without_their_model() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "a.int8", "b.int4", "c.d"] {
            fs::write(directory.path().join(format!("{name}.{EXTENSION}")), b"").unwrap();
        }
        let found = models_in(&[directory.path().to_owned()]).unwrap();
        assert_eq!(found, ["a", "b.int4", "c.d"]);
        let path = companion_path(Path::new("x/c.d.safetensors"), Precision::Int8);
        assert_eq!(path, Path::new("x/c.d.int8.safetensors"));
    }
}
