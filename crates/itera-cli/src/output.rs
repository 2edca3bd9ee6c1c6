//! The two streams: standard output is the result, standard error the talk.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anyhow::Context as _;

/// Writes a piece of the result to standard output. A reader that has gone away is not told.
///
/// # Errors
/// If the stream cannot be written to, for example because the disk is full.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to standard output"),
    }
}

/// Says something to the user on standard error.
pub fn note(message: impl Display) {
    stderr_line(&message.to_string());
}

/// Warns the user on standard error; the message says what is doubtful and what to do about it.
pub fn warn(message: impl Display) {
    stderr_line(&format!("warning: {message}"));
}

/// A line on standard error. If that is closed, nobody listens, and the work goes on.
pub(crate) fn stderr_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
