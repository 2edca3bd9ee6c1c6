//! Messages during a run: a bar on a terminal, else a line now and then; and what the
//! experts do, at every evaluation.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use itera_cli::{Progress, note};
use itera_core::model::bits_per_byte;

use super::history::{History, Row, entropy};

/// Time between two lines where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// The messages of a run.
pub(crate) struct Log {
    /// None for `--quiet`.
    bar: Option<Progress>,
    /// Whether lines take the place of the bar.
    lines: bool,
    last_line: Instant,
    steps: u64,
    bytes_per_token: f64,
    /// Where this process began, for the time left.
    began: (Instant, u64),
}

impl Log {
    /// The log of a run of `steps` steps, of which `done` were done before.
    pub(crate) fn new(quiet: bool, steps: u64, done: u64, bytes_per_token: f64) -> Self {
        let bar = (!quiet).then(|| Progress::new(steps, "steps"));
        if let Some(bar) = &bar {
            bar.set_position(done);
        }
        let now = Instant::now();
        let lines = !quiet && !io::stderr().is_terminal();
        Self {
            bar,
            lines,
            last_line: now,
            steps,
            bytes_per_token,
            began: (now, done),
        }
    }

    /// Shows where the run is after `step` steps.
    pub(crate) fn step(&mut self, step: u64, history: &History) {
        let Some(bar) = &self.bar else {
            return;
        };
        bar.set_position(step);
        let nats = history.nats_per_token();
        let figures = format!(
            "{nats:.3} nats/token, {:.3} bits/byte, {:.0} tokens/s",
            bits_per_byte(nats, self.bytes_per_token),
            history.tokens_per_s()
        );
        if self.lines && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let left = self.seconds_left(step);
            note(format!(
                "step {step}/{}: {figures}, {} left",
                self.steps,
                duration(left)
            ));
        }
        bar.set_message(figures);
    }

    /// Shows what an evaluation found.
    pub(crate) fn evaluation(&self, row: &Row) {
        if let Some(bar) = &self.bar {
            bar.note(evaluation(row, self.steps));
        }
    }

    fn seconds_left(&self, step: u64) -> f64 {
        let (since, first) = self.began;
        let per_step = since.elapsed().as_secs_f64() / (step - first).max(1) as f64;
        self.steps.saturating_sub(step) as f64 * per_step
    }
}

/// The row in words, with a line for the experts of each layer.
fn evaluation(row: &Row, steps: u64) -> String {
    let mut text = format!(
        "step {}/{steps}: train {:.4}",
        row.step, row.train_bits_per_byte
    );
    if let Some(bits) = row.valid_bits_per_byte {
        let _ = write!(text, ", validation {bits:.4}");
    }
    text += " bits/byte";
    for (layer, load) in row.load.iter().enumerate() {
        let shares: Vec<_> = load
            .iter()
            .map(|share| format!("{:.0}", 100.0 * share))
            .collect();
        let _ = write!(
            text,
            "\n  layer {layer}: expert load {} %, entropy {:.3}",
            shares.join(" "),
            entropy(load)
        );
    }
    for (layer, expert) in row.dead_experts() {
        let _ = write!(text, "\n  dead: expert {expert} of layer {layer}");
    }
    text
}

/// Seconds in the unit that suits them.
fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 90.0 => format!("{seconds:.0} s"),
        seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_experts_are_named() {
        let row = Row {
            step: 50,
            epoch: 0,
            tokens: 1,
            learning_rate: 1e-3,
            train_nats_per_token: 2.0,
            train_bits_per_byte: 1.25,
            valid_bits_per_byte: Some(1.5),
            gradient_norm: 1.0,
            balance: 1.0,
            load: vec![vec![0.5, 0.5, 0.0], vec![0.4, 0.3, 0.3]],
            tokens_per_s: 1.0,
            seconds: 1.0,
        };
        assert_eq!(
            evaluation(&row, 100),
            "step 50/100: train 1.2500, validation 1.5000 bits/byte\n  \
             layer 0: expert load 50 50 0 %, entropy 0.631\n  \
             layer 1: expert load 40 30 30 %, entropy 0.991\n  \
             dead: expert 2 of layer 0"
        );
        assert_eq!(
            [89.0, 120.0, 9000.0].map(duration),
            ["89 s", "2 min", "2.5 h"]
        );
    }
}
