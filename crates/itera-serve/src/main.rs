//! `itera-serve`: an inference server that generates with the native engine and learns from feedback.

use std::process::ExitCode;

use clap::Parser as _;
use itera_cli::main_with;
use itera_serve::{Args, run};

fn main() -> ExitCode {
    main_with(|| run(Args::parse()))
}
