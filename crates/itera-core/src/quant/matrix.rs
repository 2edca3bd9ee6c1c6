//! Rounding a whole tensor, row by row.

use super::{
    Method,
    linalg::Square,
    plan::Item,
    row::{self, Form, Metric, Rounded},
};
use crate::checkpoint::Tensor;

/// Rounds a tensor to integers as `item` says. `hessians` measure the error, one for each equal
/// share of the rows; with none, it is the plain squared error.
pub(super) fn round(tensor: &Tensor, item: &Item, method: Method, hessians: &[Square]) -> Tensor {
    let (cols, group) = (item.cols, item.group);
    let Some(form) = Form::new(item.precision, group) else {
        return tensor.clone();
    };
    let plain = [Square::identity(cols)];
    let hessians = if hessians.is_empty() {
        &plain[..]
    } else {
        hessians
    };
    let share = tensor.len() / hessians.len();
    let values: Vec<f64> = tensor.to_f32().into_iter().map(f64::from).collect();
    let (mut integers, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for (hessian, rows) in hessians.iter().zip(values.chunks(share.max(1))) {
        let rounder = Rounder::new(method, hessian, form);
        for weights in rows.chunks(cols) {
            let rounded = rounder.round(weights, form);
            integers.extend(rounded.integers);
            scales.extend(rounded.scales);
        }
    }
    Tensor::of_integers(
        tensor.shape.clone(),
        item.precision,
        group,
        integers,
        scales,
    )
}

/// A method with what it needs to know about the inputs.
enum Rounder {
    Nearest,
    Search(Vec<f64>),
    Feedback(Metric),
}

impl Rounder {
    fn new(method: Method, hessian: &Square, form: Form) -> Self {
        let moments = || (0..hessian.size).map(|at| hessian.at(at, at)).collect();
        match method {
            Method::Nearest => Self::Nearest,
            Method::Search => Self::Search(moments()),
            // Damping makes every H positive definite; if rounding errors undo that, no feedback.
            Method::Gptq => Metric::new(hessian.clone(), form.group)
                .map_or_else(|| Self::Search(moments()), Self::Feedback),
        }
    }

    fn round(&self, weights: &[f64], form: Form) -> Rounded {
        match self {
            Self::Nearest => row::nearest(weights, form),
            Self::Search(moments) => row::search(weights, moments, form),
            Self::Feedback(metric) => row::feedback(weights, metric, form),
        }
    }
}
