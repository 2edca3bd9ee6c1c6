//! Quantisation after training: projections and embedding become integers of 8 or 4 bits with an
//! f16 scale for each group of 32 or 16 inputs.
//!
//! | file | what |
//! |---|---|
//! | `precisions` | the precision of each tensor |
//! | `plan` | which groups share a scale, and in which order tensors are rounded |
//! | `hessian` | the measure of each matrix's error, from calibration text |
//! | `matrix` | rounding a whole tensor, row by row |
//! | `search` | rounding a row with the scales that have the least error |
//! | `feedback` | rounding a row with error feedback |
//! | `descent` | local search over the integers and scales of a row |
//! | `scales` | only the scales, for training that draws its weights to multiples of them |
//! | `report` | the loss of each tensor |
//! | `provenance` | the notes of a quantised file on how it was made |
//!
//! With calibration text the layers are rounded in the order of the forward pass, each for the
//! inputs that it gets from the layers rounded before it, so that later layers compensate the
//! errors of earlier ones. The rounding itself is GPTQ (Frantar et al. 2022) with two additions: the scale of
//! a group is searched when the group is reached, and a descent over integers and scales follows.
//! The rows of the tied embedding, whose outputs meet the loss at once, are rounded for the
//! curvature of the loss itself.

mod descent;
mod feedback;
mod hessian;
mod matrix;
mod plan;
mod precisions;
mod provenance;
mod report;
mod scales;
mod search;

use std::{collections::BTreeMap, fmt, str::FromStr};

use half::f16;
use thiserror::Error;

use self::plan::Plan;
pub use self::{
    precisions::Precisions,
    provenance::{CalibrationSource, Provenance, source_sha256},
    report::TensorReport,
    scales::{MatrixScales, Scales},
};
use crate::{
    calibration::NotFinite,
    checkpoint::{Checkpoint, CheckpointError, Precision, Tensor},
    model::ModelError,
};

/// How weights are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Each to the nearest integer; the scale just holds the largest weight of the group.
    Nearest,
    /// Each to the nearest integer; the scale has the least squared error, weighted by the inputs'
    /// second moments if there is calibration text.
    Search,
    /// With error feedback; needs calibration text.
    Gptq,
}

/// No method has this name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no method is called {0:?}; methods are nearest, search, gptq")]
pub struct UnknownMethod(pub String);

impl Method {
    /// Every method, simplest first.
    pub const ALL: [Self; 3] = [Self::Nearest, Self::Search, Self::Gptq];

    /// The name used on command lines and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Search => "search",
            Self::Gptq => "gptq",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| UnknownMethod(name.to_owned()))
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// How exactly each tensor is stored.
    pub precisions: Precisions,
    /// How weights are rounded.
    pub method: Method,
    /// Tokens of documents to calibrate with, end-of-text not among them; taken from the text that
    /// the model was trained on.
    pub calibration: Option<&'a [Vec<u32>]>,
    /// Steps of tensors of integers by their names: one for the whole tensor, or one for each row, in place of scales
    /// for groups that just hold the largest weight. Few integers are frequent then, so that a file packs them into
    /// few bits: entropy-coded scalar quantisation, which at equal bits errs least of all that round each
    /// weight alone (Gish and Pierce 1968).
    pub steps: BTreeMap<String, Vec<f16>>,
}

impl Options<'_> {
    /// Without calibration text: the scales with the least squared error.
    pub fn data_free(precisions: impl Into<Precisions>) -> Self {
        Self {
            precisions: precisions.into(),
            method: Method::Search,
            calibration: None,
            steps: BTreeMap::new(),
        }
    }
}

