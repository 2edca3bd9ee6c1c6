//! The state-space part of the mixer: convolution, step sizes, recurrence.

use super::{
    Op, Rows, RowsMut,
    lanes::{Lanes, WIDTH},
    math::{exp, get, put, silu, softplus},
};

/// Rows of the state that are computed together.
const ROWS: usize = 8;

/// `out = silu(conv(x) + bias)`: causal and depthwise over the last `d_conv` tokens. `memory` moves
/// on by `n` tokens.
///
/// # Shapes
/// - `x`, `out`: `[n, channels]`
/// - `taps`: `[d_conv, channels]`, oldest first; `bias`: `[channels]`
/// - `memory`: `[d_conv - 1, channels]`, oldest first
pub(crate) struct Convolve<'a> {
    pub(crate) x: Rows<'a>,
    pub(crate) taps: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) memory: &'a mut [f32],
    pub(crate) out: RowsMut<'a>,
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
        self.remember();
    }
}

impl Convolve<'_> {
    /// Puts the last tokens into the memory.
    fn remember(self) {
        let (channels, n) = (self.bias.len(), self.x.len());
        let history = self.memory.len() / channels;
        self.memory.copy_within(n.min(history) * channels.., 0);
        for slot in history.saturating_sub(n)..history {
            let newest = self.x.row(n + slot - history, channels);
            self.memory[slot * channels..][..channels].copy_from_slice(newest);
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
    for (x, out) in c.x.iter().zip(c.out.iter_mut()) {
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
    for (t, out) in c.out.iter_mut().enumerate() {
        let mut sum = get(l, c.bias, at);
        for (i, taps) in c.taps.chunks_exact(channels).enumerate() {
            let input = match (t + i).checked_sub(history) {
                Some(token) => c.x.row(token, channels),
                None => &c.memory[(t + i) * channels..][..channels],
            };
            sum = l.fma(get(l, taps, at), get(l, input, at), sum);
        }
        put(l, silu(l, sum), &mut out[..channels], at);
    }
}

/// `dt = softplus(raw + bias)` and `decay = exp(dt A)`.
///
/// # Shapes
/// - `raw`, `dt`, `decay`: `[n, n_heads]`; `a`, `bias`: `[n_heads]`
pub(crate) struct StepSizes<'a> {
    pub(crate) raw: Rows<'a>,
    pub(crate) bias: &'a [f32],
    pub(crate) a: &'a [f32],
    pub(crate) dt: RowsMut<'a>,
    pub(crate) decay: RowsMut<'a>,
}

impl Op for StepSizes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let heads = self.a.len();
        let rows = self.dt.iter_mut().zip(self.decay.iter_mut());
        for ((dt, decay), raw) in rows.zip(self.raw.iter()) {
            let (dt, decay) = (&mut dt[..heads], &mut decay[..heads]);
            for at in (0..heads).step_by(WIDTH) {
                let step = l.add(get(l, &raw[..heads], at), get(l, self.bias, at));
                let step = softplus(l, step);
                put(l, step, dt, at);
                put(l, exp(l, l.mul(step, get(l, self.a, at))), decay, at);
            }
        }
    }
}

/// The recurrence of one layer and one segment, token by token: `h = decay h + dt B x^T`,
/// `y = C^T h + D x`.
///
/// # Shapes
/// - `xbc`: `[n, d_inner + 2 d_state]`: `x`, `B`, `C`
/// - `dt`, `decay`: `[n, n_heads]`; `d`: `[n_heads]`
/// - `h`: `[d_state, d_inner]`
/// - `y`: `[n, d_inner]`
#[derive(Debug)]
pub(crate) struct Recurrence<'a> {
    pub(crate) d_inner: usize,
    pub(crate) d_state: usize,
    pub(crate) xbc: Rows<'a>,
    pub(crate) dt: Rows<'a>,
    pub(crate) decay: Rows<'a>,
    pub(crate) d: &'a [f32],
    pub(crate) h: &'a mut [f32],
    pub(crate) y: RowsMut<'a>,
}

impl Op for Recurrence<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let mut r = self;
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
    let (d_inner, d_state, heads) = (r.d_inner, r.d_state, r.d.len());
    let head_dim = d_inner / heads;
    let mut h = [l.zero(); S];
    for s in 0..S {
        h[s] = get(l, &r.h[(row + s) * d_inner..][..d_inner], at);
    }
    let tokens = r.xbc.iter().zip(r.y.iter_mut());
    let steps = r.dt.iter().zip(r.decay.iter());
    for ((xbc, y), (dt, decay)) in tokens.zip(steps) {
        let (y, dt, decay) = (&mut y[..d_inner], &dt[..heads], &decay[..heads]);
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
        // Two accumulators hide the latency of the additions.
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
