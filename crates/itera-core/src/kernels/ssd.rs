//! The state-space part of the mixer: convolution, step sizes, recurrence.

use super::{
    Op, Rows, RowsMut,
    buffer::Buffer,
    lanes::{Block, Lanes, WIDTH},
    math::{exp, get, put, silu, softplus},
};

/// Rows of the state whose outputs are added in two sums.
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
        for t in 0..self.x.len {
            silu(l, self.out.row(t, channels));
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
        let heads = self.a.len();
        for t in 0..self.raw.len {
            let raw = self.raw.row(t, heads);
            let (dt, decay) = (self.dt.row(t, heads), self.decay.row(t, heads));
            for at in (0..heads).step_by(WIDTH) {
                let step = l.add(get(l, raw, at), get(l, self.bias, at));
                let step = softplus(l, step);
                put(l, step, dt, at);
                let [power] = exp(l, [l.mul(step, get(l, self.a, at))]);
                put(l, power, decay, at);
            }
        }
    }
}

/// The state `h` of one layer, `[d_state, d_inner]`, zero at first. It lies as the recurrence reads it: all rows of the
/// first sixteen channels, then all of the next.
#[derive(Clone, Debug)]
pub(crate) struct Hidden {
    d_state: usize,
    d_inner: usize,
    values: Buffer<f32>, // [d_inner / 16, rounded up, d_state, 16]
}

impl Hidden {
    /// Zeros.
    pub(crate) fn new(d_state: usize, d_inner: usize) -> Self {
        Self {
            d_state,
            d_inner,
            values: Buffer::new(d_inner.next_multiple_of(WIDTH) * d_state),
        }
    }

    /// Zeros again.
    pub(crate) fn reset(&mut self) {
        self.values.fill(0.0);
    }

    /// Number of values.
    pub(crate) const fn len(&self) -> usize {
        self.d_state * self.d_inner
    }

    /// Row by row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = f32> + '_ {
        self.places().map(|place| self.values[place])
    }

    /// Takes over `[d_state, d_inner]`.
    pub(crate) fn copy_from_slice(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.len(), "values of a state");
        for (place, value) in self.places().zip(values) {
            self.values[place] = *value;
        }
    }

    /// Where the values are, row by row.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let Self {
            d_state, d_inner, ..
        } = *self;
        (0..d_state).flat_map(move |row| {
            (0..d_inner).map(move |at| (at / WIDTH * d_state + row) * WIDTH + at % WIDTH)
        })
    }
}

/// The recurrence of one layer and one segment, token by token: `h = decay h + dt B x^T`,
/// `y = C^T h + D x`.
///
/// # Shapes
/// - `xbc`: `[n, d_inner + 2 d_state]`: `x`, `B`, `C`
/// - `dt`, `decay`: `[n, n_heads]`; `d`: `[n_heads]`
/// - `y`: `[n, d_inner]`
#[derive(Debug)]
pub(crate) struct Recurrence<'a> {
    pub(crate) xbc: Rows<'a>,
    pub(crate) dt: Rows<'a>,
    pub(crate) decay: Rows<'a>,
    pub(crate) d: &'a [f32],
    pub(crate) h: &'a mut Hidden,
    pub(crate) y: RowsMut<'a>,
}

impl Op for Recurrence<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let (heads, (d_state, d_inner)) = (self.d.len(), (self.h.d_state, self.h.d_inner));
        let head_dim = d_inner / heads;
        let is_in_one_head = head_dim.is_multiple_of(WIDTH);
        let h = self.h.values.as_chunks_mut::<WIDTH>().0;
        for (block, h) in h.chunks_exact_mut(d_state).enumerate() {
            let at = block * WIDTH;
            let channels = Channels {
                at,
                head_dim,
                head: is_in_one_head.then_some(at / head_dim),
            };
            let d = channels.get(l, self.d);
            for t in 0..self.xbc.len {
                let (x, bc) = self.xbc.row(t, d_inner + 2 * d_state).split_at(d_inner);
                let x = get(l, x, at);
                let step = Step {
                    dt_x: l.mul(channels.get(l, self.dt.row(t, heads)), x),
                    decay: channels.get(l, self.decay.row(t, heads)),
                };
                let y = step.all_rows(l, h, bc.split_at(d_state), l.mul(d, x));
                put(l, y, self.y.row(t, d_inner), at);
            }
        }
    }
}

/// Sixteen channels, or fewer at the end.
#[derive(Clone, Copy, Debug)]
struct Channels {
    at: usize,
    head_dim: usize,
    /// Their head, where all are of the same.
    head: Option<usize>,
}

impl Channels {
    /// The values of their heads.
    #[inline(always)]
    fn get<L: Lanes>(self, l: L, heads: &[f32]) -> L::F {
        if let Some(head) = self.head {
            return l.splat(heads[head]);
        }
        let mut block = [0.0; WIDTH];
        for (i, value) in block.iter_mut().enumerate() {
            if let Some(head) = heads.get((self.at + i) / self.head_dim) {
                *value = *head;
            }
        }
        l.load(&block)
    }
}

/// One token in some channels.
struct Step<F> {
    dt_x: F,
    decay: F,
}

impl<F: Copy> Step<F> {
    /// Moves all rows of the state on; `y` and what they give.
    #[inline(always)]
    fn all_rows<L: Lanes<F = F>>(
        &self,
        l: L,
        h: &mut [Block],
        (b, c): (&[f32], &[f32]),
        y: F,
    ) -> F {
        let (eights, ones) = h.as_chunks_mut::<ROWS>();
        let ((b_eights, b_ones), (c_eights, c_ones)) = (b.as_chunks(), c.as_chunks());
        let mut y = y;
        for ((h, b), c) in eights.iter_mut().zip(b_eights).zip(c_eights) {
            y = self.rows(l, h, b, c, y);
        }
        let ones = ones.as_chunks_mut::<1>().0.iter_mut();
        for ((h, b), c) in ones.zip(b_ones.as_chunks().0).zip(c_ones.as_chunks().0) {
            y = self.rows(l, h, b, c, y);
        }
        y
    }

    /// The same for `S` rows.
    #[inline(always)]
    fn rows<L: Lanes<F = F>, const S: usize>(
        &self,
        l: L,
        h: &mut [Block; S],
        b: &[f32; S],
        c: &[f32; S],
        y: F,
    ) -> F {
        // Two accumulators hide the latency of the additions.
        let mut sums = [y, l.zero()];
        for s in 0..S {
            let row = l.mul(self.decay, l.load(&h[s]));
            let row = l.fma(l.splat(b[s]), self.dt_x, row);
            l.store(row, &mut h[s]);
            sums[s % 2] = l.fma(l.splat(c[s]), row, sums[s % 2]);
        }
        l.add(sums[0], sums[1])
    }
}
