//! The numeric building blocks of the forward pass, in plain scalar code: the specification that
//! any faster kernel has to agree with.

/// Running sums kept apart in a dot product, so that it maps onto vector registers without
/// reordering: the result is the same on every machine.
const LANES: usize = 16;

/// A weight matrix, row-major: rows are outputs, columns inputs.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f32>, // [rows, cols]
}

impl Matrix {
    pub(super) fn new(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix data must match its shape");
        Self { rows, cols, data }
    }

    pub(super) fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.cols..(index + 1) * self.cols]
    }

    /// `out = X W^T` for `n` tokens at once.
    ///
    /// # Shapes
    /// - `x`: `[n, cols]`
    /// - `out`: `[n, rows]`
    pub(super) fn apply(&self, x: &[f32], out: &mut [f32]) {
        debug_assert_eq!(x.len() / self.cols, out.len() / self.rows);
        // The weight row stays in cache while all tokens pass it.
        for (row, weights) in self.data.chunks_exact(self.cols).enumerate() {
            for (token, input) in x.chunks_exact(self.cols).enumerate() {
                out[token * self.rows + row] = dot(weights, input);
            }
        }
    }
}

/// Inner product of two vectors of equal length.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + tail
}

/// `y += a x`.
pub(super) fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// `RMSNorm(x) = x / sqrt(mean(x²) + eps) * gain` (Zhang & Sennrich 2019), for each token.
///
/// # Shapes
/// - `x`, `out`: `[n, d]`
/// - `gain`: `[d]`
pub(super) fn rms_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    let width = gain.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let scale = (dot(x, x) / width as f32 + eps).sqrt().recip();
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            *out = x * scale * gain;
        }
    }
}

/// `silu(x) = x / (1 + exp(-x))`.
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// `softplus(x) = ln(1 + exp(x))`, without overflow for large x.
pub(super) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

/// Softmax in place.
pub(super) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in x.iter_mut() {
        *value = (*value - max).exp();
        sum += *value;
    }
    for value in x.iter_mut() {
        *value /= sum;
    }
}

/// Indices of the `chosen.len()` largest values, largest first; ties go to the lower index.
pub(super) fn top_k(values: &[f32], chosen: &mut [usize]) {
    for slot in 0..chosen.len() {
        let (taken, rest) = chosen.split_at_mut(slot);
        let mut best = None;
        for (index, value) in values.iter().enumerate() {
            let better = best.is_none_or(|best: usize| *value > values[best]);
            if better && !taken.contains(&index) {
                best = Some(index);
            }
        }
        rest[0] = best.unwrap_or(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_breaks_ties_by_the_lower_index() {
        let mut chosen = [9; 3];
        top_k(&[0.1, 0.5, 0.5, 0.1], &mut chosen);
        assert_eq!(chosen, [1, 2, 0]);
    }

    #[test]
    fn dot_covers_tails_of_every_length() {
        for len in 0..70 {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let expected: f32 = (0..len).map(|i| (i * i) as f32).sum();
            assert!(
                (dot(&a, &a) - expected).abs() <= expected * 1e-6,
                "length {len}"
            );
        }
    }

    #[test]
    fn softplus_is_smooth_where_its_branches_meet() {
        assert!((softplus(20.0) - softplus(20.000_002)).abs() < 1e-5);
        assert!((softplus(0.0) - std::f32::consts::LN_2).abs() < 1e-7);
    }
}
