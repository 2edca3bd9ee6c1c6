//! The subcommand `fit`: trains a model.
//!
//! | file | step |
//! |---|---|
//! | `options`, `paths`, `size` | the command line, checked; files and sizes that follow from it |
//! | `data` | text, tokenizer, tokens |
//! | `settings` | everything that decides the result, to refuse a wrong `--resume` |
//! | `pace` | how many steps fit into `--minutes` |
//! | `run` | the loop: step, log, evaluate, save, stop |
//! | `evaluate`, `history`, `log` | what is measured, kept and shown meanwhile |
//! | `saved` | the file of an interrupted run |
//! | `outputs`, `curve`, `command` | checkpoint, metrics, loss curve, record |

mod command;
mod curve;
mod data;
mod evaluate;
mod history;
mod log;
mod options;
mod outputs;
mod pace;
mod paths;
mod run;
mod saved;
mod settings;
mod size;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::{ExitStatus, note};
use itera_core::config::ModelConfig;
use itera_learn::trainer::Trainer;

pub(crate) use self::{
    data::Data,
    evaluate::bits_per_byte,
    options::{Budget, FitOptions},
    size::{SizeArg, model_config},
};
use self::{
    history::History,
    run::{Outcome, Run},
    saved::Saved,
    settings::Settings,
};
use crate::args::FitArgs;

/// Trains a model, or goes on with an interrupted run.
pub(crate) fn run(args: FitArgs) -> anyhow::Result<ExitStatus> {
    let options = FitOptions::new(args)?;
    let bytes = interrupted(&options)?;
    let saved = bytes.as_deref();
    let saved = saved.map(|bytes| Saved::parse(bytes, &options.paths.resume));
    let saved = saved.transpose()?;
    options.backend.check()?;
    let data = Data::load(&options)?;
    let model = sizes(&options, &data)?;
    check(&options, &model, &data)?;
    let steps = match (&saved, options.budget) {
        (_, Budget::Steps(steps)) => steps,
        (Some(saved), Budget::Minutes(_)) => saved.steps()?,
        (None, Budget::Minutes(minutes)) => pace::steps(minutes, &options, &model, &data)?,
    };
    let train = options.train_config(steps)?;
    let settings = Settings::new(&options, &data, model, train);
    if let Some(saved) = &saved {
        saved.check(&settings, &options)?;
    }
    let mut trainer = start(&settings, &data)?;
    let history = match saved {
        Some(saved) => saved.restore(&options, &mut trainer)?,
        None => History::default(),
    };
    if !options.quiet {
        note(plan(&settings, &trainer, data.bytes_per_token));
    }
    let stop = stop_on_signals()?;
    let mut run = Run::new(&options, &data, &settings, trainer, history, &stop);
    if let Outcome::Interrupted { step } = run.train()? {
        note(format!(
            "stopped after step {step} of {steps}; the same command with `--resume` goes on from \
             `{}`",
            options.paths.resume.display()
        ));
        return Ok(ExitStatus::Done);
    }
    // Only what can be gone on with is kept.
    match fs::remove_file(&options.paths.resume) {
        Err(error) if options.paths.resume.exists() => Err(error).context(format!(
            "cannot remove `{}`",
            options.paths.resume.display()
        )),
        _ => Ok(ExitStatus::Done),
    }
}

/// Those of the preset, or of the checkpoint to start from.
fn sizes(options: &FitOptions, data: &Data) -> anyhow::Result<ModelConfig> {
    match (options.preset, &data.init) {
        (Some(preset), _) => {
            let vocab_size = data.tokenizer.vocab_size();
            model_config(preset, &options.sizes, options.dense, vocab_size)
        }
        (None, Some(init)) => Ok(init.checkpoint.config.clone()),
        (None, None) => bail!("give the size of the model with `--preset`"),
    }
}

/// Refuses what does not fit a model of these sizes, and an output over what the run reads.
pub(crate) fn check(options: &FitOptions, model: &ModelConfig, data: &Data) -> anyhow::Result<()> {
    if let Some(precisions) = options.precisions() {
        precisions.check(model)?;
    }
    if let (Some(init), Some(preset)) = (&data.init, options.preset) {
        ensure!(
            init.checkpoint.config == *model,
            "`{}` has other sizes than preset {preset}; give the preset that it was trained with, or none",
            init.name
        );
    }
    for loaded in data.init.iter().chain(&data.teacher) {
        ensure!(
            !loaded.is_at(&options.paths.checkpoint),
            "`--output` is `{}` itself, which an interrupted run could not go on without; give another file",
            loaded.name
        );
    }
    Ok(())
}

/// The bytes of the interrupted run to go on with, if that is asked for. Without `--resume` there must be
/// none: a new run would take its place.
fn interrupted(options: &FitOptions) -> anyhow::Result<Option<Vec<u8>>> {
    let path = &options.paths.resume;
    if options.resume {
        return saved::read(path).map(Some);
    }
    ensure!(
        !path.exists(),
        "`{}` holds an interrupted run; go on with `--resume`, or delete the file to begin anew",
        path.display()
    );
    Ok(None)
}

/// A run at its start.
fn start(settings: &Settings, data: &Data) -> anyhow::Result<Trainer> {
    let end_of_text = data.tokenizer.end_of_text();
    let train = settings.train.clone();
    let mut trainer = Trainer::new(
        &settings.model,
        train,
        Arc::clone(&data.train),
        end_of_text,
        settings.backend,
    )
    .with_context(|| format!("cannot train on {}", data.texts.name()))?;
    if let Some(init) = &data.init {
        trainer
            .start_from(&init.checkpoint)
            .with_context(|| format!("cannot start from `{}`", init.name))?;
    }
    if let Some(teacher) = &data.teacher {
        trainer
            .teach(&teacher.checkpoint)
            .with_context(|| format!("cannot learn from `{}`", teacher.name))?;
    }
    Ok(trainer)
}

/// What is about to happen, in a line.
fn plan(settings: &Settings, trainer: &Trainer, bytes_per_token: f64) -> String {
    let Settings {
        preset,
        model,
        tokenizer,
        train,
        ..
    } = settings;
    let (steps, segment) = (train.schedule.steps, train.batch * train.length);
    let from = match trainer.step_count() {
        0 => String::new(),
        done => format!("from step {done} on, "),
    };
    format!(
        "preset {preset}, {} parameters; tokenizer {tokenizer}, {bytes_per_token:.3} bytes a token; \
         {from}{steps} steps of {segment} tokens",
        model.parameters()
    )
}

/// A flag that Ctrl-C sets, and the system when it ends the program.
pub(crate) fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .context("cannot listen to Ctrl-C")?;
    Ok(stop)
}
