//! Local search: integers one by one and in pairs, then the scales, while that lessens the error.

use half::f16;

use crate::{
    calibration::{Square, dot},
    checkpoint::rounding::{Rounded, RowFormat, stored, wide},
};

/// Rounds of descent: integers one by one and in pairs, then the scales.
const ROUNDS: usize = 4;

/// Sweeps over the integers in a round, at most.
const SWEEPS: usize = 20;

/// The relative gain that a sweep must have to be followed by another.
const GAIN: f64 = 1e-7;

/// Local search for the least `e^T H e`.
pub(super) struct Descent<'a> {
    weights: &'a [f64],
    hessian: &'a Square,
    format: RowFormat,
    pub(super) rounded: Rounded,
    /// `H e`, `[cols]`.
    gradient: Vec<f64>,
}

impl<'a> Descent<'a> {
    pub(super) fn new(
        weights: &'a [f64],
        hessian: &'a Square,
        format: RowFormat,
        rounded: Rounded,
    ) -> Self {
        let gradient = Vec::new();
        let mut descent = Self {
            weights,
            hessian,
            format,
            rounded,
            gradient,
        };
        descent.refresh();
        descent
    }

    /// `H e` from scratch; returns the error.
    fn refresh(&mut self) -> f64 {
        let values = self.rounded.values(self.format.group);
        let difference: Vec<f64> = values.zip(self.weights).map(|(v, w)| v - w).collect();
        let rows = 0..self.weights.len();
        self.gradient = rows
            .map(|row| dot(self.hessian.row(row), &difference))
            .collect();
        dot(&difference, &self.gradient)
    }

    pub(super) fn run(&mut self) {
        let mut error = self.refresh();
        for _ in 0..ROUNDS {
            self.settle(error);
            self.fit_scales();
            let now = self.refresh();
            if now >= error * (1.0 - 1e-4) {
                break;
            }
            error = now;
        }
    }

    /// Only the integers, from a rounding of this `error`.
    pub(super) fn settle(&mut self, error: f64) {
        for _ in 0..SWEEPS {
            if self.singles() + self.pairs() <= GAIN * error {
                break;
            }
        }
    }

    /// The step that a move of integer `at` by `by` makes, if it stays in range.
    fn step(&self, at: usize, by: i8) -> Option<f64> {
        let scale = wide(self.rounded.scales[at / self.format.group]);
        let moved = i16::from(self.rounded.integers[at]) + i16::from(by);
        let range = i16::from(self.format.low)..=i16::from(self.format.high);
        (range.contains(&moved) && scale != 0.0).then(|| f64::from(by) * scale)
    }

    /// The move of an integer that lowers its value if `slope` is positive, and raises it if not.
    fn against(&self, at: usize, slope: f64) -> i8 {
        let falls = self.rounded.scales[at / self.format.group] < f16::ZERO;
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

    /// Moves each integer while that helps; returns the gain.
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

    /// Moves two integers at once where that helps; returns the gain.
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

    /// The best scale of each group in turn, as f16, with the others fixed.
    fn fit_scales(&mut self) {
        let group = self.format.group;
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

/// Whether two scales have the same sign, and neither is zero.
fn is_alike(a: f16, b: f16) -> bool {
    wide(a) * wide(b) > 0.0
}
