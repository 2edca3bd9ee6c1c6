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
    let nats: Option<Vec<f64>> = (0..count)
        .into_par_iter()
        .map_init(
            || (model.new_state(), model.new_workspace(), Vec::new()),
            |(state, work, tokens), index| {
                if stop.load(Ordering::Relaxed) {
                    return None;
                }
                tokens.clear();
                tokens.extend(
                    documents
                        .tokens
                        .document(index)
                        .iter()
                        .map(|&id| u32::from(id)),
                );
                state.reset();
                Some(model.score(state, work, end_of_text, tokens).iter().sum())
            },
        )
        .collect();
    // Summed in the order of the documents, so that threads make no difference.
    Some(model::bits_per_byte(nats?.iter().sum(), bytes as f64))
}
