//! The loop of a run: step, log, evaluate, save, stop.

use std::{
    fmt::Write as _,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use itera_cli::{print, warn};
use itera_core::{model::Model, quant};
use itera_learn::trainer::{StepReport, Trainer};
use serde_json::Value;

use super::{
    config::RunConfig, data::Data, history::History, log::Log, outputs, paths::Paths, saved,
    settings::Settings,
};
use crate::args::FitArgs;

/// Rows of metrics in a whole run, about.
const ROWS: u64 = 400;

/// Bytes of the documents of an evaluation during the run by default, about.
const EVALUATED_BYTES: usize = 100_000;

/// What a run reads and is told.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) args: &'a FitArgs,
    pub(crate) config: &'a RunConfig,
    pub(crate) paths: &'a Paths,
    pub(crate) data: &'a Data,
    pub(crate) settings: &'a Settings,
    pub(crate) stop: &'a AtomicBool,
}

/// A run in progress.
pub(crate) struct Run<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) trainer: Trainer,
    pub(super) history: History,
    log: Log,
    /// Steps between two rows.
    row_every: u64,
    /// Steps between two evaluations; 0 for none.
    pub(super) evaluate_every: u64,
}

/// How a run ended.
pub(crate) enum Outcome {
    Finished,
    Interrupted { step: u64 },
}

impl<'a> Run<'a> {
    pub(crate) fn new(inputs: Inputs<'a>, trainer: Trainer, history: History) -> Self {
        let steps = inputs.settings.train.schedule.steps;
        let done = trainer.step_count();
        Self {
            inputs,
            trainer,
            history,
            log: Log::new(inputs.args.quiet, steps, done, inputs.data.bytes_per_token),
            row_every: steps.div_ceil(ROWS),
            evaluate_every: inputs.config.evaluate_every(steps),
        }
    }

    /// Trains to the end or until something says stop, and writes every file.
    pub(crate) fn train(&mut self) -> anyhow::Result<Outcome> {
        let mut last_save = Instant::now();
        while !self.trainer.is_done() {
            let report = self.step()?;
            self.log.step(report.step, &self.history);
            self.measure(&report)?;
            if self.must_stop(report.step) {
                return self.interrupt();
            }
            if last_save.elapsed() >= self.inputs.args.save_every {
                self.save_meanwhile();
                last_save = Instant::now();
            }
        }
        self.finish()
    }

    /// One step; refuses a loss that is NaN or infinite, since every later one would be too.
    fn step(&mut self) -> anyhow::Result<StepReport> {
        let started = Instant::now();
        let report = self.trainer.step();
        ensure!(
            report.is_finite(),
            "the loss is {} and the gradient's norm {} at step {}; train again with a lower \
             `--learning-rate` or `--clip`",
            report.cross_entropy,
            report.gradient_norm,
            report.step
        );
        self.history.add(&report, started.elapsed().as_secs_f64());
        Ok(report)
    }

    /// Adds a row where one is due, with an evaluation where that is due too. The evaluation of
    /// the last step is left to [`Self::finish`].
    fn measure(&mut self, report: &StepReport) -> anyhow::Result<()> {
        let step = report.step;
        let is_last = self.trainer.is_done();
        let evaluates = self.evaluates() && !is_last && step.is_multiple_of(self.evaluate_every);
        if !(evaluates || is_last || step.is_multiple_of(self.row_every)) {
            return Ok(());
        }
        let valid = if evaluates {
            // Not interruptible: a resumed run would not repeat this evaluation.
            self.evaluate(self.documents_meanwhile(), &AtomicBool::new(false))?
        } else {
            None
        };
        self.history
            .push_row(report, self.inputs.data.bytes_per_token, valid);
        if evaluates && let Some(row) = self.history.rows.last() {
            self.log.evaluation(row);
        }
        Ok(())
    }

    /// How many documents the evaluations before the last read: so few that they take seconds.
    pub(super) fn documents_meanwhile(&self) -> usize {
        let sizes = &self.inputs.data.valid.bytes;
        let count = self.inputs.config.evaluate_documents.unwrap_or_else(|| {
            let mut bytes = 0;
            let fits = |size: &&usize| {
                bytes += **size;
                bytes <= EVALUATED_BYTES
            };
            sizes.iter().take_while(fits).count().max(1)
        });
        count.min(sizes.len())
    }

