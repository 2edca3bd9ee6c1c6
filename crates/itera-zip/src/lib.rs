//! Compresses texts by a model and an arithmetic coder, and restores them.
//!
//! | file | what |
//! |---|---|
//! | `args`, `paths` | the command line, typed, and the files that it means |
//! | `model` | the model that compresses or restores |
//! | `file` | a compressed file: a stream of blocks behind a header |
//! | `header`, `block`, `bytes` | what stands in it |
//! | `layout` | a text as documents |
//! | `codec` | documents to bytes, by the predictions of the model |
//! | `frequencies`, `coder` | a prediction as integers, and the range coder |
//! | `message`, `base91` | short messages as printable characters |
//! | `damage` | what can be wrong with what is read |
//! | `bench`, `compressors` | sizes and speed beside those of others |

mod args;
mod base91;
mod bench;
mod block;
mod bytes;
mod codec;
mod coder;
mod compressors;
mod damage;
mod file;
mod frequencies;
mod header;
mod layout;
mod message;
mod model;
mod paths;
#[cfg(test)]
mod tests;

use std::{
    io::{Read as _, Write as _},
    num::NonZero,
    thread,
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::{ExitStatus, Progress, note};
use itera_core::checkpoint::Precision;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use crate::args::Args;
use crate::{
    args::{Command, CompressArgs, RestoreArgs},
    bytes::read_up_to,
    file::Sizes,
    header::Header,
    model::Loaded,
    paths::{Input, Output, Paths},
};

/// The model of a message that names none.
const DEFAULT_CHECKPOINT: &str = "micro-tinystories";

/// The most threads.
const MAX_THREADS: usize = 1024;

/// Does what the command line says.
///
/// # Errors
/// If the work cannot be done: bad arguments, missing or damaged files.
pub fn run(args: &Args) -> anyhow::Result<ExitStatus> {
    match &args.command {
        Command::Compress(args) if args.message => compress_message(args),
        Command::Compress(args) => compress(args),
        Command::Restore(args) if args.message => restore_message(args),
        Command::Restore(args) => restore(args),
        Command::Bench(args) => bench::run(args),
    }?;
    Ok(ExitStatus::Done)
}

fn compress(args: &CompressArgs) -> anyhow::Result<()> {
    let paths = Paths::of_compress(&args.input, args.output.as_deref())?;
    let pool = pool(args.threads)?;
    let loaded = Loaded::new(&args.checkpoint, args.precision)?;
    let header = loaded.header.to_bytes()?;
    let mut input = Input::open(&paths.input)?;
    let mut output = Output::create(&paths.output)?;
    output
        .write_all(&header)
        .context("cannot write the output")?;
    let progress = Progress::new(input.bytes, "bytes");
    let on_read = |bytes| progress.advance(bytes);
    let started = Instant::now();
    let mut sizes = pool
        .install(|| file::compress(&loaded.codec, &mut input, &mut output, on_read))
        .with_context(|| format!("cannot compress {}", paths.input))?;
    output.finish()?;
    drop(progress);
    sizes.compressed += header.len() as u64;
    let Sizes { text, compressed } = sizes;
    let bits = 8.0 * compressed as f64 / text.max(1) as f64;
    let Header {
        model, precision, ..
    } = &loaded.header;
    note(format!(
        "{text} bytes became {compressed}, {bits:.4} bits/byte, by {model} at {precision}; {}",
        speed(text, started)
    ));
    Ok(())
}

fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    let paths = Paths::of_restore(&args.input, args.output.as_deref())?;
    let pool = pool(args.threads)?;
    let mut input = Input::open(&paths.input)?;
    let progress = Progress::new(input.bytes, "bytes");
    let started = Instant::now();
    let mut restored = || -> anyhow::Result<Sizes> {
        let header = Header::read(&mut input)?;
        let loaded = Loaded::of_header(&header, args.checkpoint.as_deref())?;
        let mut output = Output::create(&paths.output)?;
        let on_read = |bytes| progress.advance(bytes);
        let sizes =
            pool.install(|| file::restore(&loaded.codec, &mut input, &mut output, on_read))?;
        output.finish()?;
        Ok(sizes)
    };
    let sizes = restored().with_context(|| format!("cannot restore {}", paths.input))?;
    drop(progress);
    note(format!(
        "restored {} bytes; {}",
        sizes.text,
        speed(sizes.text, started)
    ));
    Ok(())
}

fn compress_message(args: &CompressArgs) -> anyhow::Result<()> {
    let paths = Paths::of_message(&args.input, args.output.as_deref())?;
    let text = read_up_to(&mut Input::open(&paths.input)?, message::MOST_BYTES + 1)?;
    ensure!(
        text.len() <= message::MOST_BYTES,
        "a message has at most {} bytes, and {} has more; compress it without `--message`",
        message::MOST_BYTES,
        paths.input
    );
    let loaded = Loaded::new(&args.checkpoint, args.precision)?;
    let message = message::encode(&loaded, &text);
    write(&paths.output, format!("{message}\n").as_bytes())
}

fn restore_message(args: &RestoreArgs) -> anyhow::Result<()> {
    let paths = Paths::of_message(&args.input, args.output.as_deref())?;
    let mut message = String::new();
    // Two characters have 13 bits or more; some for white space around them.
    let most = 2 * message::MOST_BYTES;
    let read = Input::open(&paths.input)?
        .take(most as u64)
        .read_to_string(&mut message);
    read.with_context(|| format!("cannot read a message from {}", paths.input))?;
    let checkpoint = args.checkpoint.as_deref().unwrap_or(DEFAULT_CHECKPOINT);
    let precision = args.precision.unwrap_or(Precision::Int4);
    let text = message::decode(checkpoint, precision, &message);
    write(
        &paths.output,
        &text.with_context(|| format!("cannot restore the message of {}", paths.input))?,
    )
}

fn write(output: &paths::Place, bytes: &[u8]) -> anyhow::Result<()> {
    let mut output = Output::create(output)?;
    output.write_all(bytes).context("cannot write the output")?;
    output.finish()
}

/// So many threads, or one for each core.
fn pool(threads: Option<usize>) -> anyhow::Result<ThreadPool> {
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.unwrap_or_else(cores);
    if !(1..=MAX_THREADS).contains(&threads) {
        bail!("`--threads` is {threads}, expected 1 to {MAX_THREADS}");
    }
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.context("cannot start the threads; give fewer with `--threads`")
}

fn speed(bytes: u64, started: Instant) -> String {
    let seconds = started.elapsed().as_secs_f64();
    format!("{:.3} MB/s", bytes as f64 / 1e6 / seconds.max(1e-9))
}
