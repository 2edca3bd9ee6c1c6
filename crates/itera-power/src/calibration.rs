//! The calibration workload: a fixed matrix-vector loop.
//!
//! It is timed between the samples of every row, so that a slower or busier machine slows both alike and
//! the ratio stays. It is part of the protocol: with another size, another order of operations or another
//! compiler the ratios of old records would mean nothing, so all of them are in [`DESCRIPTION`].

use std::hint::black_box;

use crate::measure::Workload;

/// What records call it.
pub(crate) const DESCRIPTION: &str = concat!(
    "matrix-vector/1: f32 [256, 512], 32 products a pass, built by ",
    env!("ITERA_POWER_COMPILER")
);

const ROWS: usize = 256;
const COLUMNS: usize = 512;

/// Products of a pass: 4.2 million multiply-adds.
const PRODUCTS: usize = 32;

/// Independent sums, so that the compiler can use vector registers without changing the result.
const LANES: usize = 16;

/// Half a megabyte of weights, about as much as a quantised model, and two vectors.
pub(crate) struct Calibration {
    matrix: Vec<f32>, // [ROWS, COLUMNS]
    x: Vec<f32>,      // [COLUMNS]
    y: Vec<f32>,      // [ROWS]
}

impl Calibration {
    pub(crate) fn new() -> Self {
        // Small and different; the values do not matter to the time.
        let value = |i: usize| (i * 2_654_435_761 % 1000) as f32 / 1000.0 - 0.5;
        Self {
            matrix: (0..ROWS * COLUMNS).map(value).collect(),
            x: (0..COLUMNS).map(value).collect(),
            y: vec![0.0; ROWS],
        }
    }

    /// `y = matrix x`
    fn product(&mut self) {
        for (row, y) in self.matrix.chunks_exact(COLUMNS).zip(&mut self.y) {
            let mut sums = [0.0; LANES];
            for (w, x) in row.chunks_exact(LANES).zip(self.x.chunks_exact(LANES)) {
                for lane in 0..LANES {
                    sums[lane] += w[lane] * x[lane];
                }
            }
            *y = sums.iter().sum();
        }
    }
}

impl Workload for Calibration {
    fn run(&mut self, passes: u64) {
        for _ in 0..passes {
            for _ in 0..PRODUCTS {
                black_box(&mut self.x);
                self.product();
                black_box(&self.y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_computes_a_product() {
        let mut calibration = Calibration::new();
        calibration.run(1);
        let naive = |row: usize| -> f64 {
            let weights = &calibration.matrix[row * COLUMNS..(row + 1) * COLUMNS];
            let products = weights
                .iter()
                .zip(&calibration.x)
                .map(|(w, x)| f64::from(w * x));
            products.sum()
        };
        for row in [0, 1, ROWS - 1] {
            assert!(
                (f64::from(calibration.y[row]) - naive(row)).abs() < 1e-3,
                "row {row}"
            );
        }
    }
}
