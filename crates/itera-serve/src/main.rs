//! `itera-serve`: an inference server that generates with the native engine and learns from feedback.

use std::process::ExitCode;

use itera_cli::{main_with, parse};
use itera_serve::run;

fn main() -> ExitCode {
    main_with(|| run(parse()))
}
