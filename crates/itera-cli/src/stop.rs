//! Ctrl-C, and the requests of the system to end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::Context as _;
use signal_hook::{consts, flag};

use crate::ExitStatus;

/// Signals that ask a program to end.
const SIGNALS: &[i32] = &[
    consts::SIGINT,
    consts::SIGTERM,
    #[cfg(unix)]
    consts::SIGHUP,
];

/// A request to end, for long work that saves what it has.
#[derive(Debug)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Listens for Ctrl-C and for the system's requests, which no longer end the process by themselves.
    ///
    /// # Errors
    /// The system refuses.
    pub fn on_signals() -> anyhow::Result<Self> {
        let stop = Self {
            flag: Arc::default(),
            signal: Arc::default(),
        };
        for &signal in SIGNALS {
            flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)
                .and_then(|_| flag::register(signal, Arc::clone(&stop.flag)))
                .context("cannot listen for Ctrl-C")?;
        }
        Ok(stop)
    }

    /// Set as soon as the work is to stop. The program may set it too.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// How the program ends: interrupted if a signal has come, else done.
    pub fn status(&self) -> ExitStatus {
        match self.signal.load(Ordering::Relaxed) {
            0 => ExitStatus::Done,
            signal => ExitStatus::Interrupted(signal as u8),
        }
    }
}
