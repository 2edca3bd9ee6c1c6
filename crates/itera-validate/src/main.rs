//! `itera-validate`: bits per byte and perplexity of checkpoints on texts.

use std::process::ExitCode;

use clap::Parser as _;
use itera_cli::main_with;
use itera_validate::{Args, run};

fn main() -> ExitCode {
    main_with(|| run(Args::parse()))
}
