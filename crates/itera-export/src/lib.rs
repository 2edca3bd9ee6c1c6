//! Writes checkpoints for other runtimes, checks the ONNX files there and measures them.
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line, typed |
//! | `graph` | a checkpoint as an ONNX graph |
//! | `onnx` | the command that writes files |
//! | `file` | reading such a file back, and what it says of itself |
//! | `runtime` | running a graph: tract, ONNX Runtime, Burn, the native engine |
//! | `verify` | the command that compares runtimes on real text |
//! | `bench` | the command that measures runtimes |
//! | `granite` | the form in which llama.cpp and transformers know the model |
//! | `gguf`, `hf`, `import` | the commands that write and read their files |
//! | `c` | the command that writes C for controllers |
//! | `logits` | what the native engine computes, for scripts |
//! | `results`, `table` | the result, which the commands share, and its text |

mod args;
mod bench;
mod c;
mod file;
mod gguf;
mod granite;
mod graph;
mod hf;
mod import;
mod logits;
mod onnx;
mod results;
mod runtime;
mod table;
mod verify;

use itera_cli::{ExitStatus, print};

pub use crate::args::Args;
use crate::args::Command;

/// Name of the program in records and files.
const TOOL: &str = "itera-export";

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, missing or broken files.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    match args.command {
        Command::Onnx(args) => onnx::run(&args),
        Command::Gguf(args) => gguf::run(&args),
        Command::Hf(args) => hf::run(&args),
        Command::C(args) => c::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Table { result, markdown } => {
            let record = results::read(&results::usual(result.as_ref())?)?;
            print(if markdown {
                table::markdown(&record)?
            } else {
                table::all(&record)
            })?;
            Ok(ExitStatus::Done)
        }
    }
}
