//! Rounding a whole tensor, row by row.

use half::f16;

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
    let whole_row = RowFormat {
        group: cols,
        ..format
    };
    let row_format = if item.steps.is_empty() {
        format
    } else {
        whole_row
    };
    let plain = [Square::identity(cols)];
    let hessians = if hessians.is_empty() {
        &plain[..]
    } else {
        hessians
    };
    let share = tensor.len() / hessians.len();
    let mut all = Rounded::default();
    let mut row = 0;
    for (hessian, rows) in hessians.iter().zip(values.chunks(share.max(1))) {
        let rounder = Rounder::new(method, hessian, row_format);
        for weights in rows.chunks(cols) {
            let rounded = rounder.round(weights, item.step(row), row_format);
            all.integers.extend(rounded.integers);
            // A step of the whole row is the scale of each of its groups.
            let repeat = row_format.group / group;
            let scales = rounded.scales.into_iter();
            all.scales
                .extend(scales.flat_map(|scale| std::iter::repeat_n(scale, repeat)));
            row += 1;
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

    /// Rounds a row; a scale that is given is that of all its weights, which `format` says too.
    fn round(&self, weights: &[f64], scale: Option<f16>, format: RowFormat) -> Rounded {
        match (self, scale) {
            (Self::Feedback(metric), Some(scale)) => {
                feedback::at_scale(weights, metric, scale, format)
            }
            (_, Some(scale)) => Rounded::with_scales(weights, format, |_, _| scale),
            (Self::Nearest, None) => Rounded::nearest(weights, format),
            (Self::Search(moments), None) => search(weights, moments, format),
            (Self::Feedback(metric), None) => feedback::feedback(weights, metric, format),
        }
    }
}
