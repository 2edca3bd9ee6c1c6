//! The model that compresses, and the one that restores.

use std::path::Path;

use anyhow::{Context as _, ensure};
use itera_cli::warn;
use itera_core::{
    checkpoint::Precision,
    model::Model,
    models::{LoadedCheckpoint, load_at_precision},
};

use crate::{codec::Codec, header::Header};

/// A model, ready to compress or restore.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) codec: Codec,
    pub(crate) header: Header,
    pub(crate) checkpoint: LoadedCheckpoint,
}

impl Loaded {
    /// The model to compress with.
    ///
    /// # Errors
    /// There is no such model, or it has no integers: floats are rounded otherwise on other machines.
    pub(crate) fn new(name: &str, precision: Precision) -> anyhow::Result<Self> {
        ensure!(
            precision.max_integer().is_some(),
            "at {precision} other processors may predict otherwise, so that they could not restore the text; give \
             `--precision int8` or `int4`"
        );
        let checkpoint = load_at_precision(name, precision)?;
        checkpoint.caveat().iter().for_each(warn);
        Self::of_checkpoint(checkpoint)
    }

    pub(crate) fn of_checkpoint(checkpoint: LoadedCheckpoint) -> anyhow::Result<Self> {
        let model = Model::from_checkpoint(&checkpoint.checkpoint)
            .with_context(|| format!("cannot run the checkpoint {}", checkpoint.name))?;
        let codec = Codec {
            model,
            tokenizer: checkpoint.checkpoint.tokenizer.clone(),
        };
        Ok(Self {
            codec,
            header: Header::new(&checkpoint),
            checkpoint,
        })
    }

    /// The model of a header, or the one that is given in its place, which predicts as the one that compressed.
    pub(crate) fn of_header(header: &Header, given: Option<&str>) -> anyhow::Result<Self> {
        let Header {
            model, precision, ..
        } = header;
        // A file of this name in the current folder is not meant.
        let is_file = given.is_none() && Path::new(model).exists();
        ensure!(
            !is_file,
            "its model is called {model}, and so is a file here; give the checkpoint with `--checkpoint`"
        );
        let checkpoint =
            load_at_precision(given.unwrap_or(model), *precision).with_context(|| {
                format!(
                    "it was compressed with {model} at {precision}; give that with `--checkpoint`"
                )
            })?;
        ensure!(
            header.is_of(&checkpoint),
            "it was compressed with {model} at {precision}, whose digest begins with {}, and {} is another model \
             ({}); give the right one with `--checkpoint`",
            digits(header.digest),
            checkpoint.name,
            &checkpoint.file_sha256[..6]
        );
        Self::of_checkpoint(checkpoint)
    }
}

fn digits([a, b, c]: [u8; 3]) -> String {
    format!("{a:02x}{b:02x}{c:02x}")
}

#[cfg(test)]
mod tests {
    use itera_core::models::built_in;

    use super::*;

    #[test]
    fn other_models_are_refused() {
        let mut header = Loaded::of_checkpoint(built_in().unwrap()).unwrap().header;
        assert!(Loaded::of_header(&header, None).is_ok());
        header.digest[0] ^= 1;
        let refusal = format!("{:#}", Loaded::of_header(&header, None).unwrap_err());
        assert!(
            refusal.contains("micro-tinystories is another model"),
            "{refusal}"
        );
    }
}
