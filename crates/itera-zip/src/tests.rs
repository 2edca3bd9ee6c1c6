//! What the tests of several files share.

use std::sync::LazyLock;

use itera_core::{
    checkpoint::{Checkpoint, Precision},
    models::{LoadedCheckpoint, built_in},
    quant::{Options, quantize},
};
use itera_testing::{bytes, small_checkpoint};
use proptest::prelude::ProptestConfig;

use crate::model::Loaded;

/// A made-up model, which makes most texts no shorter.
pub(crate) static SMALL: LazyLock<Loaded> = LazyLock::new(|| loaded(&small_checkpoint(bytes(), 1)));

/// The model that is compiled in.
pub(crate) static BUILT_IN: LazyLock<Loaded> =
    LazyLock::new(|| Loaded::of_checkpoint(built_in().unwrap()).unwrap());

/// A model that is on no disk, at 8 bits.
pub(crate) fn loaded(checkpoint: &Checkpoint) -> Loaded {
    let options = Options::data_free(Precision::Int8);
    let (integers, _) = quantize(checkpoint, &options).unwrap();
    let bytes = integers.to_bytes().unwrap();
    let checkpoint = LoadedCheckpoint::from_bytes("small", &bytes).unwrap();
    Loaded::of_checkpoint(checkpoint).unwrap()
}

/// The settings of a property test of `few` cases, or of as many as the environment variable `PROPTEST_CASES` says.
pub(crate) fn cases(few: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(few),
    }
}
