//! One run of one variant.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, ensure};
use itera_core::model::Model;
use itera_learn::{
    Learns,
    baseline::{self, TransformerConfig},
    scoring,
    trainer::Trainer,
};
use itera_record::{AblationRun, DataSource};
use serde_json::Value;

use super::plan::{SOME_STEPS, StudyPlan, Variant};
use crate::fit::{Data, RunConfig, check};

/// Texts with their tokens, by what decides them. Several variants and seeds read the same.
#[derive(Default)]
pub(super) struct Texts(Mutex<BTreeMap<String, Arc<Data>>>);

/// What a run has shown.
pub(super) struct Outcome {
    pub(super) size: Size,
    pub(super) data: Vec<DataSource>,
    pub(super) validation: String,
    pub(super) run: AblationRun,
}

/// What all runs of a variant have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size {
    pub(super) params: usize,
    pub(super) active_params: usize,
    pub(super) bytes_per_token: f64,
}

impl Texts {
    fn load(&self, options: &RunConfig) -> anyhow::Result<Arc<Data>> {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = options.text_key();
        if let Some(data) = texts.get(&key) {
            return Ok(Arc::clone(data));
        }
        let data = Arc::new(Data::load(options)?);
        texts.insert(key, Arc::clone(&data));
        Ok(data)
    }
}

/// Trains and evaluates; nothing if `stop` is set meanwhile.
pub(super) fn run(
    study: &StudyPlan,
    variant: &Variant,
    seed: u64,
    texts: &Texts,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Outcome>> {
    let options = variant.options(seed, SOME_STEPS)?;
    let data = texts.load(&options)?;
    ensure!(
        !data.valid.bytes.is_empty(),
        "{} holds no text to evaluate on; give one with `\"valid\"`",
        data.texts.name()
    );
    let config = options.train_config(SOME_STEPS)?;
    let segment = config.batch * config.length;
    let tokens = variant.text_bytes.unwrap_or(study.text_bytes) as f64 / data.bytes_per_token;
    let steps = (tokens / segment as f64).round().max(1.0) as u64;
    let options = variant.options(seed, steps)?;
    let trained = train(variant, &options, &data, stop)?;
    let Some(trained) = trained else {
        return Ok(None);
    };
    let tokens = steps * segment as u64;
    Ok(Some(Outcome {
        size: trained.size,
        data: data.texts.sources(),
        validation: format!("{}, protocol document", data.texts.valid_label()),
        run: AblationRun {
            seed,
            steps,
            tokens,
            epochs: tokens as f64 * data.bytes_per_token / data.train_bytes as f64,
            seconds: trained.seconds,
            cpu: Some(itera_cli::host().cpu),
            valid_bits_per_byte: trained.bits,
        },
    }))
}

/// A model at the end of its run.
struct Trained {
    size: Size,
    seconds: f64,
    /// Bits per byte of validation; none if the loss became NaN on the way.
    bits: Option<f64>,
}

/// Trains and evaluates the architecture of a variant; nothing if `stop` is set meanwhile.
fn train(
    variant: &Variant,
    options: &RunConfig,
    data: &Data,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Trained>> {
    let settings = options.train_config(options.steps())?;
    let (documents, end_of_text) = (Arc::clone(&data.train), data.tokenizer.end_of_text());
    let refused = || format!("cannot train on {}", data.texts.name());
    let bytes_per_token = data.bytes_per_token;
    if variant.transformer {
        let config = TransformerConfig::micro(data.tokenizer.vocab_size());
        let size = Size {
            params: config.parameters(),
            active_params: config.parameters(),
            bytes_per_token,
        };
        let trainer = baseline::trainer(&config, settings, documents, end_of_text, options.backend)
            .with_context(refused)?;
        return measure(trainer, size, stop, |model| {
            let score = |tokens: &[u32]| model.score(end_of_text, tokens);
            Ok(scoring::bits_per_byte(score, valid(data), stop))
        });
    }
    let config = options.model_config(data.tokenizer.vocab_size())?;
    check(options, &config, data)?;
    let size = Size {
        params: config.parameters(),
        active_params: config.active_parameters(),
        bytes_per_token,
    };
    let mut trainer = Trainer::new(&config, settings, documents, end_of_text, options.backend)
        .with_context(refused)?;
    if let Some(init) = &data.init {
        trainer.start_from(&init.checkpoint)?;
    }
    if let Some(predictions) = data.predictions(true)? {
        trainer.teach(predictions);
    }
    measure(trainer, size, stop, |result| {
        let checkpoint = result.to_checkpoint(&data.tokenizer, Value::Null);
        let model = Model::from_checkpoint(&checkpoint)?;
        let count = data.valid.bytes.len();
        Ok(data.valid.bits_per_byte(&model, end_of_text, count, stop))
    })
}

/// Runs all steps, stopping early if the loss becomes NaN, and evaluates by `bits`; nothing if `stop` is
/// set meanwhile.
fn measure<M: Learns>(
    mut trainer: Trainer<M>,
    size: Size,
    stop: &AtomicBool,
    bits: impl FnOnce(&M) -> anyhow::Result<Option<f64>>,
) -> anyhow::Result<Option<Trained>> {
    let began = Instant::now();
    let mut is_finite = true;
    while is_finite && !trainer.is_done() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        is_finite = trainer.step().is_finite();
    }
    let mut trained = Trained {
        size,
        seconds: began.elapsed().as_secs_f64(),
        bits: None,
    };
    if is_finite {
        trained.bits = bits(&trainer.result())?;
        if trained.bits.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(trained))
}

/// Tokens and bytes of the documents of validation.
fn valid(data: &Data) -> impl Iterator<Item = (Vec<u32>, usize)> {
    let widen = |tokens: &[u16]| tokens.iter().map(|&id| id.into()).collect();
    let tokens = data.valid.tokens.iter().map(widen);
    tokens.zip(data.valid.bytes.iter().copied())
}
