//! A server that generates with the native engine, logs what it writes, and learns from feedback.
//!
//! | file | what |
//! |---|---|
//! | `args`, `options` | the command line, typed, then checked |
//! | `weights` | one version of the model at several precisions |
//! | `engine` | threads that write for many requests side by side |
//! | `store` | answers, feedback, versions and journal in SQLite or PostgreSQL |
//! | `adapt` | following versions, and making them |
//! | `app` | the HTTP interface; `problem` is what it says when something is wrong |
//! | `metrics` | what the server measures of itself |
//! | `serve` | all of it put together, from start to shutdown |
//! | `transfer` | `feedback export` and `import` |
//! | `simulate` | the proof that it learns |
//! | `health_check`, `bench_record` | small parts of images and of the load test |

mod adapt;
mod app;
mod args;
mod bench_record;
mod engine;
#[cfg(test)]
mod fixture;
mod health_check;
mod metrics;
mod options;
mod problem;
mod serve;
#[cfg(feature = "adapt")]
mod simulate;
mod store;
mod transfer;
mod weights;

use anyhow::Context as _;
use itera_cli::{ExitStatus, print};
use tokio::runtime;

pub use crate::args::Args;
use crate::args::{Command, SimulateArgs};

/// Name of the program in records.
const TOOL: &str = "itera-serve";

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, missing or broken files, a database or an address that
/// cannot be used.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    match args.command {
        None => runtime()?.block_on(serve::run(args.serve)),
        Some(Command::Feedback(command)) => runtime()?.block_on(transfer::run(command)),
        Some(Command::Simulate(args)) => simulated(&args),
        Some(Command::Openapi) => {
            print(app::document().to_pretty_json()? + "\n")?;
            Ok(ExitStatus::Done)
        }
        Some(Command::Health { port }) => health_check::run(port),
        Some(Command::BenchRecord(args)) => bench_record::run(&args),
    }
}

fn runtime() -> anyhow::Result<runtime::Runtime> {
    runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of the server")
}

#[cfg(feature = "adapt")]
fn simulated(args: &SimulateArgs) -> anyhow::Result<ExitStatus> {
    simulate::run(args)
}

#[cfg(not(feature = "adapt"))]
fn simulated(_: &SimulateArgs) -> anyhow::Result<ExitStatus> {
    anyhow::bail!("this build does not learn; build itera-serve with its default features")
}
