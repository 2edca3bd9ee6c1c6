//! `itera-report`: reports, charts and comparisons from the files under `results/`.

use std::process::ExitCode;

use clap::Parser as _;
use itera_cli::main_with;
use itera_report::{Args, run};

fn main() -> ExitCode {
    main_with(|| run(Args::parse()))
}
