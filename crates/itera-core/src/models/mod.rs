//! Models by name: where checkpoints lie, their companions, and the one that is compiled in.
//!
//! A model `NAME` may have quantised companions beside it, `NAME.int8` and `NAME.int4`, which say
//! from which file they were made. One of them is compiled in, so that a program that is installed
//! alone has a model.

mod places;

use std::path::PathBuf;

use thiserror::Error;

pub use self::places::{MODELS_DIR_VARIABLE, companion_path, shipped_models};
use self::places::{base_name, model_directories, resolve};
use crate::{
    checkpoint::{Checkpoint, CheckpointError, MAX_CHECKPOINT_BYTES, Precision},
    digest::sha256_hex,
    files::{FileError, read_limited},
    quant::{self, QuantError},
};

/// Name of the checkpoint that is compiled in.
pub const BUILT_IN: &str = "micro-tinystories.int4";

const BUILT_IN_BYTES: &[u8] =
    include_bytes!("../../../../data/models/micro-tinystories.int4.safetensors");

/// How the weights of a loaded checkpoint came to their precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// As they are in the file.
    Stored,
    /// Integers of the file made floats.
    Unpacked,
    /// Floats of the file rounded in memory, without calibration text: good enough to try, worse
    /// than a file made by `itera-train quantize`.
    RoundedInMemory,
}

/// A checkpoint and where it came from.
#[derive(Clone, Debug)]
pub struct LoadedCheckpoint {
    /// Name of the model: the file's, without directory and extension. A companion that
    /// [`load_at_precision`] found is called like its model.
    pub name: String,
    /// The file; `None` for bytes that never were one.
    pub path: Option<PathBuf>,
    /// SHA-256 of the whole file, in lower-case hexadecimal digits.
    pub file_sha256: String,
    /// Bytes of the whole file.
    pub file_bytes: usize,
    /// How the weights came to their precision.
    pub weights: Weights,
    /// The content.
    pub checkpoint: Checkpoint,
}

impl LoadedCheckpoint {
    /// A checkpoint from the bytes of a file that is not on disk, for example one compiled in.
    ///
    /// # Errors
    /// Those of [`Checkpoint::from_bytes`].
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<Self, CheckpointError> {
        Ok(Self {
            name: name.into(),
            path: None,
            file_sha256: sha256_hex(bytes),
            file_bytes: bytes.len(),
            weights: Weights::Stored,
            checkpoint: Checkpoint::from_bytes(bytes)?,
        })
    }

    /// What a user should know of weights that are not as some file has them.
    pub fn caveat(&self) -> Option<String> {
        let (name, precision) = (&self.name, self.checkpoint.precision());
        match (self.weights, &self.path) {
            (Weights::Stored, _) | (Weights::Unpacked, Some(_)) => None,
            (Weights::RoundedInMemory, Some(_)) => Some(format!(
                "{name} has no {precision} file made from it beside it, so its weights were rounded in \
                 memory; `itera-train quantize` makes a better one"
            )),
            (_, None) => Some(format!(
                "{name} is compiled in with integer weights, from which its {precision} form was made in memory"
            )),
        }
    }
}

/// Why a model cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file or directory cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a sound checkpoint.
    #[error("cannot load the checkpoint `{}`", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The first fault found.
        source: Box<CheckpointError>,
    },
    /// The weights cannot be rounded to a precision.
    #[error("the checkpoint `{name}` has no {precision} form")]
    Precision {
        /// The checkpoint.
        name: String,
        /// The precision.
        precision: Precision,
        /// Why not.
        source: Box<QuantError>,
    },
    /// No file is found under a name.
    #[error(
        "no checkpoint is called {name:?}; looked for {}; models that exist: {}; \
         give one of these, a path, or set {MODELS_DIR_VARIABLE}",
        list(looked_for.iter().map(|path| format!("`{}`", path.display()))),
        list(known.iter().cloned())
    )]
    UnknownName {
        /// The name.
        name: String,
        /// Files that were looked for.
        looked_for: Vec<PathBuf>,
        /// Names that would have been found.
        known: Vec<String>,
    },
}

/// Loads a checkpoint by path, or by name from `$ITERA_MODELS_DIR` or `data/models`, or if it is
/// [`BUILT_IN`] from the program itself where no directory has it. `micro-tinystories`, of which that
/// is the quantised form, is taken from the program too where no directory has it.
///
/// An argument is a path if such a file exists, if it contains a separator, or if it ends in
/// `.safetensors`. `data/models` is looked for in the current directory, in those above it, and
/// in the sources that this build came from.
///
/// # Errors
/// No such name, with a list of the names that exist; or a file that cannot be read or is broken.
pub fn load_checkpoint(name_or_path: &str) -> Result<LoadedCheckpoint, ModelError> {
    load_from(name_or_path, &model_directories())
}

/// Loads a checkpoint, found as [`load_checkpoint`] does, at a precision:
///
/// - fp32: its floats, or the floats that its integers stand for;
/// - int8, int4: itself, if it is stored so; else its companion `NAME.int8` or `NAME.int4` beside
///   it, if that was made from this very file; else its floats, rounded in memory without
///   calibration text. Integers of the model that is compiled in, which has no other form, are made floats
///   first. [`LoadedCheckpoint::weights`] tells which.
///
/// # Errors
/// Those of [`load_checkpoint`], also for the companion; or the file is quantised already, and to
/// another precision than the one asked for.
pub fn load_at_precision(
    name_or_path: &str,
    precision: Precision,
) -> Result<LoadedCheckpoint, ModelError> {
    at_precision(load_checkpoint(name_or_path)?, precision)
}

