//! Rounding a whole tensor, row by row.

use super::{
    Method,
    feedback::{self, Metric},
    plan::PlannedTensor,
    search::search,
};
use crate::{
    calibration::Square,
    checkpoint::{
        Tensor,
        rounding::{Rounded, RowFormat},
    },
};

/// Rounds a tensor to integers as `item` says. `hessians` measure the error, one for each equal
/// share of the rows; with none, it is the plain squared error.
pub(super) fn round(
    tensor: &Tensor,
    item: &PlannedTensor,
    method: Method,
    hessians: &[Square],
) -> Tensor {
    let (cols, group) = (item.cols, item.group);
    let Some(format) = item.format() else {
        return tensor.clone();
    };
    let values: Vec<f64> = tensor.to_f32().into_iter().map(f64::from).collect();
    if item.step_size.is_some() {
        let scale = item.scale(&values, format);
        let mut rounded = Rounded::with_scales(&values, format, |_, _| scale);
        rounded.scales = vec![scale; values.len() / group];
        return Tensor::of_integers(tensor.shape.clone(), item.precision, group, rounded);
    }
    let plain = [Square::identity(cols)];
    let hessians = if hessians.is_empty() {
        &plain[..]
    } else {
        hessians
    };
    let share = tensor.len() / hessians.len();
    let mut all = Rounded::default();
    for (hessian, rows) in hessians.iter().zip(values.chunks(share.max(1))) {
        let rounder = Rounder::new(method, hessian, format);
        for weights in rows.chunks(cols) {
            let rounded = rounder.round(weights, format);
            all.integers.extend(rounded.integers);
            all.scales.extend(rounded.scales);
        }
    }
    Tensor::of_integers(tensor.shape.clone(), item.precision, group, all)
}

/// A method with its statistics of the inputs.
enum Rounder {
    Nearest,
    Search(Vec<f64>),
    Feedback(Metric),
}

impl Rounder {
    fn new(method: Method, hessian: &Square, format: RowFormat) -> Self {
        let moments = || (0..hessian.size).map(|at| hessian.at(at, at)).collect();
        match method {
            Method::Nearest => Self::Nearest,
            Method::Search => Self::Search(moments()),
            // Damping makes every H positive definite; if rounding errors undo that, no feedback.
            Method::Gptq => Metric::new(hessian.clone(), format.group)
                .map_or_else(|| Self::Search(moments()), Self::Feedback),
        }
    }

    fn round(&self, weights: &[f64], format: RowFormat) -> Rounded {
        match self {
            Self::Nearest => Rounded::nearest(weights, format),
            Self::Search(moments) => search(weights, moments, format),
            Self::Feedback(metric) => feedback::feedback(weights, metric, format),
        }
    }
}
