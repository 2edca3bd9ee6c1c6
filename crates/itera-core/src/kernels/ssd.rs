//! The state-space part of the mixer: convolution, step sizes, recurrence.

use super::{
    Kernel, Op,
    lanes::{Lanes, WIDTH},
    math::{exp, get, put, silu, softplus},
};

/// Rows of the state that are computed together.
const ROWS: usize = 8;

impl Kernel {
    /// `out = silu(conv(x) + bias)`: causal and depthwise over the last `d_conv` tokens. `memory`
    /// moves on by `n` tokens.
    ///
    /// # Shapes
    /// - `x`: `[n, x_stride]`, of which the first `bias.len()` columns count
    /// - `taps`: `[d_conv, channels]`, oldest first; `bias`: `[channels]`
    /// - `memory`: `[d_conv - 1, channels]`, oldest first
    /// - `out`: `[n, out_stride]`
    pub(crate) fn convolve(
        self,
        x: &[f32],
        x_stride: usize,
        taps: &[f32],
        bias: &[f32],
        memory: &mut [f32],
        out: &mut [f32],
        out_stride: usize,
    ) {
        self.run(Convolve {
            x,
            x_stride,
            taps,
            bias,
            memory: &*memory,
            out,
            out_stride,
        });
        let channels = bias.len();
        let n = x.len().div_ceil(x_stride);
        let history = memory.len() / channels;
        memory.copy_within(n.min(history) * channels.., 0);
        for slot in history.saturating_sub(n)..history {
            let token = n + slot - history;
            let newest = &x[token * x_stride..][..channels];
            memory[slot * channels..][..channels].copy_from_slice(newest);
        }
    }

    /// `dt = softplus(raw + bias)` and `decay = exp(dt A)`.
    ///
    /// # Shapes
    /// - `raw`: `[n, raw_stride]`, of which the first `a.len()` columns count
    /// - `a`, `bias`: `[n_heads]`; `dt`, `decay`: `[n, n_heads]`
    pub(crate) fn step_sizes(
        self,
        raw: &[f32],
        raw_stride: usize,
        bias: &[f32],
        a: &[f32],
        dt: &mut [f32],
        decay: &mut [f32],
    ) {
        self.run(StepSizes {
            raw,
            raw_stride,
            bias,
            a,
            dt,
            decay,
        });
    }
}

struct Convolve<'a> {
    x: &'a [f32],
    x_stride: usize,
    taps: &'a [f32],
    bias: &'a [f32],
    memory: &'a [f32],
    out: &'a mut [f32],
    out_stride: usize,
}

impl Op for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let channels = self.bias.len();
        for at in (0..channels).step_by(WIDTH) {
            // The usual number of taps has its window in registers.
            if self.taps.len() == 4 * channels {
                convolve_block::<L, 4>(l, &mut self, at);
            } else {
                convolve_any(l, &mut self, at);
            }
        }
    }
}

/// The channels from `at` on, for `K` taps.
#[inline(always)]
fn convolve_block<L: Lanes, const K: usize>(l: L, c: &mut Convolve<'_>, at: usize) {
    let channels = c.bias.len();
    let (mut taps, mut window) = ([l.zero(); K], [l.zero(); K]);
    for i in 0..K {
        taps[i] = get(l, &c.taps[i * channels..][..channels], at);
    }
    for i in 1..K {
        window[i] = get(l, &c.memory[(i - 1) * channels..][..channels], at);
    }
    let bias = get(l, c.bias, at);
    for (x, out) in c.x.chunks(c.x_stride).zip(c.out.chunks_mut(c.out_stride)) {
        for i in 1..K {
            window[i - 1] = window[i];
        }
        window[K - 1] = get(l, &x[..channels], at);
        let mut sum = bias;
        for i in 0..K {
            sum = l.fma(taps[i], window[i], sum);
        }
        put(l, silu(l, sum), &mut out[..channels], at);
    }
}

/// The same for any number of taps.
#[inline(always)]
fn convolve_any<L: Lanes>(l: L, c: &mut Convolve<'_>, at: usize) {
    let channels = c.bias.len();
    let history = c.memory.len() / channels;
    for (t, out) in c.out.chunks_mut(c.out_stride).enumerate() {
        let mut sum = get(l, c.bias, at);
        for (i, taps) in c.taps.chunks_exact(channels).enumerate() {
            let input = match (t + i).checked_sub(history) {
                Some(token) => &c.x[token * c.x_stride..][..channels],
                None => &c.memory[(t + i) * channels..][..channels],
            };
            sum = l.fma(get(l, taps, at), get(l, input, at), sum);
        }
        put(l, silu(l, sum), &mut out[..channels], at);
    }
}