fn at_precision(
    loaded: LoadedCheckpoint,
    precision: Precision,
) -> Result<LoadedCheckpoint, ModelError> {
    let stored = loaded.checkpoint.precision();
    if stored == precision {
        return Ok(loaded);
    }
    if precision == Precision::Fp32 {
        return Ok(LoadedCheckpoint {
            weights: Weights::Unpacked,
            checkpoint: loaded.checkpoint.to_fp32(),
            ..loaded
        });
    }
    if let Some(companion) = companion(&loaded, precision)? {
        return Ok(companion);
    }
    let options = quant::Options::data_free(precision);
    let rounded = if loaded.path.is_none() {
        quant::quantize(&loaded.checkpoint.to_fp32(), &options)
    } else {
        quant::quantize(&loaded.checkpoint, &options)
    };
    let (checkpoint, _) = rounded.map_err(|source| ModelError::Precision {
        name: loaded.name.clone(),
        precision,
        source: Box::new(source),
    })?;
    Ok(LoadedCheckpoint {
        weights: Weights::RoundedInMemory,
        checkpoint,
        ..loaded
    })
}

/// The checkpoint that is compiled in, [`BUILT_IN`].
///
/// # Errors
/// Never in a build that passed its tests.
pub fn built_in() -> Result<LoadedCheckpoint, CheckpointError> {
    LoadedCheckpoint::from_bytes(BUILT_IN, BUILT_IN_BYTES)
}

/// The companion of a file at a precision, if there is one that was made from this very file.
fn companion(
    loaded: &LoadedCheckpoint,
    precision: Precision,
) -> Result<Option<LoadedCheckpoint>, ModelError> {
    let Some(path) = loaded
        .path
        .as_ref()
        .map(|path| companion_path(path, precision))
    else {
        return Ok(None);
    };
    if !path.is_file() {
        return Ok(None);
    }
    let companion = load_file(path)?;
    let made_from = quant::source_sha256(&companion.checkpoint);
    let fits = made_from.is_some_and(|sha256| sha256 == loaded.file_sha256);
    Ok(
        (fits && companion.checkpoint.precision() == precision).then(|| LoadedCheckpoint {
            name: loaded.name.clone(),
            ..companion
        }),
    )
}

fn load_from(name_or_path: &str, directories: &[PathBuf]) -> Result<LoadedCheckpoint, ModelError> {
    let compiled_in = |error| match error {
        ModelError::UnknownName { name, .. } if is_built_in(&name) => {
            built_in().map_err(|source| ModelError::Checkpoint {
                path: PathBuf::from(BUILT_IN),
                source: Box::new(source),
            })
        }
        error => Err(error),
    };
    resolve(name_or_path, directories).map_or_else(compiled_in, load_file)
}

/// Whether a name means the checkpoint that is compiled in: its own, or the name of its model.
fn is_built_in(name: &str) -> bool {
    name == BUILT_IN || base_name(BUILT_IN) == Some(name)
}

fn load_file(path: PathBuf) -> Result<LoadedCheckpoint, ModelError> {
    let bytes = read_limited(&path, MAX_CHECKPOINT_BYTES)?;
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    match LoadedCheckpoint::from_bytes(name, &bytes) {
        Ok(loaded) => Ok(LoadedCheckpoint {
            path: Some(path),
            ..loaded
        }),
        Err(source) => Err(ModelError::Checkpoint {
            path,
            source: Box::new(source),
        }),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::{places::shipped_in, *};
    use crate::checkpoint::Tensor;

    #[test]
    fn the_model_that_is_compiled_in_is_found_without_any_directory() {
        for name in [BUILT_IN, "micro-tinystories"] {
            let loaded = load_from(name, &[]).unwrap();
            assert_eq!((loaded.name.as_str(), loaded.path), (BUILT_IN, None));
            assert_eq!(loaded.checkpoint.precision(), Precision::Int4);
        }
        assert!(matches!(
            load_from("other", &[]),
            Err(ModelError::UnknownName { .. })
        ));
        assert!(matches!(
            load_from("./micro-tinystories", &[]),
            Err(ModelError::File(FileError::Read { .. }))
        ));
    }

    #[test]
    fn a_program_that_is_installed_alone_has_its_model_at_every_precision() {
        assert_eq!(shipped_in(&[]).unwrap(), [BUILT_IN]);
        let floats = built_in().unwrap().checkpoint.to_fp32();
        for precision in Precision::ALL {
            let loaded = at_precision(load_from(BUILT_IN, &[]).unwrap(), precision).unwrap();
            assert_eq!(loaded.checkpoint.precision(), precision);
            let is_made = precision != Precision::Int4;
            assert_eq!(loaded.caveat().is_some(), is_made, "{precision}");
            // Eight bits hold what four did, but for the rounding of other scales.
            for (name, tensor) in &loaded.checkpoint.to_fp32().tensors {
                let [a, b] = [tensor, &floats.tensors[name]].map(Tensor::to_f32);
                let square = |x: &f32| f64::from(*x).powi(2);
                let error: f64 = a.iter().zip(&b).map(|(a, b)| square(&(a - b))).sum();
                let all: f64 = b.iter().map(square).sum();
                assert!(
                    error <= 1e-4 * all,
                    "{name} at {precision}: {error} of {all}"
                );
            }
        }
    }
}
