//! The measure of each matrix's error: `H = sum x x^T` over the inputs of calibration
//! text, as the layers before give them.

use super::{QuantError, plan::PlannedTensor};
use crate::{
    calibration::{HeadMoments, InputMoments, Square},
    checkpoint::Checkpoint,
    model::{Model, observe::Site},
};

/// Added to the diagonal of `H`, as a share of its mean: the calibration text is a sample.
const DAMPING: f64 = 0.01;

/// The same for the rows of the embedding, whose errors also enter at the bottom of the model, where
/// no direction is known to matter more than another.
const EMBEDDING_DAMPING: f64 = 0.1;

/// Share of the mean over the vocabulary in the `H` of an entry, for entries that are rare.
const COMMON: f64 = 0.1;

/// Damped `H` for each item of a stage: one for each equal share of its rows, positive definite.
pub(super) fn hessians(
    checkpoint: &Checkpoint,
    stage: &[PlannedTensor],
    documents: &[Vec<u32>],
) -> Result<Vec<Vec<Square>>, QuantError> {
    let model = Model::from_checkpoint(checkpoint)?;
    let end_of_text = checkpoint.tokenizer.end_of_text();
    if stage.iter().any(|item| item.sites == [Site::Head]) {
        let config = &checkpoint.config;
        let mut moments = HeadMoments::new(config.vocab_size, config.d_model);
        model.observe(documents, end_of_text, true, &mut moments);
        return Ok(vec![for_embedding(moments.into_rows()?)]);
    }
    let sites = stage
        .iter()
        .flat_map(|item| item.sites.iter().map(|site| (*site, item.cols)));
    let mut moments = InputMoments::of(sites);
    model.observe(documents, end_of_text, false, &mut moments);
    let mut sums = moments.into_sums()?;
    let item_hessians = |item: &PlannedTensor| {
        let sums = item.sites.iter().map(|site| {
            sums.remove(site)
                .unwrap_or_else(|| Square::zeros(item.cols))
        });
        sums.map(|sum| damped(sum, DAMPING)).collect()
    };
    Ok(stage.iter().map(item_hessians).collect())
}

/// Each entry's own moments and a share of everyone's.
fn for_embedding(rows: Vec<Square>) -> Vec<Square> {
    let mut common = Square::zeros(rows.first().map_or(0, |row| row.size));
    for row in &rows {
        for (sum, value) in common.values.iter_mut().zip(&row.values) {
            *sum += value;
        }
    }
    let common = scaled(common);
    let mixed = rows.into_iter().map(|row| {
        let mut row = scaled(row);
        for (value, common) in row.values.iter_mut().zip(&common.values) {
            *value += COMMON * common;
        }
        damped(row, EMBEDDING_DAMPING)
    });
    mixed.collect()
}

/// Divided by the mean of the diagonal, if that is not zero.
fn scaled(mut matrix: Square) -> Square {
    let mean = matrix.mean_of_diagonal();
    if mean > 0.0 {
        matrix.values.iter_mut().for_each(|value| *value /= mean);
    }
    matrix
}

/// With the damping added. Where nothing was seen, for example by an expert that no token chose,
/// the identity.
fn damped(matrix: Square, damping: f64) -> Square {
    let mut matrix = scaled(matrix);
    let unseen = matrix.mean_of_diagonal() == 0.0;
    matrix.add_to_diagonal(if unseen { 1.0 } else { damping });
    matrix
}
