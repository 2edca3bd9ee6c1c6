//! `itera-report`: reports, charts and comparisons from the files under `results/`.

use std::process::ExitCode;

use itera_cli::{main_with, parse};
use itera_report::run;

fn main() -> ExitCode {
    main_with(|| run(parse()))
}
