//! What every binary shares at the terminal: exit statuses, the error report, progress, tables,
//! options that several have, and the origin that each record states.
//!
//! A binary's `main` is one line, `main_with(|| run(Args::parse()))`. Standard output is the
//! result and standard error the talk; no other crate writes to standard error.

mod exit;
mod files;
mod output;
mod precision;
mod progress;
mod provenance;

pub use exit::{ExitStatus, main_with, report};
pub use files::{check_output, results_folder};
pub use itera_record::{Align, Table};
pub use output::{note, print, warn};
pub use precision::PrecisionArg;
pub use progress::Progress;
pub use provenance::{created_at, envelope, host, model_info, tool};
