//! `itera-validate`: bits per byte and perplexity of checkpoints on texts.

use std::process::ExitCode;

use itera_cli::{main_with, parse};
use itera_validate::run;

fn main() -> ExitCode {
    main_with(|| run(parse()))
}
