//! Text, tokenizer, tokens: everything a run reads, ready before its first step.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::{Progress, warn};
use itera_core::{
    model::Model,
    models::{LoadedCheckpoint, load_checkpoint},
    tokenizer::Tokenizer,
};
use itera_data::{Block, Domain, TokenSet, rng};
use itera_learn::{Predictions, teacher};
use rand::RngExt as _;
use rayon::prelude::*;

use super::config::RunConfig;
use crate::{evaluate::Documents, texts::Texts};

/// Documents that a thread tokenises at a time.
const CHUNK: usize = 64;

/// What a run reads.
#[derive(Debug)]
pub(crate) struct Data {
    /// Names and digests of the texts, which were freed when they had been tokenised.
    pub(crate) texts: Texts,
    pub(crate) tokenizer: Tokenizer,
    /// Documents to learn from.
    pub(crate) train: Arc<TokenSet>,
    pub(crate) train_bytes: usize,
    /// Documents to evaluate on.
    pub(crate) valid: Documents,
    /// The checkpoint to start from, its vocabulary grown to that of the run.
    pub(crate) init: Option<LoadedCheckpoint>,
    /// The checkpoints to learn from, of the same tokenizer.
    pub(crate) teachers: Vec<LoadedCheckpoint>,
    /// What they predict for `train`, once it was asked for.
    predictions: Mutex<Option<Arc<Predictions>>>,
    /// Mean bytes of a token that is trained on, one end-of-text per document included.
    pub(crate) bytes_per_token: f64,
}

impl Data {
    /// Loads the text, trains or reads the tokenizer, and tokenises.
    pub(crate) fn load(options: &RunConfig) -> anyhow::Result<Self> {
        let mut texts = Texts::load(&options.dataset, options.valid.as_deref())?;
        let mut init = options.init.as_deref().map(load_checkpoint).transpose()?;
        let teachers = options.teacher.iter().map(|name| load_checkpoint(name));
        let teachers: Vec<_> = teachers.collect::<Result<_, _>>()?;
        let tokenizer = match (&options.tokenizer, &init) {
            (Some(source), _) => source.obtain(options.vocab_size, &texts)?,
            (None, Some(init)) => init.checkpoint.tokenizer.clone(),
            (None, None) => bail!("give the tokenizer with `--tokenizer`"),
        };
        if let Some(init) = &mut init {
            init.checkpoint.grow_vocabulary(&tokenizer);
        }
        let names = options.init.iter().chain(&options.teacher);
        for (name, loaded) in names.zip(init.iter().chain(&teachers)) {
            check_tokenizer(name, loaded, &tokenizer)?;
        }
        let form = Form {
            blank_lines: options.blank_lines,
            seed: options.seed,
        };
        let train_bytes = (1..)
            .zip(texts.train_documents())
            .map(|(number, document)| form.of(number, document).len())
            .sum();
        ensure!(
            train_bytes > 0,
            "{} holds no text to learn from; give another file",
            texts.name()
        );
        let evaluates = options.evaluate_every != Some(0);
        let (train, valid) = encode_all(&tokenizer, &mut texts, form, evaluates)?;
        let tokens = train.positions();
        Ok(Self {
            bytes_per_token: train_bytes as f64 / tokens as f64,
            texts,
            tokenizer,
            train: Arc::new(train),
            train_bytes,
            valid,
            init,
            teachers,
            predictions: Mutex::default(),
        })
    }

    /// What the teachers predict for the documents to learn from, if there are teachers. The first call
    /// reads all documents, which takes as long as an evaluation on them.
    pub(crate) fn predictions(&self, quiet: bool) -> anyhow::Result<Option<Arc<Predictions>>> {
        if self.teachers.is_empty() {
            return Ok(None);
        }
        let made = self.predictions.lock();
        let mut made = made.unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            *made = Some(Arc::new(self.predict(quiet)?));
        }
        Ok(made.clone())
    }

    fn predict(&self, quiet: bool) -> anyhow::Result<Predictions> {
        let started = Instant::now();
        let models = self.teachers.iter().map(|loaded| {
            Model::from_checkpoint(&loaded.checkpoint)
                .with_context(|| format!("cannot learn from `{}`", loaded.name))
        });
        let models: Vec<Model> = models.collect::<Result<_, _>>()?;
        let (positions, end_of_text) = (self.train.positions(), self.tokenizer.end_of_text());
        let bar = (!quiet).then(|| Progress::new(positions as u64, "tokens predicted"));
        let predictions = teacher::predict(&models, &self.train, end_of_text, |more| {
            if let Some(bar) = &bar {
                bar.advance(more as u64);
            }
        });
        if let Some(bar) = bar {
            bar.note(format!(
                "teachers predicted {positions} tokens in {:.0} s",
                started.elapsed().as_secs_f64()
            ));
        }
        Ok(predictions)
    }
}

/// The form in which documents are read.
#[derive(Clone, Copy, Debug, Default)]
struct Form {
    /// Share of the documents whose line ends become blank lines.
    blank_lines: f64,
    /// Chooses these documents.
    seed: u64,
}

