//! Text, tokenizer, tokens: everything a run reads, ready before its first step.

use anyhow::{Context as _, bail, ensure};
use itera_cli::warn;
use itera_core::{
    models::{LoadedCheckpoint, load_checkpoint},
    tokenizer::Tokenizer,
};
use rayon::prelude::*;

use super::options::FitOptions;
use crate::texts::Texts;

/// What a run reads.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) texts: Texts,
    pub(crate) tokenizer: Tokenizer,
    /// Documents to learn from, without end-of-text.
    pub(crate) train: Vec<Vec<u32>>,
    /// Documents to evaluate on.
    pub(crate) valid: Vec<Document>,
    /// The checkpoint to start from, of the same tokenizer.
    pub(crate) init: Option<LoadedCheckpoint>,
    /// The checkpoint to learn from, of the same tokenizer.
    pub(crate) teacher: Option<LoadedCheckpoint>,
    /// Mean bytes of a token that is trained on, one end-of-text per document included.
    pub(crate) bytes_per_token: f64,
}

/// A document to evaluate on.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) tokens: Vec<u32>,
    pub(crate) bytes: usize,
}

impl Data {
    /// Loads the text, trains or reads the tokenizer, and tokenises.
    pub(crate) fn load(options: &FitOptions) -> anyhow::Result<Self> {
        let texts = Texts::load(&options.dataset, options.valid.as_deref())?;
        let load = |name: &Option<String>| name.as_deref().map(load_checkpoint).transpose();
        let (init, teacher) = (load(&options.init)?, load(&options.teacher)?);
        let tokenizer = match (&options.tokenizer, &init) {
            (Some(source), _) => source.obtain(options.vocab_size, &texts)?,
            (None, Some(init)) => init.checkpoint.tokenizer.clone(),
            (None, None) => bail!("give the tokenizer with `--tokenizer`"),
        };
        for (name, loaded) in [(&options.init, &init), (&options.teacher, &teacher)] {
            if let (Some(name), Some(loaded)) = (name, loaded) {
                check_tokenizer(name, loaded, &tokenizer)?;
            }
        }
        let documents: Vec<&[u8]> = texts.train_documents().collect();
        let train = encode(&tokenizer, &documents, texts.name())?;
        let bytes: usize = documents.iter().map(|document| document.len()).sum();
        let tokens: usize = train.iter().map(|tokens| tokens.len() + 1).sum();
        let valid = if options.evaluate_every == Some(0) {
            Vec::new()
        } else {
            valid(&tokenizer, &texts)?
        };
        ensure!(
            bytes > 0,
            "{} holds no text to learn from; give another file",
            texts.name()
        );
        Ok(Self {
            bytes_per_token: bytes as f64 / tokens as f64,
            texts,
            tokenizer,
            train,
            valid,
            init,
            teacher,
        })
    }
}

/// Refuses a checkpoint of another tokenizer than the run's.
fn check_tokenizer(
    name: &str,
    loaded: &LoadedCheckpoint,
    tokenizer: &Tokenizer,
) -> anyhow::Result<()> {
    ensure!(
        loaded.checkpoint.tokenizer.to_json() == tokenizer.to_json(),
        "the tokenizer of `{name}` is not the one of this run; give the same text, `--tokenizer` and \
         `--vocab-size` as for that checkpoint"
    );
    Ok(())
}

fn valid(tokenizer: &Tokenizer, texts: &Texts) -> anyhow::Result<Vec<Document>> {
    let documents = texts.valid_documents();
    if documents.is_empty() {
        warn(format_args!(
            "{} has fewer than 10 documents, so that none is held out for evaluation; give a text \
             with `--valid`",
            texts.name()
        ));
    }
    let tokens = encode(tokenizer, &documents, &texts.valid_label())?.into_iter();
    let sizes = documents.iter().map(|document| document.len());
    Ok(tokens
        .zip(sizes)
        .map(|(tokens, bytes)| Document { tokens, bytes })
        .collect())
}

fn encode(tokenizer: &Tokenizer, documents: &[&[u8]], name: &str) -> anyhow::Result<Vec<Vec<u32>>> {
    let encode = |(index, document): (usize, &&[u8])| {
        let tokens = tokenizer.encode(document);
        tokens.with_context(|| format!("cannot tokenise document {} of {name}", index + 1))
    };
    documents.par_iter().enumerate().map(encode).collect()
}
