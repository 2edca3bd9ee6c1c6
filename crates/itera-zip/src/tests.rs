//! What the tests of several files share.

use std::sync::LazyLock;

use itera_core::{
    checkpoint::Checkpoint,
    kernels::Kernel,
    models::{LoadedCheckpoint, built_in},
};
use itera_testing::{bytes, small_checkpoint};

use crate::model::Loaded;

/// A made-up model, which makes most texts no shorter.
pub(crate) static SMALL: LazyLock<Loaded> = LazyLock::new(|| loaded(&small_checkpoint(bytes(), 1)));

/// The model that is compiled in.
pub(crate) static BUILT_IN: LazyLock<Loaded> =
    LazyLock::new(|| Loaded::on_kernel(built_in().unwrap(), Kernel::best()).unwrap());

/// A model that is on no disk.
pub(crate) fn loaded(checkpoint: &Checkpoint) -> Loaded {
    let bytes = checkpoint.to_bytes().unwrap();
    let checkpoint = LoadedCheckpoint::from_bytes("small", &bytes).unwrap();
    Loaded::on_kernel(checkpoint, Kernel::best()).unwrap()
}
