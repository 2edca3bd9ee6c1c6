//! Rounding a row with error feedback.
//!
//! The error of a row `w` of inputs `x` is `sum_x ((q s - w) x)^2 = e^T H e` with `e = q s - w` and
//! `H = sum_x x x^T`. Plain squared error is the case `H = I`.

use half::f16;

use super::{
    descent::Descent,
    search::{candidates, search},
};
use crate::{
    calibration::Square,
    checkpoint::rounding::{Rounded, RowFormat, wide},
};

/// The measure of a row's error, prepared once for all rows of a matrix.
#[derive(Clone, Debug)]
pub(super) struct Metric {
    /// `H`, damped: `[cols, cols]`.
    pub(super) hessian: Square,
    /// Columns in the order of rounding, group by group.
    order: Vec<usize>,
    /// Upper factor `U` of `H^-1 = U^T U`, in that order.
    feedback: Square,
}

impl Metric {
    /// Prepares a damped, positive definite `H` for rows in groups of `group`: the groups with the
    /// largest second moments come first, and so within a group, since what is rounded late compensates
    /// the errors of what is rounded early. `None` if it is not positive definite.
    pub(super) fn new(hessian: Square, group: usize) -> Option<Self> {
        let diagonal = |column: &usize| hessian.at(*column, *column);
        let mut groups: Vec<Vec<usize>> = (0..hessian.size)
            .collect::<Vec<_>>()
            .chunks(group)
            .map(<[usize]>::to_vec)
            .collect();
        for columns in &mut groups {
            columns.sort_by(|a, b| diagonal(b).total_cmp(&diagonal(a)));
        }
        let moment = |columns: &Vec<usize>| columns.iter().map(diagonal).sum::<f64>();
        groups.sort_by(|a, b| moment(b).total_cmp(&moment(a)));
        let order = groups.concat();
        // H^-1 = U^T U with U upper: U^T is the lower factor of the inverse.
        let lower = hessian.permuted(&order).inverse()?.cholesky()?;
        let mut feedback = Square::zeros(lower.size);
        for i in 0..lower.size {
            for j in 0..=i {
                feedback.values[j * lower.size + i] = lower.at(i, j);
            }
        }
        Some(Self {
            hessian,
            order,
            feedback,
        })
    }

    /// `e^T H e` of a rounded row.
    pub(super) fn error(&self, weights: &[f64], rounded: &Rounded, format: RowFormat) -> f64 {
        let difference: Vec<f64> = rounded
            .values(format.group)
            .zip(weights)
            .map(|(value, weight)| value - weight)
            .collect();
        self.hessian.quadratic(&difference)
    }
}

/// With error feedback (GPTQ, Frantar et al. 2022, algorithm 1): the weights of the row that are not
/// rounded yet compensate the error of rounding a weight. The scale of a group is chosen when the
/// group is reached, by the error that it leaves. Then integers and scales descend, one by one and in
/// pairs, until no move lessens the error; they also descend from the searched scales, and the result
/// with the lower error is kept. The error is never above that of [`Rounded::nearest`].
pub(super) fn feedback(weights: &[f64], metric: &Metric, format: RowFormat) -> Rounded {
    let moments: Vec<f64> = (0..weights.len())
        .map(|at| metric.hessian.at(at, at))
        .collect();
    let mut best = Rounded::nearest(weights, format);
    let mut least = metric.error(weights, &best, format);
    let pass = with_feedback(weights, metric, format, |rest| candidates(rest, format));
    for start in [pass, search(weights, &moments, format)] {
        let mut descent = Descent::new(weights, &metric.hessian, format, start);
        descent.run();
        let error = metric.error(weights, &descent.rounded, format);
        if error < least {
            (least, best) = (error, descent.rounded);
        }
    }
    best
}

/// The same for a row that is one group with a given scale.
pub(super) fn at_scale(weights: &[f64], metric: &Metric, scale: f16, format: RowFormat) -> Rounded {
    let nearest = Rounded::with_scales(weights, format, |_, _| scale);
    let least = metric.error(weights, &nearest, format);
    let pass = with_feedback(weights, metric, format, |_| vec![scale]);
    let mut descent = Descent::new(weights, &metric.hessian, format, pass);
    descent.settle(least);
    if metric.error(weights, &descent.rounded, format) < least {
        descent.rounded
    } else {
        nearest
    }
}

/// Only the pass with feedback; `scales` gives those to try for the weights of a group.
fn with_feedback(
    weights: &[f64],
    metric: &Metric,
    format: RowFormat,
    scales: impl Fn(&[f64]) -> Vec<f16>,
) -> Rounded {
    let (order, upper) = (&metric.order, &metric.feedback);
    let mut rest: Vec<f64> = order.iter().map(|&column| weights[column]).collect();
    let mut integers = vec![0; weights.len()];
    let mut chosen_scales = vec![f16::ZERO; weights.len() / format.group];
    let mut trial = vec![0.0; format.group];
    let mut chosen = vec![0; format.group];
    for begin in (0..weights.len()).step_by(format.group) {
        let end = begin + format.group;
        let mut best = (f64::INFINITY, f16::ZERO);
        for scale in scales(&rest[begin..end]) {
            trial.copy_from_slice(&rest[begin..end]);
            let error = round_group(&mut trial, &mut chosen, upper, begin, scale, format);
            if error < best.0 {
                best = (error, scale);
            }
        }
        // The same once more with the best scale, now with the feedback to all later columns.
        round_group(
            &mut rest[begin..],
            &mut chosen,
            upper,
            begin,
            best.1,
            format,
        );
        for (column, q) in order[begin..end].iter().zip(&chosen) {
            integers[*column] = *q;
        }
        chosen_scales[order[begin] / format.group] = best.1;
    }
    Rounded {
        integers,
        scales: chosen_scales,
    }
}

/// Rounds the group of columns from `begin` on, in the order of rounding. `rest`: the remaining
/// weights, of the group at least, updated in place by the error feedback. Returns the error that the
/// group leaves, if all later columns do their best without being rounded.
fn round_group(
    rest: &mut [f64],
    integers: &mut [i8],
    upper: &Square,
    begin: usize,
    scale: f16,
    format: RowFormat,
) -> f64 {
    let mut error = 0.0;
    for (at, q) in integers.iter_mut().enumerate() {
        *q = format.integer(rest[at], scale);
        let row = &upper.row(begin + at)[begin + at..];
        let wrong = (rest[at] - f64::from(*q) * wide(scale)) / row[0];
        error += wrong * wrong;
        for (later, factor) in rest[at..].iter_mut().zip(row) {
            *later -= wrong * factor;
        }
    }
    error
}

#[cfg(test)]
mod tests;
