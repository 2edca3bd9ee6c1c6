//! The tokens of real text that runtimes read.

use anyhow::{Context as _, ensure};
use itera_cli::warn;
use itera_core::{models::LoadedCheckpoint, tokenizer::Tokenizer};
use itera_data::{Corpus, DataError, Dataset, Places, Split};

use crate::args::VerifyArgs;

/// The first tokens of a text, document by document.
pub(crate) struct Text {
    corpus: Corpus,
    /// Tokens of each document; end-of-text, which stands before each, is not among them.
    pub(crate) documents: Vec<Vec<u32>>,
    /// Bytes that the tokens stand for.
    pub(crate) bytes: usize,
    pub(crate) end_of_text: u32,
}

impl Text {
    /// The text asked for, else the checkpoint's own, else a sample in its manner.
    pub(crate) fn load(args: &VerifyArgs, loaded: &LoadedCheckpoint) -> anyhow::Result<Self> {
        let corpus = corpus(args, loaded)?;
        corpus.warnings().iter().for_each(warn);
        let tokenizer = &loaded.checkpoint.tokenizer;
        let (mut documents, mut bytes, mut left) = (Vec::new(), 0, args.max_tokens);
        for (index, text) in corpus.texts().enumerate() {
            if left == 0 {
                break;
            }
            let mut tokens = tokenizer.encode(text).with_context(|| {
                format!("cannot read document {} of {}", index + 1, corpus.name)
            })?;
            bytes += if tokens.len() > left {
                tokens.truncate(left);
                bytes_of(text, &tokens, tokenizer)
            } else {
                text.len()
            };
            left -= tokens.len();
            documents.push(tokens);
        }
        ensure!(
            bytes > 0,
            "{} has no text to read; give another with `--dataset`",
            corpus.name
        );
        Ok(Self {
            corpus,
            documents,
            bytes,
            end_of_text: tokenizer.end_of_text(),
        })
    }

    /// Tokens that are predicted.
    pub(crate) fn tokens(&self) -> usize {
        self.documents.iter().map(Vec::len).sum()
    }

    /// Name of the text.
    pub(crate) fn name(&self) -> &str {
        &self.corpus.name
    }

    /// Its split; `all` for texts without splits.
    pub(crate) fn split(&self) -> &'static str {
        self.corpus.split.map_or("all", Split::name)
    }

    /// `wikitext2 test`, or the path of a file.
    pub(crate) fn label(&self) -> String {
        match self.corpus.split {
            Some(split) => format!("{} {split}", self.corpus.name),
            None => self.corpus.name.clone(),
        }
    }

    /// SHA-256 of the text's file.
    pub(crate) fn sha256(&self) -> &str {
        &self.corpus.sha256
    }

    /// All documents as one stream, end-of-text before each.
    pub(crate) fn stream(&self) -> Vec<u32> {
        let with_start = |tokens: &Vec<u32>| [&[self.end_of_text], tokens.as_slice()].concat();
        self.documents.iter().flat_map(with_start).collect()
    }
}

fn corpus(args: &VerifyArgs, loaded: &LoadedCheckpoint) -> anyhow::Result<Corpus> {
    let places = Places::of_environment();
    if let Some(dataset) = &args.dataset {
        let member = dataset
            .members()
            .into_iter()
            .next()
            .context("the data set has no text")?;
        return Ok(Corpus::load(&member, args.split, &places)?);
    }
    let own = loaded.checkpoint.training["dataset"]
        .as_str()
        .unwrap_or_default();
    let (own, sample) = match own.parse() {
        Ok(Dataset::File(_)) | Err(_) => (None, Dataset::SampleTinyStories),
        Ok(own @ Dataset::Known(_)) => (Some(own.clone()), own.sample()),
        Ok(sample) => return Ok(Corpus::load(&sample, None, &places)?),
    };
    let (why, remedy) = match own {
        None => (
            "the text of its training is no data set".to_owned(),
            "name another with `--dataset`",
        ),
        Some(own) => match Corpus::load(&own, args.split, &places) {
            Err(DataError::Missing { .. }) => (
                format!("{own} is not here"),
                "run `scripts/fetch-data.sh` for the real text",
            ),
            outcome => return Ok(outcome?),
        },
    };
    warn(format!(
        "{why}, so {} reads {sample}; {remedy}",
        loaded.name
    ));
    Ok(Corpus::load(&sample, None, &places)?)
}

/// Bytes that the first tokens of a text stand for. The unknown token of a character tokenizer stands
/// for one character of any length.
fn bytes_of(text: &[u8], tokens: &[u32], tokenizer: &Tokenizer) -> usize {
    if tokenizer.is_lossless() {
        return tokens
            .iter()
            .map(|&token| tokenizer.token_bytes(token).len())
            .sum();
    }
    let characters = str::from_utf8(text).unwrap_or_default().chars();
    characters.take(tokens.len()).map(char::len_utf8).sum()
}