struct StepSizes<'a> {
    raw: &'a [f32],
    raw_stride: usize,
    bias: &'a [f32],
    a: &'a [f32],
    dt: &'a mut [f32],
    decay: &'a mut [f32],
}

impl Op for StepSizes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let heads = self.a.len();
        let rows = self.dt.chunks_exact_mut(heads);
        let rows = rows.zip(self.decay.chunks_exact_mut(heads));
        for ((dt, decay), raw) in rows.zip(self.raw.chunks(self.raw_stride)) {
            for at in (0..heads).step_by(WIDTH) {
                let step = l.add(get(l, &raw[..heads], at), get(l, self.bias, at));
                let step = softplus(l, step);
                put(l, step, dt, at);
                put(l, exp(l, l.mul(step, get(l, self.a, at))), decay, at);
            }
        }
    }
}

/// What the recurrence of one layer and one segment reads and writes.
///
/// # Shapes
/// - `xbc`: `[n, stride]`: `x [d_inner]`, `B [d_state]`, `C [d_state]`
/// - `dt`, `decay`: `[n, n_heads]`; `d`: `[n_heads]`
/// - `h`: `[d_state, d_inner]`
/// - `y`: `[n, y_stride]`
#[derive(Debug)]
pub(crate) struct Recurrence<'a> {
    pub(crate) d_inner: usize,
    pub(crate) d_state: usize,
    pub(crate) xbc: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) dt: &'a [f32],
    pub(crate) decay: &'a [f32],
    pub(crate) a: &'a [f32],
    pub(crate) d: &'a [f32],
    pub(crate) h: &'a mut [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) y_stride: usize,
}

impl Kernel {
    /// Token by token: `h = decay h + dt B x^T`, `y = C^T h + D x`.
    pub(crate) fn recur(self, recurrence: Recurrence<'_>) {
        self.run(Steps(recurrence));
    }
}

struct Steps<'a>(Recurrence<'a>);

impl Op for Steps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let mut r = self.0;
        for at in (0..r.d_inner).step_by(WIDTH) {
            let mut row = 0;
            while row < r.d_state {
                // Several rows of the state stay in registers for all tokens.
                if r.d_state - row >= ROWS {
                    state_rows::<L, ROWS>(l, &mut r, at, row);
                    row += ROWS;
                } else {
                    state_rows::<L, 1>(l, &mut r, at, row);
                    row += 1;
                }
            }
        }
    }
}

/// All tokens past `S` rows of the state, in the channels from `at` on.
#[inline(always)]
fn state_rows<L: Lanes, const S: usize>(l: L, r: &mut Recurrence<'_>, at: usize, row: usize) {
    let (d_inner, d_state, heads) = (r.d_inner, r.d_state, r.a.len());
    let head_dim = d_inner / heads;
    let mut h = [l.zero(); S];
    for s in 0..S {
        h[s] = get(l, &r.h[(row + s) * d_inner..][..d_inner], at);
    }
    let tokens = r.xbc.chunks(r.stride).zip(r.y.chunks_mut(r.y_stride));
    let steps = r.dt.chunks_exact(heads).zip(r.decay.chunks_exact(heads));
    for ((xbc, y), (dt, decay)) in tokens.zip(steps) {
        let y = &mut y[..d_inner];
        let (b, c) = xbc[d_inner..][..2 * d_state].split_at(d_state);
        let (b, c) = (&b[row..][..S], &c[row..][..S]);
        let x = get(l, &xbc[..d_inner], at);
        let dt_x = l.mul(per_channel(l, dt, head_dim, at), x);
        let decay = per_channel(l, decay, head_dim, at);
        let before = if row == 0 {
            l.mul(per_channel(l, r.d, head_dim, at), x)
        } else {
            get(l, y, at)
        };
        // Two chains of additions, since one would be waited for.
        let mut sums = [before, l.zero()];
        for s in 0..S {
            h[s] = l.fma(l.splat(b[s]), dt_x, l.mul(decay, h[s]));
            sums[s % 2] = l.fma(l.splat(c[s]), h[s], sums[s % 2]);
        }
        put(l, l.add(sums[0], sums[1]), y, at);
    }
    for s in 0..S {
        put(l, h[s], &mut r.h[(row + s) * d_inner..][..d_inner], at);
    }
}

/// The values of the heads that the channels from `at` on belong to.
#[inline(always)]
fn per_channel<L: Lanes>(l: L, heads: &[f32], head_dim: usize, at: usize) -> L::F {
    if head_dim.is_multiple_of(WIDTH) {
        return l.splat(heads[at / head_dim]);
    }
    let mut block = [0.0; WIDTH];
    for (i, value) in block.iter_mut().enumerate() {
        if let Some(head) = heads.get((at + i) / head_dim) {
            *value = *head;
        }
    }
    l.load(&block)
}
