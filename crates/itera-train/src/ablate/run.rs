//! One run of one variant.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, ensure};
use itera_core::{config::ModelConfig, model::Model};
use itera_learn::{
    baseline::{self, TransformerConfig},
    scoring,
    trainer::{StepReport, Trainer},
};
use itera_record::{AblationRun, DataSource};
use serde_json::Value;

use super::plan::{SOME_STEPS, StudyPlan, Variant};
use crate::fit::{Data, FitOptions, bits_per_byte, check, model_config};

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
    fn load(&self, options: &FitOptions) -> anyhow::Result<Arc<Data>> {
        let mut texts = self.0.lock().expect("no thread panics while it loads");
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
    let train = options.train_config(SOME_STEPS)?;
    let segment = train.batch * train.length;
    let tokens = variant.text_bytes.unwrap_or(study.text_bytes) as f64 / data.bytes_per_token;
    let steps = (tokens / segment as f64).round().max(1.0) as u64;
    let options = variant.options(seed, steps)?;
    let trained = if variant.transformer {
        Trained::transformer(&options, &data, stop)
    } else {
        Trained::language_model(&options, variant.untied, &data, stop)
    };
    let Some(trained) = trained? else {
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
    /// Bits per byte of validation; none if the loss was no number on the way.
    bits: Option<f64>,
}

impl Trained {
    /// Our own architecture, with an output head of its own if it is `untied`.
    fn language_model(
        options: &FitOptions,
        untied: bool,
        data: &Data,
        stop: &AtomicBool,
    ) -> anyhow::Result<Option<Self>> {
        let config = sizes(options, data)?;
        check(options, &config, data)?;
        let head = if untied {
            config.vocab_size * config.d_model
        } else {
            0
        };
        let size = Size {
            params: config.parameters() + head,
            active_params: config.active_parameters() + head,
            bytes_per_token: data.bytes_per_token,
        };
        let settings = options.train_config(options.steps())?;
        let end_of_text = data.tokenizer.end_of_text();
        let mut trainer = Trainer::new(
            &config,
            settings,
            Arc::clone(&data.train),
            end_of_text,
            options.backend,
        )
        .with_context(|| format!("cannot train on {}", data.texts.name()))?;
        if let Some(init) = &data.init {
            trainer.start_from(&init.checkpoint)?;
        }
        if untied {
            trainer.untie_head();
        }
        if let Some(teacher) = &data.teacher {
            trainer.teach(&teacher.checkpoint)?;
        }
        let Some((seconds, is_number)) = train(options.steps(), stop, || trainer.step()) else {
            return Ok(None);
        };
        let mut bits = None;
        if is_number {
            let result = trainer.result();
            bits = if untied {
                let score = |tokens: &[u32]| result.score(end_of_text, tokens);
                scoring::bits_per_byte(score, slices(&documents(data)), stop)
            } else {
                let checkpoint = result.to_checkpoint(&data.tokenizer, Value::Null);
                let model = Model::from_checkpoint(&checkpoint)?;
                bits_per_byte(
                    &model,
                    end_of_text,
                    &data.valid,
                    data.valid.bytes.len(),
                    stop,
                )
            };
            if bits.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Self {
            size,
            seconds,
            bits,
        }))
    }

    /// The baseline.
    fn transformer(
        options: &FitOptions,
        data: &Data,
        stop: &AtomicBool,
    ) -> anyhow::Result<Option<Self>> {
        let config = TransformerConfig::micro(data.tokenizer.vocab_size());
        let size = Size {
            params: config.parameters(),
            active_params: config.parameters(),
            bytes_per_token: data.bytes_per_token,
        };
        let settings = options.train_config(options.steps())?;
        let end_of_text = data.tokenizer.end_of_text();
        let mut trainer = baseline::Trainer::new(
            &config,
            settings,
            Arc::clone(&data.train),
            end_of_text,
            options.backend,
        )
        .with_context(|| format!("cannot train on {}", data.texts.name()))?;
        let Some((seconds, is_number)) = train(options.steps(), stop, || trainer.step()) else {
            return Ok(None);
        };
        let mut bits = None;
        if is_number {
            let trained = trainer.trained();
            let score = |tokens: &[u32]| trained.score(end_of_text, tokens);
            bits = scoring::bits_per_byte(score, slices(&documents(data)), stop);
            if bits.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Self {
            size,
            seconds,
            bits,
        }))
    }
}

fn slices(documents: &[(Vec<u32>, usize)]) -> impl Iterator<Item = (&[u32], usize)> {
    documents
        .iter()
        .map(|(tokens, bytes)| (&tokens[..], *bytes))
}

/// Tokens and bytes of the documents of validation.
fn documents(data: &Data) -> Vec<(Vec<u32>, usize)> {
    let widen = |tokens: &[u16]| tokens.iter().map(|&id| id.into()).collect();
    let tokens = data.valid.tokens.iter().map(widen);
    tokens.zip(data.valid.bytes.iter().copied()).collect()
}

/// Takes so many steps, or those until the loss is no number. Returns their seconds, and whether the loss
/// was a number to the end; nothing if `stop` is set meanwhile.
fn train(
    steps: u64,
    stop: &AtomicBool,
    mut step: impl FnMut() -> StepReport,
) -> Option<(f64, bool)> {
    let began = Instant::now();
    for _ in 0..steps {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        if !step().is_finite() {
            return Some((began.elapsed().as_secs_f64(), false));
        }
    }
    Some((began.elapsed().as_secs_f64(), true))
}

fn sizes(options: &FitOptions, data: &Data) -> anyhow::Result<ModelConfig> {
    let preset = options
        .preset
        .context("the size of the model is missing; give `preset` in the plan")?;
    model_config(
        preset,
        &options.sizes,
        options.dense,
        data.tokenizer.vocab_size(),
    )
}
