//! Bits per byte of documents, by the native model and the protocol `document`: each starts from a
//! fresh state after an end-of-text token, and all its bytes count.

use std::sync::atomic::{AtomicBool, Ordering};

use itera_core::model::{self, Model};
use rayon::prelude::*;

use super::data::Documents;

/// Bits per byte of the first `count` documents; the same for any number of threads. None without
/// a byte, or if `stop` is set meanwhile.
pub(crate) fn bits_per_byte(
    model: &Model,
    end_of_text: u32,
    documents: &Documents,
    count: usize,
    stop: &AtomicBool,
) -> Option<f64> {
    let bytes: usize = documents.bytes[..count].iter().sum();
    if bytes == 0 {
        return None;
    }
    let nats: Option<Vec<Vec<f64>>> = (0..count)
        .into_par_iter()
        .map_init(
            || model.scorer(end_of_text),
            |scorer, index| {
                let tokens = documents.tokens.document(index).iter();
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
