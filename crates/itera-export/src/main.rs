//! `itera-export`: ONNX files of checkpoints, verified and measured in other runtimes.

use std::process::ExitCode;

use itera_cli::{main_with, parse};
use itera_export::run;

fn main() -> ExitCode {
    main_with(|| run(parse()))
}
