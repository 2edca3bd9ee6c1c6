//! `itera-train`: trains models and tokenizers, and samples from models.

use std::process::ExitCode;

use itera_cli::{main_with, parse};
use itera_train::run;

/// A training step allocates and frees hundreds of buffers. The system's allocator returns their pages to the
/// system and faults them in again each time. (With musl, itera-cli has it for all programs.)
#[cfg(not(target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    main_with(|| run(parse()))
}
