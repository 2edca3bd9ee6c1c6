//! The texts that the options ask for: to calibrate with, to compare tensors on, to measure the whole on.

use itera_core::{
    checkpoint::Checkpoint,
    models::LoadedCheckpoint,
    quant::{Method, Provenance},
};

use super::{
    calibration::{self, Calibration},
    cost::{self, Cost, Text},
};
use crate::{args::QuantizeArgs, texts::Texts};

/// What the options ask to be read.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) texts: Option<Texts>,
    /// What the cost of the whole is measured on.
    pub(super) held_out: Option<Text>,
    pub(super) calibration: Option<Calibration>,
}

impl Inputs {
    pub(super) fn read(args: &QuantizeArgs, source: &LoadedCheckpoint) -> anyhow::Result<Self> {
        let calibrates = args.method != Method::Nearest && args.calibration_tokens > 0;
        if !(calibrates || args.validate || compares_tensors(args)) {
            return Ok(Self::default());
        }
        let texts = calibration::texts(args.dataset.as_ref(), source)?;
        let held_out = || Text::held_out(&texts, source, args.validate_tokens);
        let held_out = args.validate.then(held_out).transpose()?;
        // Tensors are compared on the rest of the text.
        let share = if compares_tensors(args) { 0.5 } else { 1.0 };
        let calibration = || Calibration::read(&texts, source, args.calibration_tokens, share);
        let calibration = calibrates.then(calibration).transpose()?;
        Ok(Self {
            texts: Some(texts),
            held_out,
            calibration,
        })
    }

    /// The text that tensors are compared on, if they are.
    pub(super) fn after_calibration(
        &self,
        args: &QuantizeArgs,
        source: &LoadedCheckpoint,
    ) -> anyhow::Result<Option<Text>> {
        let texts = self.texts.as_ref().filter(|_| compares_tensors(args));
        let read = |texts: &Texts| {
            let calibration = self.calibration.as_ref();
            let calibrated = calibration.map_or(0, |calibration| calibration.documents.len());
            Text::read(
                texts.train_documents().skip(calibrated),
                &source.checkpoint.tokenizer,
                args.validate_tokens,
                &format!("{} after the calibration text", texts.name()),
            )
        };
        texts.map(read).transpose()
    }

    /// What the file will say of how it was made.
    pub(super) fn provenance(
        &self,
        args: &QuantizeArgs,
        [of, source]: [&LoadedCheckpoint; 2],
    ) -> Provenance {
        Provenance {
            source_sha256: of.file_sha256.clone(),
            tuned_sha256: args.of.is_some().then(|| source.file_sha256.clone()),
            method: args.method,
            calibration: self.calibration.as_ref().map(Calibration::provenance),
        }
    }

    /// What quantisation costs, if that is to be measured.
    pub(super) fn cost(
        &self,
        checkpoints: [&LoadedCheckpoint; 2],
        quantised: &Checkpoint,
    ) -> anyhow::Result<Option<Cost>> {
        let (Some(texts), Some(text)) = (&self.texts, &self.held_out) else {
            return Ok(None);
        };
        cost::measure(texts, text, checkpoints, quantised).map(Some)
    }
}

/// Whether text decides how each tensor is stored.
fn compares_tensors(args: &QuantizeArgs) -> bool {
    args.mixed || args.bytes.is_some()
}