impl Form {
    /// A document, by its number in the text. One that has blank lines already stays as it is.
    fn of(self, number: usize, document: &[u8]) -> Cow<'_, [u8]> {
        if self.blank_lines <= 0.0 {
            return Cow::Borrowed(document);
        }
        let mut random = rng(self.seed, Domain::BlankLines, number as u64);
        if !random.random_bool(self.blank_lines) || document.windows(2).any(|two| two == b"\n\n") {
            return Cow::Borrowed(document);
        }
        let bytes = document.iter().flat_map(|&byte| {
            let times = if byte == b'\n' { 2 } else { 1 };
            std::iter::repeat_n(byte, times)
        });
        Cow::Owned(bytes.collect())
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

/// The documents to learn from and those to evaluate on. The text is freed on the way.
fn encode_all(
    tokenizer: &Tokenizer,
    texts: &mut Texts,
    form: Form,
    evaluates: bool,
) -> anyhow::Result<(TokenSet, Documents)> {
    let n_train = texts.train_documents().count();
    let bytes: Vec<_> = texts.valid_documents().map(<[u8]>::len).collect();
    let (blocks, valid) = texts.take();
    let (train, held_out) = encode(tokenizer, blocks, form, n_train, texts.name())?;
    if !evaluates {
        return Ok((train, Documents::default()));
    }
    if bytes.is_empty() {
        warn(format_args!(
            "{} has fewer than 10 documents, so that none is held out for evaluation; give a text \
             with `--valid`",
            texts.name()
        ));
    }
    let tokens = match valid {
        Some(blocks) => {
            let label = texts.valid_label();
            encode(tokenizer, blocks, Form::default(), usize::MAX, &label)?.0
        }
        None => held_out,
    };
    Ok((train, Documents { tokens, bytes }))
}

/// Tokenises block by block, each on all threads, and frees each block behind it: the first `at` documents, in
/// their form, and the others.
fn encode(
    tokenizer: &Tokenizer,
    blocks: Vec<Block>,
    form: Form,
    at: usize,
    name: &str,
) -> anyhow::Result<(TokenSet, TokenSet)> {
    let (mut first, mut others) = (TokenSet::default(), TokenSet::default());
    let bytes: usize = blocks.iter().map(Block::size).sum();
    for block in blocks {
        let is_first = first.is_empty();
        let documents: Vec<_> = (first.len() + others.len() + 1..)
            .zip(block.texts())
            .collect();
        let split = at.saturating_sub(first.len()).min(documents.len());
        let parts = [&documents[..split], &documents[split..]];
        let sets = [(&mut first, form), (&mut others, Form::default())];
        for (documents, (set, form)) in parts.into_iter().zip(sets) {
            append(set, tokenizer, documents, form, name)?;
        }
        if is_first {
            // The first block tells how many tokens a byte has; some more spare copies of the buffer.
            let per_byte = 1.05 * first.tokens() as f64 / block.size().max(1) as f64;
            first.reserve((per_byte * (bytes - block.size()) as f64) as usize);
        }
    }
    Ok((first, others))
}

/// Appends numbered documents, tokenised on all threads.
fn append(
    set: &mut TokenSet,
    tokenizer: &Tokenizer,
    documents: &[(usize, &[u8])],
    form: Form,
    name: &str,
) -> anyhow::Result<()> {
    let encode = |chunk: &[(usize, &[u8])]| {
        let mut part = TokenSet::default();
        for (number, document) in chunk {
            let document = form.of(*number, document);
            part.push_with(|ids| tokenizer.encode_into(&document, ids))
                .with_context(|| format!("cannot tokenise document {number} of {name}"))?;
        }
        Ok(part)
    };
    let parts: anyhow::Result<Vec<TokenSet>> = documents.par_chunks(CHUNK).map(encode).collect();
    for part in parts? {
        set.append(&part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_share_of_the_documents_gets_blank_lines() {
        let document = b"A cat.\nA hat.";
        let chosen = |seed| -> Vec<usize> {
            let form = Form {
                blank_lines: 0.3,
                seed,
            };
            let changed = |number: &usize| {
                let text = form.of(*number, document);
                let is_changed = *text != *document;
                assert!(!is_changed || *text == *b"A cat.\n\nA hat.");
                is_changed
            };
            (1..=1000).filter(changed).collect()
        };
        let first = chosen(1);
        assert!((250..350).contains(&first.len()), "{}", first.len());
        assert_eq!(first, chosen(1));
        assert_ne!(first, chosen(2));
    }

    #[test]
    fn blank_lines_stay_as_they_are() {
        let form = |blank_lines| Form {
            blank_lines,
            seed: 0,
        };
        let text = b"A cat.\n\nA hat.\nA mat.";
        assert_eq!(*form(1.0).of(1, text), *text);
        assert_eq!(*form(0.0).of(1, b"A\nB"), *b"A\nB");
    }
}
