//! Finding the shared library of ONNX Runtime.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Environment variable with the path of the library; the one that other programs use as well.
pub(crate) const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Where `scripts/setup-onnxruntime.sh` puts it, below the checkout.
const LOCAL: &str = ".runtimes/python/onnxruntime/capi";

/// What to do where it is missing.
pub(crate) const REMEDY: &str = "run `scripts/setup-onnxruntime.sh` in the checkout, or set \
                                 ORT_DYLIB_PATH to a libonnxruntime of 1.19 or newer";

/// The library: that of the environment, else that of the nearest `.runtimes` from the current
/// directory upwards, else that of the checkout that this build came from.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(path) = env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
        return Some(PathBuf::from(path));
    }
    let current = env::current_dir().unwrap_or_default();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = current.ancestors().chain(sources.ancestors());
    folders.find_map(|folder| library_in(&folder.join(LOCAL)))
}

/// `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib` or `onnxruntime.dll`.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_library(path))
        .collect();
    found.sort();
    found.pop()
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("libonnxruntime.") || name == "onnxruntime.dll"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_known_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(library_in(folder.path()), None);
        for name in [
            "libonnxruntime_providers_shared.so",
            "onnxruntime_pybind11_state.so",
        ] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        assert_eq!(library_in(folder.path()), None);
        let library = folder.path().join("libonnxruntime.so.1.32.0");
        fs::write(&library, b"").unwrap();
        assert_eq!(library_in(folder.path()), Some(library));
    }
}
