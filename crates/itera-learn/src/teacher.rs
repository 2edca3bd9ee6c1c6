//! Teachers: trained models whose predictions are learnt from beside the text, distillation (Hinton et al.
//! 2015, at temperature 1).
//!
//! A run reads a text many times and its teachers say the same each time. So they read it once before, by
//! the native engine, and [`Predictions`] keep what they said.

use itera_core::model::{Model, Sequence, State, Workspace};
use itera_data::TokenSet;
use rayon::prelude::*;

use crate::{
    fused::add_softmax,
    predictions::{Likely, Predictions, draw, keep},
};

/// Tokens that are read together, so that a long document needs no more memory than a short one.
const PIECE: usize = 256;

/// What `teachers` predict at every position of `documents` ([`TokenSet::position`]), each document being
/// read from a fresh state behind `end_of_text`, which is also what its last prediction is for. Of several
/// teachers it is the mean of their probabilities. Runs on all threads of rayon; `progress` is told how
/// many positions more are done.
///
/// # Panics
/// If there is no teacher, their vocabularies differ in size, or a token is not in the teachers' vocabulary.
pub fn predict(
    teachers: &[Model],
    documents: &TokenSet,
    end_of_text: u32,
    progress: impl Fn(usize) + Sync,
) -> Predictions {
    let vocab_size = teachers[0].config().vocab_size;
    let mut predictions = Predictions::new(documents.positions(), vocab_size);
    let kept = predictions.kept();
    let mut entries = predictions.entries_mut();
    let mut position = 0;
    let parts = documents.iter().map(|document| {
        let rows = entries.split_off_mut(..(document.len() + 1) * kept);
        let rows = rows.expect("there is room for all positions");
        let first = position;
        position += document.len() + 1;
        (document, first, rows)
    });
    let parts: Vec<_> = parts.collect();
    parts.into_par_iter().for_each_init(
        || Reader::new(teachers, end_of_text),
        |reader, (document, first, rows)| {
            reader.read(document, first, rows);
            progress(document.len() + 1);
        },
    );
    predictions
}

/// The teachers as a thread reads with them.
struct Reader<'m> {
    teachers: Vec<(&'m Model, State, Workspace)>,
    end_of_text: u32,
    vocab_size: usize,
    probabilities: Vec<f32>, // [PIECE, vocab_size]
    scratch: Vec<f32>,       // [vocab_size]
}

impl<'m> Reader<'m> {
    fn new(teachers: &'m [Model], end_of_text: u32) -> Self {
        let vocab_size = teachers[0].config().vocab_size;
        let parts = |model: &'m Model| {
            assert_eq!(model.config().vocab_size, vocab_size, "vocabularies differ");
            (model, model.new_state(), model.new_workspace())
        };
        Self {
            teachers: teachers.iter().map(parts).collect(),
            end_of_text,
            vocab_size,
            probabilities: vec![0.0; PIECE * vocab_size],
            scratch: vec![0.0; vocab_size],
        }
    }

    /// Fills `rows`, `[document + 1, kept]`, of the positions from `first` on.
    fn read(&mut self, document: &[u16], first: usize, rows: &mut [Likely]) {
        let tokens = document.iter().map(|&id| u32::from(id));
        let targets: Vec<u32> = tokens.chain([self.end_of_text]).collect();
        let kept = rows.len() / targets.len();
        for (_, state, _) in &mut self.teachers {
            state.reset();
        }
        let mut context = self.end_of_text;
        let mut positions = first..;
        for (targets, rows) in targets.chunks(PIECE).zip(rows.chunks_mut(PIECE * kept)) {
            self.piece(context, targets);
            let rows = rows.chunks_exact_mut(kept);
            let probabilities = self.probabilities.chunks_mut(self.vocab_size);
            for ((row, probabilities), position) in rows.zip(probabilities).zip(&mut positions) {
                keep(probabilities, draw(position), row);
            }
            context = targets[targets.len() - 1];
        }
    }

    /// The mean probabilities of what comes at each of `targets`, after `context` and all before it.
    fn piece(&mut self, context: u32, targets: &[u32]) {
        self.probabilities.fill(0.0);
        let weight = 1.0 / self.teachers.len() as f32;
        for (model, state, work) in &mut self.teachers {
            let mut means = self.probabilities.chunks_exact_mut(self.vocab_size);
            let sequence = Sequence::predicting(targets, context, state);
            model.predict_batch(&mut [sequence], work, &mut |_, _, logits| {
                if let Some(mean) = means.next() {
                    add_softmax(logits, weight, &mut self.scratch, mean);
                }
            });
        }
    }
}
