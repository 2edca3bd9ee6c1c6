//! Loops over single values: norms, gates, sums.

use super::{
    Op, Rows, RowsMut,
    double::ln,
    lanes::{Block, Lanes, WIDTH},
    math::{abreast, exp, exp_nonpositive, get, largest, put, silu, sqrt, sum_of_squares},
};

/// `out = x / sqrt(mean(x²) + eps) * gain` (Zhang & Sennrich 2019), for each token.
///
/// # Shapes
/// - `x`, `out`: `[n, d]`, `gain`: `[d]`
pub(crate) struct RmsNorm<'a> {
    pub(crate) x: Rows<'a>,
    pub(crate) gain: &'a [f32],
    pub(crate) eps: f32,
    pub(crate) out: RowsMut<'a>,
}

impl Op for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let width = self.gain.len();
        for t in 0..self.x.len {
            let (x, out) = (self.x.row(t, width), self.out.row(t, width));
            let mean = sum_of_squares(l, x) / width as f32;
            let scale = l.splat(sqrt(mean + self.eps).recip());
            for at in (0..width).step_by(WIDTH) {
                let scaled = l.mul(get(l, x, at), scale);
                put(l, l.mul(scaled, get(l, self.gain, at)), out, at);
            }
        }
    }
}

/// `y = RMSNorm(y * silu(z))`, the gated norm of Mamba-2, for each token.
///
/// # Shapes
/// - `y`, `z`: `[n, d]`, `gain`: `[d]`
pub(crate) struct GatedNorm<'a> {
    pub(crate) z: Rows<'a>,
    pub(crate) gain: &'a [f32],
    pub(crate) eps: f32,
    pub(crate) y: RowsMut<'a>,
}

impl Op for GatedNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let width = self.gain.len();
        for t in 0..self.z.len {
            let (y, z) = (self.y.row(t, width), self.z.row(t, width));
            abreast!(width, WIDTH, |at| gate::<L>(l, &z[at..], &mut y[at..]));
            let mean = sum_of_squares(l, y) / width as f32;
            let scale = l.splat(sqrt(mean + self.eps).recip());
            for at in (0..width).step_by(WIDTH) {
                let scaled = l.mul(get(l, y, at), scale);
                put(l, l.mul(scaled, get(l, self.gain, at)), y, at);
            }
        }
    }
}

/// `y *= silu(z)`, the first `N` vectors.
#[inline(always)]
fn gate<L: Lanes, const N: usize>(l: L, z: &[f32], y: &mut [f32]) {
    for (i, z) in silu::<L, N>(l, z).into_iter().enumerate() {
        put(l, l.mul(get(l, y, i * WIDTH), z), y, i * WIDTH);
    }
}

/// `out = silu(gate) * up`, for each token.
///
/// # Shapes
/// - `hidden`: `[n, 2 * width]`, `gate` before `up`
/// - `out`: `[n, width]`
pub(crate) struct SwiGlu<'a> {
    pub(crate) hidden: Rows<'a>,
    pub(crate) width: usize,
    pub(crate) out: RowsMut<'a>,
}

impl Op for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        for t in 0..self.hidden.len {
            let (gate, up) = self.hidden.row(t, 2 * self.width).split_at(self.width);
            let out = self.out.row(t, self.width);
            abreast!(self.width, WIDTH, |at| gated::<L>(
                l,
                &gate[at..],
                &up[at..],
                &mut out[at..]
            ));
        }
    }
}

/// `out = silu(gate) * up`, the first `N` vectors.
#[inline(always)]
fn gated<L: Lanes, const N: usize>(l: L, gate: &[f32], up: &[f32], out: &mut [f32]) {
    for (i, gate) in silu::<L, N>(l, gate).into_iter().enumerate() {
        put(l, l.mul(get(l, up, i * WIDTH), gate), out, i * WIDTH);
    }
}

/// `to += weight * x`, of equal lengths.
pub(crate) struct AddScaled<'a> {
    pub(crate) weight: f32,
    pub(crate) x: &'a [f32],
    pub(crate) to: &'a mut [f32],
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

/// `ln(sum(exp(x)))`, of a slice that is not empty; the error is below 1e-6. NaN if a value is NaN
/// or the largest is infinite.
pub(crate) struct LogSumExp<'a>(pub(crate) &'a [f32]);

impl Op for LogSumExp<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> f64 {
        // The sum below keeps NaN.
        let largest = largest(self.0);
        let shift = l.splat(largest);
        let (blocks, tail) = self.0.as_chunks::<WIDTH>();
        let mut sums = l.zero();
        abreast!(self.0.len() - tail.len(), WIDTH, |at| add_exps::<L>(
            l,
            &blocks[at / WIDTH..],
            shift,
            &mut sums
        ));
        let mut total = l.sum(sums);
        if !tail.is_empty() {
            // Lanes beyond the tail are left out.
            let mut last = [0.0; WIDTH];
            let [exps] = exp(l, [l.sub(l.load_part(tail), shift)]);
            l.store(exps, &mut last);
            total += last[..tail.len()].iter().sum::<f32>();
        }
        f64::from(largest) + ln(f64::from(total))
    }
}

/// `sums += exp(x - shift)` for the first `N` blocks, one after the other.
#[inline(always)]
fn add_exps<L: Lanes, const N: usize>(l: L, x: &[Block], shift: L::F, sums: &mut L::F) {
    let (mut shifted, x) = ([shift; N], &x[..N]);
    for i in 0..N {
        shifted[i] = l.sub(l.load(&x[i]), shift);
    }
    for exps in exp_nonpositive(l, shifted) {
        *sums = l.add(*sums, exps);
    }
}
