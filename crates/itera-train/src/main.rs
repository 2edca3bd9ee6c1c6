//! `itera-train`: trains models and tokenizers, and samples from models.

use std::process::ExitCode;

use clap::Parser as _;
use itera_cli::main_with;
use itera_train::{Args, run};

fn main() -> ExitCode {
    main_with(|| run(Args::parse()))
}
