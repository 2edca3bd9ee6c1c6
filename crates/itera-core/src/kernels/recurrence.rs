//! The recurrence of the mixer, and the state that it moves on.

use super::{
    Op, Rows, RowsMut,
    buffer::Buffer,
    lanes::{Block, Lanes, WIDTH},
    math::{get, put},
};

/// Rows of the state whose outputs are added in two sums, which hides the latency of the additions.
const ROWS: usize = 8;

/// Groups of so many rows that stay in registers together, where there are 32.
const GROUPS: usize = 3;

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

    /// All rows of the sixteen channels from `at` on.
    #[inline(always)]
    fn rows(&mut self, at: usize) -> &mut [Block] {
        let blocks = self.values.as_chunks_mut().0;
        &mut blocks[at / WIDTH * self.d_state..][..self.d_state]
    }

    /// The same from `row` on, in groups of `S`.
    #[inline(always)]
    fn groups<const S: usize>(&mut self, at: usize, row: usize) -> &mut [[Block; S]] {
        self.rows(at)[row..].as_chunks_mut().0
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
        let d_inner = self.h.d_inner;
        let head_dim = d_inner / self.d.len();
        let is_in_one_head = head_dim.is_multiple_of(WIDTH);
        for at in (0..d_inner).step_by(WIDTH) {
            let channels = Channels {
                at,
                head_dim,
                head: is_in_one_head.then_some(at / head_dim),
            };
            if L::REGISTERS >= 32 {
                in_registers(l, &mut self, channels);
            } else {
                in_memory(l, &mut self, channels);
            }
        }
    }
}

/// Token by token past all rows of the state.
#[inline(always)]
fn in_memory<L: Lanes>(l: L, r: &mut Recurrence<'_>, channels: Channels) {
    let d = channels.get(l, r.d);
    for t in 0..r.xbc.len {
        let step = Step::of(l, r, channels, t);
        let (eights, ones) = r.h.rows(channels.at).as_chunks_mut::<ROWS>();
        let ((b_eights, b_ones), (c_eights, c_ones)) = (step.b.as_chunks(), step.c.as_chunks());
        let mut sum = l.mul(d, step.x);
        for ((h, b), c) in eights.iter_mut().zip(b_eights).zip(c_eights) {
            sum = step.rows(l, h, b, c, sum);
        }
        let ones = ones.as_chunks_mut::<1>().0.iter_mut();
        for ((h, b), c) in ones.zip(b_ones.as_chunks().0).zip(c_ones.as_chunks().0) {
            sum = step.rows(l, h, b, c, sum);
        }
        put(l, sum, r.y.row(t, r.h.d_inner), channels.at);
    }
}

/// The same, but all tokens past as many rows as registers hold, then past the next.
#[inline(always)]
fn in_registers<L: Lanes>(l: L, r: &mut Recurrence<'_>, channels: Channels) {
    let mut row = 0;
    while row < r.h.d_state {
        row += match r.h.d_state - row {
            left if left >= ROWS * GROUPS => some_rows::<L, ROWS, GROUPS>(l, r, channels, row),
            left if left >= ROWS => some_rows::<L, ROWS, 1>(l, r, channels, row),
            _ => some_rows::<L, 1, 1>(l, r, channels, row),
        };
    }
}

/// All tokens past `G` groups of `S` rows of the state from `row` on; the number of these rows.
#[inline(always)]
fn some_rows<L: Lanes, const S: usize, const G: usize>(
    l: L,
    r: &mut Recurrence<'_>,
    channels: Channels,
    row: usize,
) -> usize {
    let mut h = [[l.zero(); S]; G];
    let blocks = &r.h.groups::<S>(channels.at, row)[..G];
    for g in 0..G {
        for s in 0..S {
            h[g][s] = l.load(&blocks[g][s]);
        }
    }
    let d = channels.get(l, r.d);
    for t in 0..r.xbc.len {
        let step = Step::of(l, r, channels, t);
        let b = &step.b[row..].as_chunks::<S>().0[..G];
        let c = &step.c[row..].as_chunks::<S>().0[..G];
        let y = r.y.row(t, r.h.d_inner);
        let mut sum = if row == 0 {
            l.mul(d, step.x)
        } else {
            get(l, y, channels.at)
        };
        for g in 0..G {
            let mut sums = [sum, l.zero()];
            for s in 0..S {
                h[g][s] = step.row(l, h[g][s], b[g][s]);
                sums[s % 2] = l.fma(l.splat(c[g][s]), h[g][s], sums[s % 2]);
            }
            sum = l.add(sums[0], sums[1]);
        }
        put(l, sum, y, channels.at);
    }
    let blocks = &mut r.h.groups::<S>(channels.at, row)[..G];
    for g in 0..G {
        for s in 0..S {
            l.store(h[g][s], &mut blocks[g][s]);
        }
    }
    S * G
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

/// What one token brings to some channels.
struct Step<'a, F> {
    x: F,
    dt_x: F,
    decay: F,
    b: &'a [f32],
    c: &'a [f32],
}

impl<'a, F: Copy> Step<'a, F> {
    #[inline(always)]
    fn of<L: Lanes<F = F>>(l: L, r: &Recurrence<'a>, channels: Channels, t: usize) -> Self {
        let (heads, d_state, d_inner) = (r.d.len(), r.h.d_state, r.h.d_inner);
        let (x, bc) = r.xbc.row(t, d_inner + 2 * d_state).split_at(d_inner);
        let (b, c) = bc.split_at(d_state);
        let x = get(l, x, channels.at);
        Self {
            x,
            dt_x: l.mul(channels.get(l, r.dt.row(t, heads)), x),
            decay: channels.get(l, r.decay.row(t, heads)),
            b,
            c,
        }
    }

    /// A row of the state moved on.
    #[inline(always)]
    fn row<L: Lanes<F = F>>(&self, l: L, h: F, b: f32) -> F {
        l.fma(l.splat(b), self.dt_x, l.mul(self.decay, h))
    }

    /// `S` rows moved on in memory; `sum` and what they give.
    #[inline(always)]
    fn rows<L: Lanes<F = F>, const S: usize>(
        &self,
        l: L,
        h: &mut [Block; S],
        b: &[f32; S],
        c: &[f32; S],
        sum: F,
    ) -> F {
        let mut sums = [sum, l.zero()];
        for s in 0..S {
            let row = self.row(l, l.load(&h[s]), b[s]);
            l.store(row, &mut h[s]);
            sums[s % 2] = l.fma(l.splat(c[s]), row, sums[s % 2]);
        }
        l.add(sums[0], sums[1])
    }
}
