//! How a program ends: its status and one message.

use std::{io, process::ExitCode};

use anyhow::Error;

use crate::output;

/// How a program ended, if it could do its work at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// The work is done and every check passed.
    Done,
    /// The work is done and a check failed.
    CheckFailed,
    /// The work could not be done. Errors end so; a program seldom has to say it itself.
    CouldNotRun,
    /// This signal ended the work early; what was done is saved.
    Interrupted(u8),
}

/// What a shell adds to the number of the signal that ended a program.
const SIGNAL_BASE: u8 = 128;

/// The signal of a pipe without a reader.
const SIGPIPE: u8 = 13;

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Done => 0,
            ExitStatus::CheckFailed => 1,
            ExitStatus::CouldNotRun => 2,
            ExitStatus::Interrupted(signal) => SIGNAL_BASE + signal,
        })
    }
}

/// Runs a program's body and turns its outcome into the exit status of the process.
pub fn main_with(run: impl FnOnce() -> anyhow::Result<ExitStatus>) -> ExitCode {
    match run() {
        Ok(status) => status.into(),
        Err(error) => report(&error),
    }
}

/// Prints an error with its causes, as one message on standard error.
///
/// When the reader of standard output is gone (`| head`) the program ends quietly, with the status 141 that
/// other programs have then.
pub fn report(error: &Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitStatus::Interrupted(SIGPIPE).into();
    }
    output::stderr_line(&format!("error: {}", message(error)));
    ExitStatus::CouldNotRun.into()
}

/// `what: cause: its cause`. Many libraries repeat the cause in their own text; it is said once.
fn message(error: &Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

fn is_broken_pipe(error: &Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn causes_follow_and_are_said_once() {
        let error = anyhow!("no space left").context("cannot write `x`: no space left");
        assert_eq!(
            message(&error.context("stopped")),
            "stopped: cannot write `x`: no space left"
        );
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        let closed = || Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(
            &closed().context("cannot write").unwrap_err()
        ));
        assert!(!is_broken_pipe(&anyhow!("broken pipe")));
    }
}
