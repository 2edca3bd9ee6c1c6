//! Bits per byte of documents, by the native model and the protocol `document`: each starts from a
//! fresh state after an end-of-text token, and all its bytes count.

use std::sync::atomic::{AtomicBool, Ordering};

use itera_core::model::{self, Model};
use rayon::prelude::*;

use super::data::Document;

/// Bits per byte of `documents`; the same for any number of threads. None without documents, or if
/// `stop` is set meanwhile.
pub(crate) fn bits_per_byte(
    model: &Model,
    end_of_text: u32,
    documents: &[Document],
    stop: &AtomicBool,
) -> Option<f64> {
    let bytes: usize = documents.iter().map(|document| document.bytes).sum();
    if bytes == 0 {
        return None;
    }
    let nats: Option<Vec<Vec<f64>>> = documents
        .par_iter()
        .map_init(
            || model.scorer(end_of_text),
            |scorer, document| {
                let stopped = stop.load(Ordering::Relaxed);
                (!stopped).then(|| scorer.documents(&[&document.tokens]))
            },
        )
        .collect();
    // Summed in the order of the documents, so that threads make no difference.
    let nats = nats?.iter().flatten().sum();
    Some(model::bits_per_byte(nats, bytes as f64))
}
