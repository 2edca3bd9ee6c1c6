//! Rounding one row of a matrix to integers and scales.
//!
//! The error of a row `w` of inputs `x` is `sum_x ((q s - w) x)^2 = e^T H e` with `e = q s - w` and
//! `H = sum_x x x^T`. Plain squared error is the case `H = I`.

use half::f16;

use super::linalg::{Square, dot};
use crate::checkpoint::Precision;

/// Scales that are tried for a group, as shares of the one that just holds its largest weight.
const SHARES: usize = 45;

/// The smallest share.
const LEAST_SHARE: f64 = 0.55;

/// The step from a share to the next.
const SHARE_STEP: f64 = 0.0125;

/// Scales whose errors are computed side by side.
const ABREAST: usize = 8;

/// Rounds of descent: integers one by one and in pairs, then the scales.
const ROUNDS: usize = 4;

/// Sweeps over the integers in a round, at most.
const SWEEPS: usize = 20;

/// How much a move must gain, as a share of the error, to be worth another sweep.
const GAIN: f64 = 1e-7;

/// Integers of a row and the scales of its groups.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rounded {
    /// `[cols]`
    pub(super) integers: Vec<i8>,
    /// `[cols / group]`
    pub(super) scales: Vec<f16>,
}

/// How a row is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Values that share a scale.
    pub(super) group: usize,
    /// The lowest integer.
    pub(super) low: i8,
    /// The largest integer.
    pub(super) high: i8,
}

impl Form {
    /// `None` if the precision is not one of integers.
    pub(super) fn new(precision: Precision, group: usize) -> Option<Self> {
        let (low, high) = (precision.min_integer()?, precision.max_integer()?);
        Some(Self { group, low, high })
    }

    /// Whether a scale may be below 0: where there is one integer more below 0 than above, a negative
    /// scale puts it at the other end of a group.
    const fn may_be_negative(self) -> bool {
        self.low < -self.high
    }
}

/// What the error of a row is measured by, prepared once for all rows of a matrix.
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
    /// largest second moments come first, and so within a group, since errors of what is rounded
    /// early can still be made good by what is rounded late. `None` if it is not positive definite.
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
    pub(super) fn error(&self, weights: &[f64], rounded: &Rounded, form: Form) -> f64 {
        let difference: Vec<f64> = rounded
            .values(form.group)
            .zip(weights)
            .map(|(value, weight)| value - weight)
            .collect();
        self.hessian.quadratic(&difference)
    }
}

impl Rounded {
    /// The values that the row stands for, `[cols]`.
    pub(super) fn values(&self, group: usize) -> impl Iterator<Item = f64> + '_ {
        let scale = move |at: usize| f64::from(self.scales[at / group].to_f32());
        self.integers
            .iter()
            .enumerate()
            .map(move |(at, &q)| f64::from(q) * scale(at))
    }
}

/// To the nearest, with the scale that just holds the largest weight of each group.
pub(super) fn nearest(weights: &[f64], form: Form) -> Rounded {
    let mut rounded = Rounded {
        integers: Vec::new(),
        scales: Vec::new(),
    };
    for group in weights.chunks(form.group) {
        let scale = stored(largest(group) / f64::from(form.high));
        rounded
            .integers
            .extend(group.iter().map(|weight| integer(*weight, scale, form)));
        rounded.scales.push(scale);
    }
    rounded
}

/// To the nearest, with the scale of each group that has the least squared error, weighted by the
/// second moments of the inputs (the diagonal of `H`).
pub(super) fn search(weights: &[f64], moments: &[f64], form: Form) -> Rounded {
    let mut rounded = Rounded {
        integers: Vec::with_capacity(weights.len()),
        scales: Vec::with_capacity(weights.len() / form.group),
    };
    let groups = weights.chunks(form.group).zip(moments.chunks(form.group));
    for (weights, moments) in groups {
        let scale = best_scale(weights, moments, form);
        let integers = weights.iter().map(|weight| integer(*weight, scale, form));
        rounded.integers.extend(integers);
        rounded.scales.push(scale);
    }
    rounded
}

/// The scale of a group that has the least squared error, weighted by `moments`; the one that just
/// holds the largest weight if none has less.
pub(super) fn best_scale(weights: &[f64], moments: &[f64], form: Form) -> f16 {
    if let Some(scale) = exact_scale(weights, form) {
        return scale;
    }
    let whole = stored(largest(weights) / f64::from(form.high));
    let mut scales = vec![whole];
    scales.extend(candidates(weights, form));
    let (mut best, mut least) = (whole, f64::INFINITY);
    for scales in scales.chunks(ABREAST) {
        let errors = errors(weights, moments, scales, form);
        for (scale, error) in scales.iter().zip(errors) {
            if error < least {
                (best, least) = (*scale, error);
            }
        }
    }
    best
}

