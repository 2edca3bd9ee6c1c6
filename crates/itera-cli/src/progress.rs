//! A progress bar on standard error, if that is a terminal.

use std::{
    fmt::Display,
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Redraws per second.
const REDRAW_HZ: u8 = 8;

/// How far a long work has come. May be shared between threads; vanishes when dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `len` steps of `unit` (`tokens`, `steps`), hidden unless standard error is a
    /// terminal.
    pub fn new(len: u64, unit: &str) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(REDRAW_HZ)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(len), target);
        let template = format!(
            "{{msg}} [{{bar:24}}] {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left"
        );
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("=> "));
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        Self { bar }
    }

    /// Moves the bar on.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Sets how many steps are done, for example after a resumed work has found its place.
    pub fn set_position(&self, steps: u64) {
        self.bar.set_position(steps);
    }

    /// The words before the bar: the current work, or the latest figures.
    pub fn set_message(&self, message: impl Display) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message.to_string());
        }
    }

    /// Whether nobody sees the bar.
    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// Does something that writes to standard error without tearing the bar.
    pub fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Writes a message to standard error without tearing the bar.
    pub fn note(&self, message: impl Display) {
        self.suspend(|| output::note(message));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
