//! The linear algebra of second moments: symmetric positive definite matrices of a few hundred rows, in
//! 64-bit floats.

/// A square matrix, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Square {
    /// Rows, and columns.
    pub(crate) size: usize,
    /// `[size, size]`
    pub(crate) values: Vec<f64>,
}

impl Square {
    /// All zeros.
    pub(crate) fn zeros(size: usize) -> Self {
        Self {
            size,
            values: vec![0.0; size * size],
        }
    }

    /// The identity: a plain squared error.
    pub(crate) fn identity(size: usize) -> Self {
        let mut identity = Self::zeros(size);
        identity.add_to_diagonal(1.0);
        identity
    }

    /// One row, `[size]`.
    pub(crate) fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.size..][..self.size]
    }

    /// Entry of a row and a column.
    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.size + column]
    }

    /// Adds `value` to each entry of the diagonal.
    pub(crate) fn add_to_diagonal(&mut self, value: f64) {
        let step = self.size + 1;
        self.values
            .iter_mut()
            .step_by(step)
            .for_each(|entry| *entry += value);
    }

    /// Mean of the diagonal; 0 without rows.
    pub(crate) fn mean_of_diagonal(&self) -> f64 {
        let sum: f64 = self.values.iter().step_by(self.size + 1).sum();
        sum / self.size.max(1) as f64
    }

    /// `x^T A x` for `x [size]`.
    pub(crate) fn quadratic(&self, x: &[f64]) -> f64 {
        x.iter()
            .enumerate()
            .map(|(row, x_row)| x_row * dot(self.row(row), x))
            .sum()
    }

    /// The lower factor `L` of `A = L L^T` (Cholesky); `None` if `A` is not positive definite.
    pub(crate) fn cholesky(&self) -> Option<Self> {
        let mut lower = Self::zeros(self.size);
        for i in 0..self.size {
            for j in 0..=i {
                let known = dot(&lower.row(i)[..j], &lower.row(j)[..j]);
                let rest = self.at(i, j) - known;
                lower.values[i * self.size + j] = if i > j {
                    rest / lower.at(j, j)
                } else if rest > 0.0 && rest.is_finite() {
                    rest.sqrt()
                } else {
                    return None;
                };
            }
        }
        Some(lower)
    }

    /// The inverse, by the Cholesky factor; `None` if the matrix is not positive definite.
    pub(crate) fn inverse(&self) -> Option<Self> {
        let lower = self.cholesky()?;
        let size = self.size;
        let mut inverse = Self::zeros(size);
        let mut x = vec![0.0; size];
        for column in 0..size {
            // L y = e, then L^T x = y.
            for i in 0..size {
                let unit = f64::from(u8::from(i == column));
                x[i] = (unit - dot(&lower.row(i)[..i], &x[..i])) / lower.at(i, i);
            }
            for i in (0..size).rev() {
                let known: f64 = (i + 1..size).map(|k| lower.at(k, i) * x[k]).sum();
                x[i] = (x[i] - known) / lower.at(i, i);
            }
            for (i, x) in x.iter().enumerate() {
                inverse.values[i * size + column] = *x;
            }
        }
        Some(inverse)
    }

    /// The same matrix with rows and columns in another order.
    pub(crate) fn permuted(&self, order: &[usize]) -> Self {
        let entries = order
            .iter()
            .flat_map(|&row| order.iter().map(move |&col| (row, col)));
        Self {
            size: order.len(),
            values: entries.map(|(row, col)| self.at(row, col)).collect(),
        }
    }
}

/// `sum_i a[i] b[i]`, in order.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A positive definite matrix of small integers: `B B^T + I`.
    fn example(size: usize) -> Square {
        let b = |row: usize, col: usize| ((row * 7 + col * 3) % 5) as f64 - 2.0;
        let mut a = Square::identity(size);
        for i in 0..size {
            for j in 0..size {
                a.values[i * size + j] += (0..size).map(|k| b(i, k) * b(j, k)).sum::<f64>();
            }
        }
        a
    }

    #[test]
    fn the_factor_and_the_inverse_multiply_back() {
        for size in [1, 2, 7, 33] {
            let a = example(size);
            let (lower, inverse) = (a.cholesky().unwrap(), a.inverse().unwrap());
            for i in 0..size {
                for j in 0..size {
                    let back = dot(lower.row(i), lower.row(j));
                    assert!((back - a.at(i, j)).abs() < 1e-9, "factor {size} {i} {j}");
                    let unit: f64 = (0..size).map(|k| a.at(i, k) * inverse.at(k, j)).sum();
                    let expected = f64::from(u8::from(i == j));
                    assert!((unit - expected).abs() < 1e-9, "inverse {size} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        assert_eq!(Square::zeros(2).cholesky(), None);
        let mut indefinite = Square::identity(2);
        indefinite.values[1] = 2.0;
        indefinite.values[2] = 2.0;
        assert_eq!(indefinite.inverse(), None);
    }

    #[test]
    fn a_quadratic_form_by_hand() {
        let a = Square {
            size: 2,
            values: vec![2.0, 1.0, 1.0, 3.0],
        };
        assert!((a.quadratic(&[1.0, -2.0]) - 10.0).abs() < 1e-12);
        assert_eq!(a.permuted(&[1, 0]).values, [3.0, 1.0, 1.0, 2.0]);
        assert!((a.mean_of_diagonal() - 2.5).abs() < 1e-12);
    }
}