/// The scale of which all weights of a group are integers, as training for integers leaves them, if
/// there is one.
fn exact_scale(weights: &[f64], form: Form) -> Option<f16> {
    let by_magnitude = |a: &&f64, b: &&f64| a.abs().total_cmp(&b.abs());
    let largest = *weights.iter().max_by(by_magnitude)?;
    let is_exact = |scale: &f16| {
        // Equal, whichever sign a zero has: 0 times a negative scale is -0.
        #[expect(clippy::float_cmp, reason = "exact is what is asked for")]
        let is_value =
            |weight: &f64| f64::from(integer(*weight, *scale, form)) * wide(*scale) == *weight;
        (*scale > f16::ZERO || form.may_be_negative() && *scale < f16::ZERO)
            && weights.iter().all(is_value)
    };
    // Whichever integer the largest weight is.
    (form.low..=form.high)
        .filter(|q| *q != 0)
        .map(|q| stored(largest / f64::from(q)))
        .find(is_exact)
}

/// The weighted squared error of a group for each of up to [`ABREAST`] scales, summed in the order
/// of the weights.
fn errors(weights: &[f64], moments: &[f64], scales: &[f16], form: Form) -> [f64; ABREAST] {
    let (low, high) = (f64::from(form.low), f64::from(form.high));
    let scales: [f64; ABREAST] = std::array::from_fn(|at| scales.get(at).map_or(0.0, |s| wide(*s)));
    // A scale of 0 makes every value 0, whatever the integer.
    let divisors = scales.map(|scale| if scale == 0.0 { 1.0 } else { scale });
    let mut errors = [0.0; ABREAST];
    for (weight, moment) in weights.iter().zip(moments) {
        for ((error, scale), divisor) in errors.iter_mut().zip(scales).zip(divisors) {
            let wrong = round_small((weight / divisor).clamp(low, high)) * scale - weight;
            *error += moment * (wrong * wrong);
        }
    }
    errors
}

/// Rounds each weight of a group to the nearest integer times `scale`.
pub(super) fn round_in_place(weights: &mut [f32], scale: f16, form: Form) {
    let (low, high) = (f64::from(form.low), f64::from(form.high));
    let divisor = if scale == f16::ZERO { 1.0 } else { wide(scale) };
    let scale = scale.to_f32();
    for weight in weights {
        let integer = round_small((f64::from(*weight) / divisor).clamp(low, high));
        *weight = integer as f32 * scale;
    }
}

/// `x.round()`, half away from zero, for |x| below 2^51: without a call, so that loops of it become
/// vector code.
fn round_small(x: f64) -> f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52: adding it rounds, half to even
    let even = (x + ROUND) - ROUND;
    let rest = x - even;
    let away = if rest.abs() >= 0.5 && rest * x > 0.0 {
        1.0_f64.copysign(x)
    } else {
        0.0
    };
    even + away
}

/// With error feedback (GPTQ, Frantar et al. 2022, algorithm 1): what rounding a weight does wrong
/// is made good, as far as it can be, by the weights of the row that are not rounded yet. The scale
/// of a group is chosen when the group is reached, by the error that it leaves. Then integers and
/// scales descend, one by one and in pairs, until no move lessens the error; so they do from the
/// searched scales too, and the better end counts. The error is never above that of [`nearest`].
pub(super) fn feedback(weights: &[f64], metric: &Metric, form: Form) -> Rounded {
    let moments: Vec<f64> = (0..weights.len())
        .map(|at| metric.hessian.at(at, at))
        .collect();
    let mut best = nearest(weights, form);
    let mut least = metric.error(weights, &best, form);
    let pass = with_feedback(weights, metric, form);
    for start in [pass, search(weights, &moments, form)] {
        let mut descent = Descent::new(weights, metric, form, start);
        descent.run();
        let error = metric.error(weights, &descent.rounded, form);
        if error < least {
            (least, best) = (error, descent.rounded);
        }
    }
    best
}

