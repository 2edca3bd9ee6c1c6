//! The two streams: results go to standard output, messages to standard error.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anyhow::Context as _;

/// Writes a piece of the result to standard output.
///
/// # Errors
/// If the stream cannot be written to, for example because the disk is full or because its reader is gone.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .context("cannot write to standard output")
}

/// Writes a message for the user to standard error.
pub fn note(message: impl Display) {
    stderr_line(&message.to_string());
}

/// Writes a warning to standard error: what is doubtful and what to do about it.
pub fn warn(message: impl Display) {
    stderr_line(&format!("warning: {message}"));
}

/// A line on standard error. If that is closed, the work goes on.
pub(crate) fn stderr_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
