//! The text that the rounding is calibrated with: the beginning of the training text.

use std::fmt;

use anyhow::{Context as _, bail, ensure};
use itera_cli::warn;
use itera_core::{models::LoadedCheckpoint, quant::CalibrationSource};
use itera_data::{DataError, Dataset};
use itera_record::DataSource;

use crate::texts::Texts;

/// Documents to calibrate with.
pub(crate) struct Calibration {
    /// Tokens without end-of-text.
    pub(crate) documents: Vec<Vec<u32>>,
    pub(super) source: DataSource,
}

impl Calibration {
    /// The first documents to learn from, up to `limit` tokens; the last one may be cut.
    pub(crate) fn read(
        texts: &Texts,
        source: &LoadedCheckpoint,
        limit: usize,
    ) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        let mut left = limit;
        for text in texts.train_documents() {
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
    let trained_on = source.checkpoint.training["dataset"]
        .as_str()
        .unwrap_or_default();
    let why = match trained_on.parse::<Dataset>() {
        Err(_) => "the checkpoint does not say what it was trained on".to_owned(),
        Ok(dataset) => match Texts::load(&dataset, None) {
            Ok(texts) => return Ok(texts),
            Err(DataError::Missing { .. } | DataError::NoSuchFile { .. }) => {
                format!("{trained_on}, which the checkpoint was trained on, was not found")
            }
            Err(error) => bail!(error),
        },
    };
    warn(format_args!(
        "{why}: using the sample text instead; name the training text with `--dataset` for better \
         rounding"
    ));
    Ok(Texts::load(&Dataset::Sample, None)?)
}