/// The feedback pass alone.
fn with_feedback(weights: &[f64], metric: &Metric, form: Form) -> Rounded {
    let (order, upper) = (&metric.order, &metric.feedback);
    let mut rest: Vec<f64> = order.iter().map(|&column| weights[column]).collect();
    let mut integers = vec![0; weights.len()];
    let mut scales = vec![f16::ZERO; weights.len() / form.group];
    let mut trial = vec![0.0; form.group];
    let mut chosen = vec![0; form.group];
    for begin in (0..weights.len()).step_by(form.group) {
        let end = begin + form.group;
        let mut best = (f64::INFINITY, f16::ZERO);
        for scale in candidates(&rest[begin..end], form) {
            trial.copy_from_slice(&rest[begin..end]);
            let error = round_group(&mut trial, &mut chosen, upper, begin, scale, form);
            if error < best.0 {
                best = (error, scale);
            }
        }
        // The same once more with the best scale, now with what it means for all later columns.
        round_group(&mut rest[begin..], &mut chosen, upper, begin, best.1, form);
        for (column, q) in order[begin..end].iter().zip(&chosen) {
            integers[*column] = *q;
        }
        scales[order[begin] / form.group] = best.1;
    }
    Rounded { integers, scales }
}

/// Rounds the group of columns from `begin` on, in the order of rounding. `rest`: what is left of
/// the weights from there on, as far as it is wanted; the feedback is taken off it. Returns the
/// error that the group leaves, if all later columns do their best without being rounded.
fn round_group(
    rest: &mut [f64],
    integers: &mut [i8],
    upper: &Square,
    begin: usize,
    scale: f16,
    form: Form,
) -> f64 {
    let mut error = 0.0;
    for (at, q) in integers.iter_mut().enumerate() {
        *q = integer(rest[at], scale, form);
        let row = &upper.row(begin + at)[begin + at..];
        let wrong = (rest[at] - f64::from(*q) * wide(scale)) / row[0];
        error += wrong * wrong;
        for (later, factor) in rest[at..].iter_mut().zip(row) {
            *later -= wrong * factor;
        }
    }
    error
}

/// Local search for the least `e^T H e`.
struct Descent<'a> {
    weights: &'a [f64],
    hessian: &'a Square,
    form: Form,
    rounded: Rounded,
    /// `H e`, `[cols]`.
    gradient: Vec<f64>,
}

impl<'a> Descent<'a> {
    fn new(weights: &'a [f64], metric: &'a Metric, form: Form, rounded: Rounded) -> Self {
        let hessian = &metric.hessian;
        let gradient = Vec::new();
        let mut descent = Self {
            weights,
            hessian,
            form,
            rounded,
            gradient,
        };
        descent.refresh();
        descent
    }

    /// `H e` from scratch; returns the error.
    fn refresh(&mut self) -> f64 {
        let values = self.rounded.values(self.form.group);
        let difference: Vec<f64> = values.zip(self.weights).map(|(v, w)| v - w).collect();
        let rows = 0..self.weights.len();
        self.gradient = rows
            .map(|row| dot(self.hessian.row(row), &difference))
            .collect();
        dot(&difference, &self.gradient)
    }

    fn run(&mut self) {
        let mut error = self.refresh();
        for _ in 0..ROUNDS {
            for _ in 0..SWEEPS {
                if self.singles() + self.pairs() <= GAIN * error {
                    break;
                }
            }
            self.fit_scales();
            let now = self.refresh();
            if now >= error * (1.0 - 1e-4) {
                break;
            }
            error = now;
        }
    }

    /// The step that a move of integer `at` by `by` makes, if it stays in range.
    fn step(&self, at: usize, by: i8) -> Option<f64> {
        let scale = wide(self.rounded.scales[at / self.form.group]);
        let moved = i16::from(self.rounded.integers[at]) + i16::from(by);
        let range = i16::from(self.form.low)..=i16::from(self.form.high);
        (range.contains(&moved) && scale != 0.0).then(|| f64::from(by) * scale)
    }

    /// The move of an integer that lowers its value if `slope` is positive, and raises it if not.
    fn against(&self, at: usize, slope: f64) -> i8 {
        let falls = self.rounded.scales[at / self.form.group] < f16::ZERO;
        if (slope > 0.0) == falls { 1 } else { -1 }
    }

    /// What moving one value by `step` adds to the error.
    fn cost(&self, at: usize, step: f64) -> f64 {
        step * (2.0 * self.gradient[at] + step * self.hessian.at(at, at))
    }

    fn apply(&mut self, at: usize, by: i8, step: f64) {
        self.rounded.integers[at] += by;
        for (gradient, h) in self.gradient.iter_mut().zip(self.hessian.row(at)) {
            *gradient += step * h;
        }
    }

