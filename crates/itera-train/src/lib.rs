//! Trains models and tokenizers on text, quantises them, and continues prompts.
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line as typed |
//! | `texts` | the text to learn from and the text to evaluate on |
//! | `evaluate` | documents to evaluate on, and their bits per byte |
//! | `tokenizer` | the subcommand `tokenizer`, and the tokenizer of a run |
//! | `fit` | the subcommand `fit`: one file per step, see there |
//! | `ablate` | the subcommand `ablate`: one file per step, see there |
//! | `sample` | the subcommand `sample` |
//! | `prune` | the subcommand `prune` |
//! | `quantize` | the subcommand `quantize`: one file per step, see there |

mod ablate;
mod args;
mod evaluate;
mod fit;
mod prune;
mod quantize;
mod sample;
mod texts;
mod tokenizer;

use itera_cli::ExitStatus;

pub use crate::args::Args;
use crate::args::Command;

/// Name of the program in records.
const TOOL: &str = "itera-train";

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, missing or broken files, a loss that is NaN.
pub fn run(args: Args) -> anyhow::Result<ExitStatus> {
    match args.command {
        Command::Fit(args) => fit::run(&args),
        Command::Ablate(args) => ablate::run(&args),
        Command::Tokenizer(args) => tokenizer::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Prune(args) => prune::run(&args),
    }
}
