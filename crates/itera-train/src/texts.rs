//! The text to learn from and the text to evaluate on.

use std::path::Path;

use anyhow::Context as _;
use itera_cli::warn;
use itera_core::tokenizer::Tokenizer;
use itera_data::{Block, Corpus, DataError, Dataset, Places, Split};
use itera_record::DataSource;

/// Of this many documents of a single text, one is held out for evaluation.
const HOLD_OUT_ONE_IN: usize = 10;

/// The texts of a run.
#[derive(Debug)]
pub(crate) struct Texts {
    train: Corpus,
    /// Text for evaluation other than `train`.
    valid: Option<Corpus>,
    /// Documents at the end of `train` that are for evaluation.
    held_out: usize,
}

impl Texts {
    /// Loads the train split of `dataset`, and for evaluation the file `valid`, or the validation
    /// split. A data set that is a single text is evaluated on the last tenth of its documents,
    /// which are then not trained on; below ten documents it is not evaluated.
    pub(crate) fn load(dataset: &Dataset, valid: Option<&Path>) -> Result<Self, DataError> {
        let places = Places::of_environment();
        let single = !dataset.splits().contains(&Split::Train);
        let load = |dataset: &Dataset, split| Corpus::load_records(dataset, split, &places);
        let train = load(dataset, (!single).then_some(Split::Train))?;
        let valid = match valid {
            Some(path) => Some(load(&Dataset::File(path.to_owned()), None)?),
            None if single => None,
            None => Some(load(dataset, Some(Split::Valid))?),
        };
        let held_out = if valid.is_none() {
            train.n_documents() / HOLD_OUT_ONE_IN
        } else {
            0
        };
        for warning in [&train]
            .into_iter()
            .chain(&valid)
            .flat_map(Corpus::warnings)
        {
            warn(warning);
        }
        Ok(Self {
            train,
            valid,
            held_out,
        })
    }

    /// The documents to learn from.
    pub(crate) fn train_documents(&self) -> impl Iterator<Item = &[u8]> {
        self.train.texts().take(self.n_train())
    }

    /// How often each token of `tokenizer` occurs in the text to learn from, with an end of text for each document,
    /// `[vocab]`.
    pub(crate) fn token_counts(&self, tokenizer: &Tokenizer) -> anyhow::Result<Vec<u64>> {
        let mut counts = vec![0; tokenizer.vocab_size()];
        for text in self.train_documents() {
            let tokens = tokenizer.encode(text);
            for token in tokens.with_context(|| format!("cannot tokenise {}", self.name()))? {
                counts[token as usize] += 1;
            }
            counts[tokenizer.end_of_text() as usize] += 1;
        }
        Ok(counts)
    }

    /// The documents to evaluate on; none if there are too few.
    pub(crate) fn valid_documents(&self) -> impl Iterator<Item = &[u8]> {
        let (corpus, before) = match &self.valid {
            Some(valid) => (valid, 0),
            None => (&self.train, self.n_train()),
        };
        corpus.texts().skip(before)
    }

    fn n_train(&self) -> usize {
        self.train.n_documents() - self.held_out
    }

    /// Takes the text out: of the corpus to learn from, held-out documents last, and of the corpus
    /// for evaluation, if that is another. Names and digests stay.
    pub(crate) fn take(&mut self) -> (Vec<Block>, Option<Vec<Block>>) {
        let valid = self.valid.as_mut().map(Corpus::take_blocks);
        (self.train.take_blocks(), valid)
    }

    /// The name of the data set, or the path as it was given.
    pub(crate) fn name(&self) -> &str {
        &self.train.name
    }

    /// What `valid_documents` are, for people.
    pub(crate) fn valid_label(&self) -> String {
        match &self.valid {
            Some(Corpus {
                name,
                split: Some(split),
                ..
            }) => format!("{name} {split}"),
            Some(Corpus { name, .. }) => name.clone(),
            None => format!(
                "the last {} documents of {}",
                self.held_out, self.train.name
            ),
        }
    }

    /// Offset of the first byte of the training text that is not UTF-8.
    pub(crate) fn first_invalid_utf8(&self) -> Option<u64> {
        self.train.first_invalid_utf8()
    }

    /// Digest of the training text.
    pub(crate) fn train_sha256(&self) -> &str {
        &self.train.sha256
    }

    /// Digest of the text for evaluation, if that is another.
    pub(crate) fn valid_sha256(&self) -> Option<&str> {
        self.valid.as_ref().map(|valid| valid.sha256.as_str())
    }

    /// The texts as a record names them.
    pub(crate) fn sources(&self) -> Vec<DataSource> {
        let source = |corpus: &Corpus| DataSource {
            dataset: corpus.name.clone(),
            split: corpus.split.map_or("all", Split::name).to_owned(),
            sha256: corpus.sha256.clone(),
            verdict: corpus.verdict.to_string(),
            bytes: corpus.file_bytes,
        };
        [&self.train]
            .into_iter()
            .chain(&self.valid)
            .map(source)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_text_is_evaluated_on_its_last_tenth() {
        let texts = Texts::load(&Dataset::SampleTinyStories, None).unwrap();
        let (train, valid) = (
            texts.train_documents().count(),
            texts.valid_documents().count(),
        );
        let all = texts.train.n_documents();
        assert_eq!((train, valid), (all - all / 10, all / 10));
        assert!(valid > 0);
        assert_eq!(
            texts.train_documents().last(),
            texts.train.texts().nth(train - 1)
        );
        assert_eq!(texts.sources().len(), 1);
    }
}
