//! `itera-export`: ONNX files of checkpoints, verified and measured in other runtimes.

use std::process::ExitCode;

use clap::Parser as _;
use itera_cli::main_with;
use itera_export::{Args, run};

fn main() -> ExitCode {
    main_with(|| run(Args::parse()))
}
