//! `itera-power`: time, memory and energy per token, with their uncertainty, and a regression gate.

use std::process::ExitCode;

use itera_cli::{main_with, parse};
use itera_power::run;

fn main() -> ExitCode {
    main_with(|| run(parse()))
}