    fn evaluates(&self) -> bool {
        self.evaluate_every > 0 && !self.inputs.data.valid.bytes.is_empty()
    }

    /// Bits per byte of the first `count` documents by the native model, which is the one that will be
    /// used, at the precision that is trained for; none if stopped.
    fn evaluate(&self, count: usize, stop: &AtomicBool) -> anyhow::Result<Option<f64>> {
        let trained = self.trainer.result();
        let mut checkpoint = trained.to_checkpoint(&self.inputs.data.tokenizer, Value::Null);
        if let Some(precisions) = self.inputs.settings.train.quantize.clone() {
            checkpoint = quant::quantize(&checkpoint, &quant::Options::data_free(precisions))?.0;
        }
        let model = Model::from_checkpoint(&checkpoint)
            .context("the trained weights cannot be used; train with a lower `--learning-rate`")?;
        let end_of_text = self.inputs.data.tokenizer.end_of_text();
        let valid = &self.inputs.data.valid;
        Ok(valid.bits_per_byte(&model, end_of_text, count, stop))
    }

    fn must_stop(&self, step: u64) -> bool {
        self.inputs.stop.load(Ordering::Relaxed)
            || self.inputs.args.stop_after.is_some_and(|n| step >= n)
    }

    /// Saves the run and writes the files as they are by now. A failure costs nothing yet: the next save may
    /// succeed.
    fn save_meanwhile(&self) {
        if let Err(error) = self.save().and_then(|()| outputs::write(self, false)) {
            warn(format_args!(
                "{error:#}; the run goes on and is saved again in {:.0} s",
                self.inputs.args.save_every.as_secs_f64()
            ));
        }
    }

    /// Everything needed to go on.
    fn save(&self) -> anyhow::Result<()> {
        let Inputs {
            paths, settings, ..
        } = self.inputs;
        saved::write(&paths.resume, settings, &self.history, &self.trainer)
    }

    /// Saves the run. The other files are only a view of it, which the resumed run writes again.
    fn interrupt(&self) -> anyhow::Result<Outcome> {
        self.save()?;
        if let Err(error) = outputs::write(self, false) {
            warn(format_args!("{error:#}; the run itself is saved"));
        }
        Ok(Outcome::Interrupted {
            step: self.trainer.step_count(),
        })
    }

    /// Evaluates on all documents, writes the files, and says how it went.
    fn finish(&mut self) -> anyhow::Result<Outcome> {
        if self.evaluates() {
            let valid = self.evaluate(self.inputs.data.valid.bytes.len(), self.inputs.stop)?;
            if valid.is_none() {
                return self.interrupt();
            }
            if let Some(row) = self.history.rows.last_mut() {
                row.valid_bits_per_byte = valid;
                self.log.evaluation(row);
            }
        }
        let resume = &self.inputs.paths.resume;
        if let Err(error) = outputs::write(self, true) {
            self.save()?;
            return Err(error.context(format!(
                "the run is at its end and saved in `{}`; go on with `--resume` when its files can be written",
                resume.display()
            )));
        }
        if resume.exists() {
            fs::remove_file(resume)
                .with_context(|| format!("cannot remove `{}`", resume.display()))?;
        }
        print(self.summary())?;
        Ok(Outcome::Finished)
    }

    fn summary(&self) -> String {
        let mut text = format!(
            "{}: {} parameters, {} steps, {} tokens in {:.0} s\n",
            self.inputs.paths.checkpoint.display(),
            self.inputs.settings.model.parameters(),
            self.trainer.step_count(),
            self.history.tokens,
            self.history.seconds
        );
        if let Some(row) = self.history.rows.last() {
            let _ = writeln!(text, "train: {:.4} bits/byte", row.train_bits_per_byte);
            if let Some(bits) = row.valid_bits_per_byte {
                let label = self.inputs.data.texts.valid_label();
                let _ = writeln!(text, "validation: {bits:.4} bits/byte on {label}");
            }
        }
        text
    }
}
