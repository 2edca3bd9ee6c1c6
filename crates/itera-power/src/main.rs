//! `itera-power`: time, memory and energy per token, with their uncertainty, and a regression gate.

use std::process::ExitCode;

use clap::Parser as _;
use itera_cli::main_with;
use itera_power::{Args, run};

fn main() -> ExitCode {
    main_with(|| run(Args::parse()))
}
