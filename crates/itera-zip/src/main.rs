//! `itera-zip`: texts compressed by a model and an arithmetic coder, and restored.

use std::process::ExitCode;

use itera_cli::{main_with, parse};
use itera_zip::run;

fn main() -> ExitCode {
    main_with(|| run(&parse()))
}
