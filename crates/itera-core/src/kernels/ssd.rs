//! What the recurrence of the mixer reads: convolution and step sizes.

use super::{
    Op, Rows, RowsMut,
    lanes::{Lanes, WIDTH},
    math::{abreast, exp_nonpositive, get, put, silu, softplus},
};

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
        for t in 0..self.x.len {
            let out = self.out.row(t, channels);
            abreast!(channels, WIDTH, |at| silu_in_place::<L>(l, &mut out[at..]));
        }
        self.remember();
    }
}

impl Convolve<'_> {
    /// Puts the last tokens into the memory.
    fn remember(self) {
        let (channels, n) = (self.bias.len(), self.x.len);
        let history = self.memory.len() / channels;
        self.memory.copy_within(n.min(history) * channels.., 0);
        for slot in history.saturating_sub(n)..history {
            let newest = self.x.row(n + slot - history, channels);
            self.memory[slot * channels..][..channels].copy_from_slice(newest);
        }
    }
}

/// `x = silu(x)`, the first `N` vectors.
#[inline(always)]
fn silu_in_place<L: Lanes, const N: usize>(l: L, x: &mut [f32]) {
    for (i, y) in silu::<L, N>(l, x).into_iter().enumerate() {
        put(l, y, x, i * WIDTH);
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
    for t in 0..c.x.len {
        for i in 1..K {
            window[i - 1] = window[i];
        }
        window[K - 1] = get(l, c.x.row(t, channels), at);
        let mut sum = bias;
        for i in 0..K {
            sum = l.fma(taps[i], window[i], sum);
        }
        put(l, sum, c.out.row(t, channels), at);
    }
}

/// The same for any number of taps.
#[inline(always)]
fn convolve_any<L: Lanes>(l: L, c: &mut Convolve<'_>, at: usize) {
    let channels = c.bias.len();
    let history = c.memory.len() / channels;
    for t in 0..c.x.len {
        let mut sum = get(l, c.bias, at);
        for (i, taps) in c.taps.chunks_exact(channels).enumerate() {
            let input = match (t + i).checked_sub(history) {
                Some(token) => c.x.row(token, channels),
                None => &c.memory[(t + i) * channels..][..channels],
            };
            sum = l.fma(get(l, taps, at), get(l, input, at), sum);
        }
        put(l, sum, c.out.row(t, channels), at);
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
        abreast!(self.raw.len, 1, |t| step_sizes::<L>(l, &mut self, t));
    }
}

/// The same for `N` tokens from `t` on.
#[inline(always)]
fn step_sizes<L: Lanes, const N: usize>(l: L, s: &mut StepSizes<'_>, t: usize) {
    let heads = s.a.len();
    for at in (0..heads).step_by(WIDTH) {
        let (a, bias) = (get(l, s.a, at), get(l, s.bias, at));
        let mut raw = [bias; N];
        for i in 0..N {
            raw[i] = l.add(get(l, s.raw.row(t + i, heads), at), bias);
        }
        let (dt, mut powers) = (softplus(l, raw), raw);
        for i in 0..N {
            put(l, dt[i], s.dt.row(t + i, heads), at);
            powers[i] = l.mul(dt[i], a);
        }
        let decay = exp_nonpositive(l, powers);
        for i in 0..N {
            put(l, decay[i], s.decay.row(t + i, heads), at);
        }
    }
}
