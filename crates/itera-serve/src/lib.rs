//! A server that generates with the native engine, logs what it writes, and learns from feedback.
//!
//! | file | what |
//! |---|---|
//! | `args`, `options` | the command line, typed, then checked |
//! | `models`, `weights` | the models by name; one version of a model at several precisions |
//! | `engine` | threads that write for many requests side by side |
//! | `store` | answers, feedback, versions and journal in SQLite or PostgreSQL |
//! | `source`, `probes` | how much is learnt from one source; texts that must not become likely |
//! | `adapt` | following versions, and making them |
//! | `experiments` | requests divided among arms, and how the arms compare |
//! | `listen`, `body` | connections, and bodies that hold something until they are sent |
//! | `client`, `keys`, `limits` | who asks, what they may do, and how much of it |
//! | `app` | the HTTP interface; `problem` is what it says when something is wrong |
//! | `audit` | who changed what |
//! | `metrics` | what the server measures of itself; `quality` of its answers and prompts |
//! | `serve` | all of it put together, from start to shutdown |
//! | `transfer` | feedback out, in and deleted, copies, another checkpoint, versions out and in |
//! | `health_check` | a small part of images |
//!
//! `examples/simulate` is the proof that the model learns, `examples/bench-record.rs` a part of the load test.

mod adapt;
mod app;
mod args;
mod audit;
mod body;
mod client;
mod engine;
mod experiments;
#[cfg(test)]
mod fixture;
mod health_check;
mod keys;
mod limits;
mod listen;
mod metrics;
mod models;
mod options;
mod probes;
mod problem;
mod quality;
mod serve;
mod source;
mod store;
mod transfer;
mod weights;

use anyhow::Context as _;
use itera_cli::{ExitStatus, print};
use tokio::runtime;

pub use crate::args::Args;
use crate::args::Command;

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, missing or broken files, a database or an address that
/// cannot be used.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    match args.command {
        None => runtime()?.block_on(serve::run(args.serve)),
        Some(Command::Feedback(command)) => runtime()?.block_on(transfer::run(command)),
        Some(Command::Versions(command)) => runtime()?.block_on(transfer::versions::run(command)),
        Some(Command::Openapi) => {
            print(app::document().to_pretty_json()? + "\n")?;
            Ok(ExitStatus::Done)
        }
        Some(Command::Backup { database, output }) => {
            runtime()?.block_on(transfer::backup(&database.database, &output))
        }
        Some(Command::Rebase {
            database,
            checkpoint,
        }) => runtime()?.block_on(transfer::rebase(&database.database, &checkpoint[0])),
        Some(Command::Health { host, port }) => health_check::run(host, port),
    }
}

fn runtime() -> anyhow::Result<runtime::Runtime> {
    runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of the server")
}
