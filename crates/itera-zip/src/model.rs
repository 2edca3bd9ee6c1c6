//! The model that compresses, and the one that restores.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use itera_cli::warn;
use itera_core::{
    checkpoint::Precision,
    kernels::Kernel,
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
    /// The model to compress with, on the fastest kernel.
    pub(crate) fn new(name: &str, precision: Precision) -> anyhow::Result<Self> {
        let checkpoint = load_at_precision(name, precision)?;
        checkpoint.caveat().iter().for_each(warn);
        Self::on_kernel(checkpoint, Kernel::best())
    }

    pub(crate) fn on_kernel(checkpoint: LoadedCheckpoint, kernel: Kernel) -> anyhow::Result<Self> {
        let model = Model::with_kernel(&checkpoint.checkpoint, kernel)
            .with_context(|| format!("cannot run the checkpoint {}", checkpoint.name))?;
        let codec = Codec {
            model,
            tokenizer: checkpoint.checkpoint.tokenizer.clone(),
        };
        let header = Header::new(&checkpoint, codec.arithmetic());
        Ok(Self {
            codec,
            header,
            checkpoint,
        })
    }

    /// The model of a header, or the one that is given in its place, on a kernel that predicts as the one that compressed.
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
        for kernel in Kernel::available() {
            let loaded = Self::on_kernel(checkpoint.clone(), kernel)?;
            if loaded.header.arithmetic == header.arithmetic {
                return Ok(loaded);
            }
        }
        bail!(
            "the processor that compressed it rounds as no kernel of this one does; restore it on one with AVX2, AVX-512 \
             or NEON"
        )
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
    fn restoring_takes_a_kernel_that_rounds_as_the_one_that_compressed() {
        for kernel in Kernel::available() {
            let header = Loaded::on_kernel(built_in().unwrap(), kernel)
                .unwrap()
                .header;
            let found = Loaded::of_header(&header, None).unwrap();
            assert_eq!(found.header, header);
            let scalar = Kernel::scalar();
            assert_eq!(found.codec.model.kernel() == scalar, kernel == scalar);
        }
    }

    #[test]
    fn other_models_and_processors_are_refused() {
        let header = Loaded::on_kernel(built_in().unwrap(), Kernel::best())
            .unwrap()
            .header;
        let refusal =
            |header: &Header| format!("{:#}", Loaded::of_header(header, None).unwrap_err());
        let mut other = header.clone();
        other.digest[0] ^= 1;
        assert!(
            refusal(&other).contains("micro-tinystories is another model"),
            "{}",
            refusal(&other)
        );
        let mut other = header;
        let known = Kernel::available().into_iter().map(|kernel| {
            Loaded::on_kernel(built_in().unwrap(), kernel)
                .unwrap()
                .header
                .arithmetic
        });
        let known: Vec<u8> = known.collect();
        other.arithmetic = (0..=u8::MAX)
            .find(|number| !known.contains(number))
            .unwrap();
        assert!(
            refusal(&other).contains("rounds as no kernel"),
            "{}",
            refusal(&other)
        );
    }
}
