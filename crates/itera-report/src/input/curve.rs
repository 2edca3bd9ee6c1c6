//! The metrics of a training run, from the CSV file beside its record.

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;

use super::files::File;

/// One logged step.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct CurvePoint {
    /// The pass over the text, counted from 0.
    pub(crate) epoch: u64,
    /// Tokens trained on so far.
    pub(crate) tokens: u64,
    pub(crate) train_bits_per_byte: f64,
    pub(crate) valid_bits_per_byte: Option<f64>,
    /// Experts that got no token since the point before.
    pub(crate) dead_experts: u64,
}

/// Reads a curve; the message says what is wrong with it.
pub(super) fn read(path: &Path) -> Result<Vec<CurvePoint>, String> {
    let bytes = File::read(path.to_owned()).bytes?;
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut points = Vec::new();
    let mut seen = BTreeSet::new();
    for row in csv::Reader::from_reader(bytes.as_slice()).deserialize() {
        let point: CurvePoint = row.map_err(|error| error.to_string())?;
        let values = [Some(point.train_bits_per_byte), point.valid_bits_per_byte];
        if !values.iter().flatten().all(|value| value.is_finite()) {
            return Err(format!(
                "a value at {} tokens is not a finite number",
                point.tokens
            ));
        }
        // A run that was resumed repeats the step that it was resumed from.
        if seen.insert(point.tokens) {
            points.push(point);
        }
    }
    points.sort_by_key(|point| point.tokens);
    Ok(points)
}
