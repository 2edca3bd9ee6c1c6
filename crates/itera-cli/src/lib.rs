//! What every binary shares at the terminal: exit statuses, the error report, progress, tables,
//! options that several have, and the origin that each record states.
//!
//! A binary's `main` is one line, `main_with(|| run(parse()))`. Results go to standard output and
//! messages to standard error; no other crate writes to either.
//!
//! | file | what |
//! |---|---|
//! | `arguments`, `precision` | the command line as typed; an option that several programs have |
//! | `files`, `lock` | inputs and outputs, checked before the work; one process at a time for an output |
//! | `output`, `progress` | the two streams, a progress bar |
//! | `stop` | Ctrl-C, and the requests of the system to end |
//! | `provenance` | where a record comes from: program, machine, time |
//! | `exit` | how a program ends |

mod arguments;
mod exit;
mod files;
mod lock;
mod output;
mod precision;
mod progress;
mod provenance;
mod stop;

pub use arguments::parse;
pub use exit::{ExitStatus, main_with, report};
pub use files::{Files, results_folder, workspace};
pub use itera_record::{Align, Table};
pub use lock::OutputLock;
pub use output::{note, print, warn};
pub use precision::PrecisionArg;
pub use progress::Progress;
pub use provenance::{created_at, envelope, host, model_info, tool};
pub use stop::Stop;

/// musl's own allocator has one lock for all threads and returns memory to the system at once.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
