//! `itera-train`: trains models and tokenizers, and samples from models.

use std::process::ExitCode;

use clap::Parser as _;
use itera_cli::main_with;
use itera_train::{Args, run};

/// A step of training takes and gives back hundreds of buffers; that of the system gives their pages back
/// and takes them anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    main_with(|| run(Args::parse()))
}
