//! The checkpoint format: one [container](crate::container) that carries a whole model.
//!
//! The tensors are those of [`ModelConfig::tensors`]. Everything else lies in the texts of the
//! container, so that a single file is enough to run, validate and repeat a model:
//!
//! | key | value |
//! |---|---|
//! | `itera.format` | version of this format, see [`FORMAT_VERSION`] |
//! | `itera.config` | [`ModelConfig`] as JSON |
//! | `itera.tokenizer` | [`Tokenizer`] as JSON in the form of `tokenizer.json`; absent where a quantised file has `tokenizer.merges` |
//! | `itera.training` | JSON object of the trainer: data digests, steps, seed, commit |
//!
//! `tokenizer.merges`, U8 `[bytes]`, are the pairs of a BPE tokenizer, two ids of 16 bits each, of which each byte has a
//! stream of its own (the module `file`).
//!
//! A tensor is stored in one of four ways, see [`TensorData`]. Values lie in rows along the input
//! axis, the last one; a group is a run of values in a row that shares one scale.
//!
//! | stored | dtype and shape of `NAME` | dtype and shape of `NAME.scales` |
//! |---|---|---|
//! | fp32 | F32 `[.., row]` | none |
//! | fp16 | F16 `[.., row]` | none |
//! | int8 | I8 `[.., row]`, -127 to 127 | F16 `[.., row / group]` |
//! | int4 | U8 `[.., row / 2]`, -8 to 7, low nibble first, two's complement | F16 `[.., row / group]`, of either sign |
//!
//! Where it takes fewer bytes, values and scales of integers are one entry `NAME`, U8 `[bytes]`, in which each
//! is written by its frequency (the modules `packed` and `coding`). Version 1 had no such entries, and the merges
//! as text; a file of floats is of version 1 still, so that older builds read it.
//!
//! Reading trusts nothing: the container checks the file, and a loaded checkpoint has passed
//! [`Checkpoint::validate`].

mod coding;
mod error;
mod file;
mod grow;
mod packed;
pub(crate) mod rounding;
mod tensor;
mod validate;

use alloc::{collections::BTreeMap, string::String, vec::Vec};

pub(crate) use self::tensor::unpack_nibbles;
pub use self::{
    error::CheckpointError,
    tensor::{Precision, Tensor, TensorData, UnknownPrecision},
};
use crate::{
    config::{MAX_PARAMETERS, ModelConfig, TensorRole},
    container::{Format, MAX_HEADER_BYTES},
    tokenizer::Tokenizer,
};

/// The newest format version that this build reads, and the one that it writes for integers.
pub const FORMAT_VERSION: u32 = 2;

/// The most bytes of a checkpoint's file. Every config that passes [`ModelConfig::validate`] fits, as the
/// header is limited too.
pub const MAX_CHECKPOINT_BYTES: u64 = 8 + MAX_HEADER_BYTES as u64 + 4 * MAX_PARAMETERS;

const FORMAT: Format = Format {
    key: "itera.format",
    versions: 1..=FORMAT_VERSION,
};

/// What files of floats are written as.
const FORMAT_OF_FLOATS: Format = Format {
    versions: 1..=1,
    ..FORMAT
};

const CONFIG_KEY: &str = "itera.config";
const TOKENIZER_KEY: &str = "itera.tokenizer";
const TRAINING_KEY: &str = "itera.training";

/// The tensor of a BPE tokenizer's merges.
const MERGES: &str = "tokenizer.merges";

/// A model as stored: sizes, tokenizer, weights and where they came from.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Sizes of the model.
    pub config: ModelConfig,
    /// The tokenizer that the model was trained with; its vocabulary has `config.vocab_size`
    /// entries.
    pub tokenizer: Tokenizer,
    /// The trainer's record: data digests, steps, seed, commit. Free in form.
    pub training: serde_json::Value,
    /// Weights by name, exactly those of [`ModelConfig::tensors`].
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads a checkpoint from the bytes of a file.
    ///
    /// # Errors
    /// The first thing in the file that is not as this format demands; any bytes at all are safe to
    /// pass.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        file::read(bytes)
    }

    /// The bytes of the file that holds this checkpoint. Equal content gives equal bytes.
    ///
    /// # Errors
    /// Those of [`Checkpoint::validate`]: a broken checkpoint is never written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        file::write(self)
    }

    /// Checks everything that other code relies on: sizes, vocabulary, the set of tensors, their
    /// shapes and lengths, groups, ranges of values, and that every number is finite.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), CheckpointError> {
        validate::checkpoint(self)
    }

    /// The lowest precision among the projections, which hold most of the weights.
    pub fn precision(&self) -> Precision {
        self.config
            .tensors()
            .iter()
            .filter(|spec| spec.role == TensorRole::Projection)
            .filter_map(|spec| self.tensors.get(&spec.name))
            .map(Tensor::precision)
            .min_by_key(|precision| precision.bits())
            .unwrap_or(Precision::Fp32)
    }

    /// Whether a tensor is stored as integers.
    pub fn has_integers(&self) -> bool {
        let mut tensors = self.tensors.values();
        tensors.any(|tensor| tensor.precision().max_integer().is_some())
    }

    /// The same model with plain weights: every tensor becomes the floats that it stands for.
    #[must_use]
    pub fn to_fp32(&self) -> Self {
        let plain = |tensor: &Tensor| Tensor::f32(tensor.shape.clone(), tensor.to_f32());
        Self {
            tensors: self
                .tensors
                .iter()
                .map(|(name, tensor)| (name.clone(), plain(tensor)))
                .collect(),
            ..self.clone()
        }
    }

    /// Bytes of all weights in a file, scales included; header and metadata are not weights.
    pub fn weight_bytes(&self) -> usize {
        self.tensors.values().map(Tensor::stored_bytes).sum()
    }

    /// Stored bits for each parameter, scales included.
    pub fn bits_per_weight(&self) -> f64 {
        let weights: usize = self.tensors.values().map(Tensor::len).sum();
        8.0 * self.weight_bytes() as f64 / weights.max(1) as f64
    }
}
