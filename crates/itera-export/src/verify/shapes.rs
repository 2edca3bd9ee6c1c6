//! Batches and lengths that text alone does not try: random tokens, with the state handed over in the middle.

use anyhow::ensure;
use itera_record::ExportShape;

use super::{compare::differences, reference::Reference};
use crate::{
    file::OnnxFile,
    graph::Kind,
    runtime::{Session, State},
};

/// Sequences that are read at once, and tokens of each.
pub(super) type Shape = (usize, usize);

/// Around the chunk of 32, and as long as a piece should be.
pub(super) const LENGTHS: [usize; 6] = [1, 31, 32, 33, 1000, 4096];

/// The largest batch.
pub(super) const BATCH: usize = 3;

/// The shapes that a runtime is tried with. tract prepares a graph anew for each, which takes it long, and reads no
/// batch with a step graph whose layers are stacked: it takes the batch for the axis of the scan.
pub(super) fn shapes(file: &OnnxFile, runtime: &str) -> Vec<Shape> {
    match (file.kind, runtime) {
        (Kind::Step, "tract") if file.is_stacked => vec![(1, 33)],
        (Kind::Step, _) => vec![(1, 33), (BATCH, 33)],
        (Kind::Sequence, "tract") => vec![(1, 1000), (BATCH, 33)],
        (Kind::Sequence, _) => [1, BATCH]
            .into_iter()
            .flat_map(|batch| LENGTHS.map(|tokens| (batch, tokens)))
            .collect(),
    }
}

/// Reads random tokens in these shapes, the first half and then the second, and compares the last logits.
///
/// # Errors
/// What the runtime says.
pub(super) fn check(
    session: &mut dyn Session,
    file: &OnnxFile,
    reference: &Reference,
    shapes: &[Shape],
) -> anyhow::Result<Vec<ExportShape>> {
    let vocab_size = file.config.vocab_size;
    let mut checked = Vec::new();
    for &(batch, tokens) in shapes {
        let sequences = &reference.random[..batch];
        let piece = match file.kind {
            Kind::Step => 1,
            Kind::Sequence => tokens.div_ceil(2),
        };
        let mut state = State::new(&file.config, batch);
        let (mut read, mut logits) = (0, Vec::new());
        while read < tokens {
            let len = piece.min(tokens - read);
            let next: Vec<u32> = sequences
                .iter()
                .flat_map(|sequence| &sequence.tokens[read..read + len])
                .copied()
                .collect();
            logits = session.run(&next, batch, &mut state)?;
            let expected = batch * len * vocab_size;
            ensure!(
                logits.len() == expected,
                "{} logits came out for {batch} sequences of {len} tokens, expected {expected}",
                logits.len()
            );
            read += len;
        }
        let rows = logits.chunks_exact(logits.len() / batch);
        let worst = rows.zip(sequences).map(|(row, sequence)| {
            let last = &row[row.len() - vocab_size..];
            differences(last, &sequence.logits[&tokens]).1
        });
        checked.push(ExportShape {
            batch: batch as u64,
            tokens: tokens as u64,
            max_relative_difference: worst.fold(0.0, f64::max),
        });
    }
    Ok(checked)
}
