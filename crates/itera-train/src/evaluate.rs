//! Documents to evaluate on, and their bits per byte by the native model and the protocol `document`: each starts
//! from a fresh state after an end-of-text token, and all its bytes count.

use std::sync::atomic::{AtomicBool, Ordering};

use itera_core::model::{self, Model};
use itera_data::TokenSet;
use rayon::prelude::*;

/// Documents to evaluate on.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) tokens: TokenSet,
    /// Bytes of each document.
    pub(crate) bytes: Vec<usize>,
}

impl Documents {
    /// Bits per byte of the first `count` documents; the same for any number of threads. None without
    /// a byte, or if `stop` is set meanwhile.
    pub(crate) fn bits_per_byte(
        &self,
        model: &Model,
        end_of_text: u32,
        count: usize,
        stop: &AtomicBool,
    ) -> Option<f64> {
        let bytes: usize = self.bytes[..count].iter().sum();
        if bytes == 0 {
            return None;
        }
        let nats: Option<Vec<Vec<f64>>> = (0..count)
            .into_par_iter()
            .map_init(
                || model.scorer(end_of_text),
                |scorer, index| {
                    let tokens = self.tokens.document(index).iter();
                    let tokens: Vec<u32> = tokens.map(|&id| id.into()).collect();
                    let stopped = stop.load(Ordering::Relaxed);
                    (!stopped).then(|| scorer.documents(&[&tokens]))
                },
            )
            .collect();
        // Summed in the order of the documents, so that threads make no difference.
        Some(model::bits_per_byte(
            nats?.iter().flatten().sum(),
            bytes as f64,
        ))
    }
}