    /// Moves each integer while that helps; returns what was gained.
    fn singles(&mut self) -> f64 {
        let mut gained = 0.0;
        for at in 0..self.weights.len() {
            let by = self.against(at, self.gradient[at]);
            while let Some(step) = self.step(at, by) {
                let cost = self.cost(at, step);
                if cost >= 0.0 {
                    break;
                }
                self.apply(at, by, step);
                gained -= cost;
            }
        }
        gained
    }

    /// Moves two integers at once where that helps; returns what was gained.
    fn pairs(&mut self) -> f64 {
        let mut gained = 0.0;
        for i in 0..self.weights.len() {
            for by_i in [-1, 1] {
                let Some(step_i) = self.step(i, by_i) else {
                    continue;
                };
                let cost_i = self.cost(i, step_i);
                let mut best = (0.0, 0, 0, 0.0);
                for j in i + 1..self.weights.len() {
                    let together = 2.0 * step_i * self.hessian.at(i, j);
                    // The better direction is against the slope that the first move leaves.
                    let by_j = self.against(j, 2.0 * self.gradient[j] + together);
                    let Some(step_j) = self.step(j, by_j) else {
                        continue;
                    };
                    let cost = cost_i + self.cost(j, step_j) + together * step_j;
                    if cost < best.0 {
                        best = (cost, j, by_j, step_j);
                    }
                }
                if best.0 < 0.0 {
                    self.apply(i, by_i, step_i);
                    self.apply(best.1, best.2, best.3);
                    gained -= best.0;
                    break;
                }
            }
        }
        gained
    }

    /// The best scale of each group in turn, as f16, the others being what they are.
    fn fit_scales(&mut self) {
        let group = self.form.group;
        for index in 0..self.rounded.scales.len() {
            let columns = index * group..(index + 1) * group;
            let q: Vec<f64> = self.rounded.integers[columns.clone()]
                .iter()
                .map(|&q| f64::from(q))
                .collect();
            // Along a scale the error is a parabola: slope q^T H e, curvature q^T H q.
            let slope = dot(&q, &self.gradient[columns.clone()]);
            let rows = columns.clone().zip(&q);
            let curvature: f64 = rows
                .map(|(row, q_row)| q_row * dot(&self.hessian.row(row)[columns.clone()], &q))
                .sum();
            if curvature <= 0.0 {
                continue;
            }
            let old = self.rounded.scales[index];
            let new = stored(wide(old) - slope / curvature);
            let step = wide(new) - wide(old);
            if is_alike(new, old) && step * (2.0 * slope + step * curvature) < 0.0 {
                self.rounded.scales[index] = new;
                for (row, gradient) in self.gradient.iter_mut().enumerate() {
                    *gradient += step * dot(&self.hessian.row(row)[columns.clone()], &q);
                }
            }
        }
    }
}

/// Scales worth trying for a group, as stored, each once: positive ones, and where there is a lower
/// integer than `-high`, negative ones, for which it stands at the other end. Zero for a group of
/// zeros.
fn candidates(weights: &[f64], form: Form) -> Vec<f16> {
    let share = |index: usize| LEAST_SHARE + SHARE_STEP * index as f64;
    let both = [1.0, -1.0];
    let signs = if form.may_be_negative() {
        &both[..]
    } else {
        &both[..1]
    };
    let mut scales: Vec<f16> = signs
        .iter()
        .flat_map(|sign| {
            let whole = sign * largest(weights) / f64::from(form.high);
            (0..SHARES).map(move |index| stored(whole * share(index)))
        })
        .collect();
    scales.dedup();
    scales
}

/// Whether two scales have the same sign, and neither is zero.
fn is_alike(a: f16, b: f16) -> bool {
    wide(a) * wide(b) > 0.0
}

/// The largest magnitude.
fn largest(weights: &[f64]) -> f64 {
    weights
        .iter()
        .fold(0.0, |largest, weight| largest.max(weight.abs()))
}

/// The scale as the file holds it.
fn stored(scale: f64) -> f16 {
    f16::from_f64(scale.clamp(f16::MIN.to_f64(), f16::MAX.to_f64()))
}

fn wide(scale: f16) -> f64 {
    f64::from(scale.to_f32())
}

/// The nearest integer; 0 where the scale is 0.
fn integer(weight: f64, scale: f16, form: Form) -> i8 {
    if scale == f16::ZERO {
        return 0;
    }
    let (low, high) = (f64::from(form.low), f64::from(form.high));
    (weight / wide(scale)).round().clamp(low, high) as i8
}

#[cfg(test)]
mod tests;