/// Why a checkpoint cannot be quantised.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QuantError {
    /// A tensor is not fp32: rounding it again would add to its loss.
    #[error(
        "tensor `{tensor}` is stored as {found}, expected fp32: quantise the checkpoint that this \
         one was made from"
    )]
    NotFp32 {
        /// The tensor.
        tensor: String,
        /// Its precision.
        found: Precision,
    },
    /// The precision is not one of integers.
    #[error("precision {0} is not one to quantise to; give int8 or int4")]
    Precision(Precision),
    /// An override names no tensor, or a precision that the tensor cannot have.
    #[error("tensor `{tensor}` cannot be stored as {precision}: {reason}")]
    Override {
        /// The name given.
        tensor: String,
        /// The precision given.
        precision: Precision,
        /// Why not.
        reason: &'static str,
    },
    /// Error feedback without calibration text.
    #[error("the method gptq needs calibration text; give some, or use the method search")]
    NoCalibration,
    /// There is no token to calibrate with.
    #[error("the calibration text has no token; give a longer text")]
    EmptyCalibration,
    /// A token of the calibration text is not in the vocabulary.
    #[error(
        "the calibration text has token {token}, expected below {vocab_size}: it was made by another tokenizer"
    )]
    Token {
        /// The token.
        token: u32,
        /// Entries of the vocabulary.
        vocab_size: usize,
    },
    /// Scales that were stored do not fit the model.
    #[error("tensor `{tensor}` has {found} scales, expected {expected}")]
    Scales {
        /// The tensor.
        tensor: String,
        /// Scales there are.
        found: usize,
        /// Its groups.
        expected: usize,
    },
    /// No tensor would have the precision that the file is called after.
    #[error(
        "no tensor of the model would be stored as {0}: int4 needs rows that divide by 16, and \
         others have a precision of their own; give another precision"
    )]
    Unreached(Precision),
    /// The weights overflow.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The checkpoint is broken.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint cannot be run on the calibration text.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Quantises an fp32 checkpoint. The result has the same config, tokenizer and training notes; the
/// report has a row for each tensor, in the order of the forward pass.
///
/// With the same input the same weights come out on processors with the same vector instructions;
/// others sum the calibration in another order.
///
/// # Errors
/// A checkpoint that is not fp32, a precision that is not one of integers or that no tensor can have,
/// an override that fits no tensor, weights that overflow, calibration text that is missing, empty, or
/// of another tokenizer.
pub fn quantize(
    checkpoint: &Checkpoint,
    options: &Options<'_>,
) -> Result<(Checkpoint, Vec<TensorReport>), QuantError> {
    checkpoint.validate()?;
    check(checkpoint, options)?;
    let plan = Plan::new(&checkpoint.config, options)?;
    let mut quantised = checkpoint.clone();
    for (name, precision) in &plan.floats {
        let tensor = &checkpoint.tensors[name];
        if *precision == Precision::Fp16 {
            let rounded = Tensor::f16(tensor.shape.clone(), &tensor.to_f32());
            quantised.tensors.insert(name.clone(), rounded);
        }
    }
    for stage in &plan.stages {
        let hessians = match options.calibration {
            Some(documents) => hessian::hessians(&quantised, stage, documents)?,
            None => vec![Vec::new(); stage.len()],
        };
        for (item, hessians) in stage.iter().zip(&hessians) {
            let original = &checkpoint.tensors[&item.name];
            let tensor = matrix::round(original, item, options.method, hessians);
            quantised.tensors.insert(item.name.clone(), tensor);
        }
    }
    // A half float may have overflowed.
    quantised.validate()?;
    let report = report::rows(checkpoint, &quantised);
    Ok((quantised, report))
}

fn check(checkpoint: &Checkpoint, options: &Options<'_>) -> Result<(), QuantError> {
    let mut tensors = checkpoint.tensors.iter();
    if let Some((name, tensor)) = tensors.find(|(_, t)| t.precision() != Precision::Fp32) {
        return Err(QuantError::NotFp32 {
            tensor: name.clone(),
            found: tensor.precision(),
        });
    }
    let Some(documents) = options.calibration else {
        return if options.method == Method::Gptq {
            Err(QuantError::NoCalibration)
        } else {
            Ok(())
        };
    };
    let vocab_size = checkpoint.config.vocab_size;
    let largest = documents
        .iter()
        .flatten()
        .max()
        .ok_or(QuantError::EmptyCalibration)?;
    if *largest as usize >= vocab_size {
        return Err(QuantError::Token {
            token: *largest,
            vocab_size,
        });
    }
    Ok(())
}
