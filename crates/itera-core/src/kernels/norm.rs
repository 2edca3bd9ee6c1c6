//! Loops over single values: norms, gates, sums.

use super::{
    Kernel, Op,
    lanes::{Lanes, WIDTH},
    math::{exp, get, put, silu, sum_of_squares},
};

impl Kernel {
    /// `RMSNorm(x) = x / sqrt(mean(x²) + eps) * gain` (Zhang & Sennrich 2019), for each token.
    ///
    /// # Shapes
    /// - `x`, `out`: `[n, stride]`, of which the first `gain.len()` columns count
    /// - `gain`: `[d]`
    pub(crate) fn rms_norm(
        self,
        x: &[f32],
        gain: &[f32],
        eps: f32,
        stride: usize,
        out: &mut [f32],
    ) {
        self.run(RmsNorm {
            x,
            gain,
            eps,
            stride,
            out,
        });
    }

    /// `y = RMSNorm(y * silu(z))`, the gated norm of Mamba-2, for each token.
    ///
    /// # Shapes
    /// - `y`: `[n, y_stride]`, `z`: `[n, z_stride]`, of which the first `gain.len()` columns count
    pub(crate) fn gated_norm(
        self,
        y: &mut [f32],
        y_stride: usize,
        z: &[f32],
        z_stride: usize,
        gain: &[f32],
        eps: f32,
    ) {
        self.run(GatedNorm {
            y,
            y_stride,
            z,
            z_stride,
            gain,
            eps,
        });
    }

    /// `out = silu(gate) * up`, for each token.
    ///
    /// # Shapes
    /// - `hidden`: `[n, hidden_stride]`, of it `gate` the first and `up` the second `width` columns
    /// - `out`: `[n, out_stride]`, of which the first `width` columns are written
    pub(crate) fn swiglu(
        self,
        hidden: &[f32],
        hidden_stride: usize,
        width: usize,
        out: &mut [f32],
        out_stride: usize,
    ) {
        self.run(SwiGlu {
            hidden,
            hidden_stride,
            width,
            out,
            out_stride,
        });
    }

    /// `to += weight * x`, of equal lengths.
    pub(crate) fn add_scaled(self, weight: f32, x: &[f32], to: &mut [f32]) {
        self.run(AddScaled { weight, x, to });
    }

    /// `ln(sum(exp(x)))`, of a slice that is not empty; the error is below 1e-6. NaN if a value is NaN.
    pub(crate) fn log_sum_exp(self, x: &[f32]) -> f64 {
        self.run(LogSumExp { x })
    }
}

struct RmsNorm<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    eps: f32,
    stride: usize,
    out: &'a mut [f32],
}

impl Op for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let width = self.gain.len();
        let rows = self.x.chunks_exact(self.stride);
        for (x, out) in rows.zip(self.out.chunks_exact_mut(self.stride)) {
            let (x, out) = (&x[..width], &mut out[..width]);
            let mean = sum_of_squares(l, x) / width as f32;
            let scale = l.splat((mean + self.eps).sqrt().recip());
            for at in (0..width).step_by(WIDTH) {
                let scaled = l.mul(get(l, x, at), scale);
                put(l, l.mul(scaled, get(l, self.gain, at)), out, at);
            }
        }
    }
}

struct GatedNorm<'a> {
    y: &'a mut [f32],
    y_stride: usize,
    z: &'a [f32],
    z_stride: usize,
    gain: &'a [f32],
    eps: f32,
}

impl Op for GatedNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let width = self.gain.len();
        let rows = self.y.chunks_exact_mut(self.y_stride);
        for (y, z) in rows.zip(self.z.chunks_exact(self.z_stride)) {
            let (y, z) = (&mut y[..width], &z[..width]);
            let mut squares = l.zero();
            for at in (0..width).step_by(WIDTH) {
                let gated = l.mul(get(l, y, at), silu(l, get(l, z, at)));
                squares = l.fma(gated, gated, squares);
                put(l, gated, y, at);
            }
            let mean = l.sum(squares) / width as f32;
            let scale = l.splat((mean + self.eps).sqrt().recip());
            for at in (0..width).step_by(WIDTH) {
                let scaled = l.mul(get(l, y, at), scale);
                put(l, l.mul(scaled, get(l, self.gain, at)), y, at);
            }
        }
    }
}

struct SwiGlu<'a> {
    hidden: &'a [f32],
    hidden_stride: usize,
    width: usize,
    out: &'a mut [f32],
    out_stride: usize,
}

impl Op for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let rows = self.hidden.chunks_exact(self.hidden_stride);
        for (hidden, out) in rows.zip(self.out.chunks_exact_mut(self.out_stride)) {
            let (gate, up) = hidden[..2 * self.width].split_at(self.width);
            for at in (0..self.width).step_by(WIDTH) {
                let value = l.mul(silu(l, get(l, gate, at)), get(l, up, at));
                put(l, value, &mut out[..self.width], at);
            }
        }
    }
}

struct AddScaled<'a> {
    weight: f32,
    x: &'a [f32],
    to: &'a mut [f32],
}

impl Op for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let weight = l.splat(self.weight);
        for at in (0..self.to.len()).step_by(WIDTH) {
            let sum = l.fma(weight, get(l, self.x, at), get(l, self.to, at));
            put(l, sum, self.to, at);
        }
    }
}

struct LogSumExp<'a> {
    x: &'a [f32],
}

impl Op for LogSumExp<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> f64 {
        let (blocks, tail) = self.x.as_chunks::<WIDTH>();
        let mut largest = l.splat(f32::NEG_INFINITY);
        for block in blocks {
            // Passes over NaN, which the sum below keeps.
            largest = l.max(l.load(block), largest);
        }
        let tail_largest = tail.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let largest = l.max_of_lanes(largest).max(tail_largest);
        let shift = l.splat(largest);
        let mut sums = l.zero();
        for block in blocks {
            sums = l.add(sums, exp(l, l.sub(l.load(block), shift)));
        }
        // Lanes beyond the tail are left out.
        let mut last = [0.0; WIDTH];
        l.store(exp(l, l.sub(l.load_part(tail), shift)), &mut last);
        let tail_sum: f32 = last[..tail.len()].iter().sum();
        f64::from(largest) + f64::from(l.sum(sums) + tail_sum).ln()
    }
}
