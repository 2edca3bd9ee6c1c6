//! The text that the rounding is calibrated with: the beginning of the training text.

use std::{
    fmt,
    fs::{self, Metadata},
};

use anyhow::{Context as _, ensure};
use itera_cli::warn;
use itera_core::{models::LoadedCheckpoint, quant::CalibrationSource};
use itera_data::{DataError, Dataset};
use itera_record::DataSource;

use crate::texts::Texts;

/// Bytes of a file that is read because a checkpoint names it, at most. One that `--dataset` names may be
/// larger.
const MAX_OWN_BYTES: u64 = 1 << 30;

/// Documents to calibrate with.
pub(crate) struct Calibration {
    /// Tokens without end-of-text.
    pub(crate) documents: Vec<Vec<u32>>,
    pub(super) source: DataSource,
}

impl Calibration {
    /// The first documents to learn from, up to `limit` tokens and this share of all documents but one
    /// at least; the last one may be cut.
    pub(crate) fn read(
        texts: &Texts,
        source: &LoadedCheckpoint,
        limit: usize,
        share: f64,
    ) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        let mut left = limit;
        let most = (share * texts.train_documents().count() as f64).ceil() as usize;
        for text in texts.train_documents().take(most) {
            if left == 0 {
                break;
            }
            let tokens = source.checkpoint.tokenizer.encode(text);
            let mut tokens = tokens.with_context(|| {
                format!("cannot tokenise {}; give another `--dataset`", texts.name())
            })?;
            tokens.truncate(left);
            left -= tokens.len();
            documents.push(tokens);
        }
        ensure!(
            left < limit,
            "{} has no text to calibrate with; give another `--dataset`",
            texts.name()
        );
        let source = texts
            .sources()
            .into_iter()
            .next()
            .context("a text has a source")?;
        Ok(Self { documents, source })
    }

    pub(super) fn tokens(&self) -> usize {
        self.documents.iter().map(Vec::len).sum()
    }

    /// What the checkpoint says about it.
    pub(super) fn provenance(&self) -> CalibrationSource {
        CalibrationSource {
            dataset: self.source.dataset.clone(),
            sha256: self.source.sha256.clone(),
            tokens: self.tokens(),
        }
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the first {} tokens of {}",
            self.tokens(),
            self.source.dataset
        )?;
        match self.source.split.as_str() {
            "all" => Ok(()),
            split => write!(f, " {split}"),
        }
    }
}

/// The text to calibrate and validate with: the one that is named, or the one that the checkpoint
/// was trained on, or the sample if that is not there.
pub(crate) fn texts(dataset: Option<&Dataset>, source: &LoadedCheckpoint) -> anyhow::Result<Texts> {
    if let Some(dataset) = dataset {
        return Ok(Texts::load(dataset, None)?);
    }
    let why = match own_texts(source)? {
        Ok(texts) => return Ok(texts),
        Err(why) => why,
    };
    warn(format_args!(
        "{why}: using the sample text instead; name the training text with `--dataset` for better \
         rounding"
    ));
    Ok(Texts::load(&Dataset::Sample, None)?)
}

/// The text that a checkpoint was trained on, or why it is not used. A checkpoint may come from anybody, so
/// it names no file to be read but one that holds the very text it was trained on.
fn own_texts(source: &LoadedCheckpoint) -> anyhow::Result<Result<Texts, String>> {
    let training = &source.checkpoint.training;
    let name = training["dataset"].as_str().unwrap_or_default();
    let Ok(dataset) = name.parse::<Dataset>() else {
        return Ok(Err(
            "the checkpoint does not say what it was trained on".to_owned()
        ));
    };
    if let Dataset::File(path) = &dataset {
        let is_small_file = |file: Metadata| file.is_file() && file.len() <= MAX_OWN_BYTES;
        if !fs::metadata(path).is_ok_and(is_small_file) {
            return Ok(Err(format!(
                "{name}, which the checkpoint was trained on, is not a file of at most {MAX_OWN_BYTES} bytes here"
            )));
        }
    }
    match Texts::load(&dataset, None) {
        Err(DataError::Missing { .. } | DataError::NoSuchFile { .. }) => Ok(Err(format!(
            "{name}, which the checkpoint was trained on, was not found"
        ))),
        Ok(texts)
            if matches!(dataset, Dataset::File(_))
                && training["train_sha256"] != texts.train_sha256() =>
        {
            Ok(Err(format!(
                "{name} is not the text that the checkpoint was trained on"
            )))
        }
        loaded => Ok(Ok(loaded?)),
    }
}
