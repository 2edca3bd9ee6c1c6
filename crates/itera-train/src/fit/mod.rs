//! The subcommand `fit`: trains a model.
//!
//! | file | step |
//! |---|---|
//! | `config`, `paths`, `size` | the command line, checked; files and sizes that follow from it |
//! | `data` | text, tokenizer, tokens, what teachers predict |
//! | `settings` | everything that decides the result, to refuse a wrong `--resume` |
//! | `pace` | how many steps fit into `--minutes` |
//! | `run` | the loop: step, log, evaluate, save, stop |
//! | `history`, `log` | figures, kept and shown meanwhile |
//! | `saved` | the file of an interrupted run |
//! | `outputs`, `curve` | checkpoint, metrics, loss curve, record |

mod config;
mod curve;
mod data;
mod history;
mod log;
mod outputs;
mod pace;
mod paths;
mod run;
mod saved;
mod settings;
mod size;

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, OutputLock, Stop, note};
use itera_core::config::ModelConfig;
use itera_learn::trainer::Trainer;

pub(crate) use self::{config::RunConfig, data::Data};
use self::{
    history::History,
    paths::Paths,
    run::{Outcome, Run},
    saved::Saved,
    settings::Settings,
};
use crate::args::FitArgs;

/// Trains a model, or resumes an interrupted run.
pub(crate) fn run(args: &FitArgs) -> anyhow::Result<ExitStatus> {
    let config = args.run.clone().checked()?;
    let paths = Paths::new(args.output.clone())?;
    paths.files(&config).check()?;
    let _lock = OutputLock::take(&paths.checkpoint)?;
    let bytes = interrupted(&paths, args.resume)?;
    let saved = bytes.as_deref();
    let saved = saved.map(|bytes| Saved::parse(bytes, &paths.resume));
    let saved = saved.transpose()?;
    config.backend.check()?;
    let data = Data::load(&config)?;
    let model = sizes(&config, &data)?;
    check(&config, &model, &data)?;
    check_files(&paths, &config, &data)?;
    let steps = match (config.budget.steps, &saved) {
        (Some(steps), _) => steps,
        (None, Some(saved)) => saved.steps()?,
        (None, None) => pace::steps(&config, &model, &data, args.quiet)?,
    };
    let train = config.train_config(steps)?;
    let settings = Settings::new(&config, &data, model, train);
    if let Some(saved) = &saved {
        saved.check(&settings, &paths)?;
    }
    let mut trainer = start(&settings, &data, args.quiet)?;
    let history = match saved {
        Some(saved) => saved.restore(&paths, &mut trainer)?,
        None => History::default(),
    };
    if !args.quiet {
        note(plan(&settings, &trainer, data.bytes_per_token));
    }
    let stop = Stop::on_signals()?;
    let inputs = run::Inputs {
        args,
        config: &config,
        paths: &paths,
        data: &data,
        settings: &settings,
        stop: stop.flag(),
    };
    if let Outcome::Interrupted { step } = Run::new(inputs, trainer, history).train()? {
        note(format!(
            "stopped after step {step} of {steps}; the same command with `--resume` goes on from \
             `{}`",
            paths.resume.display()
        ));
        return Ok(stop.status());
    }
    Ok(ExitStatus::Done)
}

/// Refuses an output over a checkpoint that the run reads.
fn check_files(paths: &Paths, config: &RunConfig, data: &Data) -> anyhow::Result<()> {
    let mut files = paths.files(config);
    let init = data.init.iter().map(|loaded| ("`--init`", loaded));
    let teachers = data.teachers.iter().map(|loaded| ("`--teacher`", loaded));
    for (what, loaded) in init.chain(teachers) {
        if let Some(path) = &loaded.path {
            files = files.read(what, path);
        }
    }
    files.check()
}

/// Sizes of the preset, or of the checkpoint to start from.
fn sizes(config: &RunConfig, data: &Data) -> anyhow::Result<ModelConfig> {
    match (config.preset, &data.init) {
        (None, Some(init)) => Ok(init.checkpoint.config.clone()),
        _ => config.model_config(data.tokenizer.vocab_size()),
    }
}

/// Refuses what does not fit a model of these sizes.
pub(crate) fn check(config: &RunConfig, model: &ModelConfig, data: &Data) -> anyhow::Result<()> {
    if let Some(precisions) = config.precisions() {
        precisions.check(model)?;
    }
    if let (Some(init), Some(preset)) = (&data.init, config.preset) {
        ensure!(
            init.checkpoint.config == *model,
            "`{}` has other sizes than preset {preset}; give the preset that it was trained with, or none",
            init.name
        );
    }
    Ok(())
}

/// The bytes of the interrupted run to go on with, if that is asked for. Without `--resume` there must
/// not be one: a new run would take its place.
fn interrupted(paths: &Paths, resume: bool) -> anyhow::Result<Option<Vec<u8>>> {
    let path = &paths.resume;
    if resume {
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
fn start(settings: &Settings, data: &Data, quiet: bool) -> anyhow::Result<Trainer> {
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
    if let Some(predictions) = data.predictions(quiet)? {
        trainer.teach(predictions);
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
