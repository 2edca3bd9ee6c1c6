//! Products of weight matrices with one or many tokens.

use super::{
    Kernel, Matrix, Op,
    lanes::{Block, Lanes, WIDTH, Weights},
    matrix::{Bits, Integers, PANEL, Store},
    quantize::Quantized,
};

/// Tokens that pass a panel together where registers allow, so that a weight is read once for all.
const TOKENS: usize = 4;

/// The inputs of a product: rows of floats and, for integer weights, the same as integers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    /// `[tokens, stride]`.
    pub(crate) floats: &'a [f32],
    /// Values from one row to the next.
    pub(crate) stride: usize,
    /// What [`Kernel::quantize`] made of `floats`.
    pub(crate) integers: &'a Quantized,
    /// The rows to take, in this order; all of them where `None`.
    pub(crate) chosen: Option<&'a [u32]>,
}

impl Inputs<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        match self.chosen {
            Some(rows) => rows.len(),
            None => self.floats.len() / self.stride,
        }
    }

    #[inline(always)]
    fn row(&self, index: usize) -> usize {
        match self.chosen {
            Some(rows) => rows[index] as usize,
            None => index,
        }
    }
}

impl Kernel {
    /// `out = X W^T`.
    ///
    /// With integer weights an output is the sum over the groups, in order, of
    /// `dot(w, x) * scale_x * scale_w`, of which `dot` is exact.
    ///
    /// # Shapes
    /// - `out`: `[n, matrix.stride()]`, columns from `matrix.rows()` on become zero
    pub(crate) fn multiply(self, matrix: &Matrix, inputs: Inputs<'_>, out: &mut [f32]) {
        debug_assert_eq!(out.len(), inputs.len() * matrix.stride());
        match &matrix.store {
            Store::Float(weights) => self.run(Floats {
                matrix,
                weights,
                inputs,
                out,
            }),
            Store::Integer(weights) => match weights.bits {
                Bits::Eight => self.run(Ints::<8> {
                    matrix,
                    weights,
                    inputs,
                    out,
                }),
                Bits::Four => self.run(Ints::<4> {
                    matrix,
                    weights,
                    inputs,
                    out,
                }),
            },
        }
    }
}

/// Calls `$pass` for the panels of a matrix, with its number of blocks as a constant.
macro_rules! for_each_panel {
    ($stride:expr, |$first:ident| $pass:ident::<$($generic:tt),+>($($argument:expr),+ $(,)?)) => {
        for $first in (0..$stride).step_by(PANEL * WIDTH) {
            match ($stride - $first) / WIDTH {
                1 => $pass::<$($generic),+, 1>($($argument),+),
                2 => $pass::<$($generic),+, 2>($($argument),+),
                3 => $pass::<$($generic),+, 3>($($argument),+),
                _ => $pass::<$($generic),+, PANEL>($($argument),+),
            }
        }
    };
}

struct Floats<'a> {
    matrix: &'a Matrix,
    weights: &'a [f32],
    inputs: Inputs<'a>,
    out: &'a mut [f32],
}

impl Op for Floats<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (cols, stride) = (self.matrix.cols(), self.matrix.stride());
        for_each_panel!(stride, |first| float_panel::<L>(
            l,
            &self.weights[first * cols..],
            cols,
            &self.inputs,
            &mut *self.out,
            stride,
            first,
        ));
    }
}

/// All tokens past a panel of `R` blocks.
#[inline(always)]
fn float_panel<L: Lanes, const R: usize>(
    l: L,
    panel: &[f32],
    cols: usize,
    inputs: &Inputs<'_>,
    out: &mut [f32],
    stride: usize,
    first: usize,
) {
    let panel = &panel.as_chunks::<WIDTH>().0.as_chunks::<R>().0[..cols];
    let (n, mut token) = (inputs.len(), 0);
    while L::REGISTERS >= 32 && n - token >= TOKENS {
        float_tile::<L, R, TOKENS>(l, panel, inputs, token, out, stride, first);
        token += TOKENS;
    }
    while token < n {
        float_tile::<L, R, 1>(l, panel, inputs, token, out, stride, first);
        token += 1;
    }
}

/// `T` tokens past a panel of `R` blocks.
#[inline(always)]
fn float_tile<L: Lanes, const R: usize, const T: usize>(
    l: L,
    panel: &[[Block; R]],
    inputs: &Inputs<'_>,
    token: usize,
    out: &mut [f32],
    stride: usize,
    first: usize,
) {
    let mut x: [&[f32]; T] = [&[]; T];
    for t in 0..T {
        x[t] = &inputs.floats[inputs.row(token + t) * inputs.stride..][..panel.len()];
    }
    let mut sums = [[l.zero(); R]; T];
    for (k, weights) in panel.iter().enumerate() {
        let mut inputs = [l.zero(); T];
        for t in 0..T {
            inputs[t] = l.splat(x[t][k]);
        }
        for r in 0..R {
            let w = l.load(&weights[r]);
            for t in 0..T {
                sums[t][r] = l.fma(w, inputs[t], sums[t][r]);
            }
        }
    }
    for t in 0..T {
        store_row(l, sums[t], &mut out[(token + t) * stride + first..]);
    }
}

/// `R` blocks of outputs of one token.
#[inline(always)]
fn store_row<L: Lanes, const R: usize>(l: L, sums: [L::F; R], out: &mut [f32]) {
    let blocks = &mut out.as_chunks_mut::<WIDTH>().0[..R];
    for r in 0..R {
        l.store(sums[r], &mut blocks[r]);
    }
}

struct Ints<'a, const BITS: usize> {
    matrix: &'a Matrix,
    weights: &'a Integers,
    inputs: Inputs<'a>,
    out: &'a mut [f32],
}

impl<const BITS: usize> Op for Ints<'_, BITS> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (cols, stride) = (self.matrix.cols(), self.matrix.stride());
        let groups = self.weights.groups(cols);
        let bytes = self.weights.block_bytes(cols) / WIDTH;
        for_each_panel!(stride, |first| integer_panel::<L, BITS>(
            l,
            &Panel {
                codes: &self.weights.codes[first * bytes..],
                scales: &self.weights.scales[first * groups..],
                starts: &self.weights.starts[first * groups..],
                groups,
                loads: self.weights.group.div_ceil(self.weights.bits.inputs()),
                group: self.weights.group,
            },
            &self.inputs,
            &mut *self.out,
            stride,
            first,
        ));
    }
}

/// A panel of integer weights.
struct Panel<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    starts: &'a [i32],
    groups: usize,
    /// Vectors of weights in a group, for each block.
    loads: usize,
    group: usize,
}

/// All tokens past a panel of `R` blocks.
#[inline(always)]
fn integer_panel<L: Lanes, const BITS: usize, const R: usize>(
    l: L,
    panel: &Panel<'_>,
    inputs: &Inputs<'_>,
    out: &mut [f32],
    stride: usize,
    first: usize,
) {
    let (n, mut token) = (inputs.len(), 0);
    while L::REGISTERS >= 32 && n - token >= TOKENS {
        integer_tile::<L, BITS, R, TOKENS>(l, panel, inputs, token, out, stride, first);
        token += TOKENS;
    }
    while token < n {
        integer_tile::<L, BITS, R, 1>(l, panel, inputs, token, out, stride, first);
        token += 1;
    }
}

/// `T` tokens past a panel of `R` blocks.
#[inline(always)]
fn integer_tile<L: Lanes, const BITS: usize, const R: usize, const T: usize>(
    l: L,
    panel: &Panel<'_>,
    inputs: &Inputs<'_>,
    token: usize,
    out: &mut [f32],
    stride: usize,
    first: usize,
) {
    let codes = panel
        .codes
        .as_chunks::<{ 4 * WIDTH }>()
        .0
        .as_chunks::<R>()
        .0;
    let scales = panel.scales.as_chunks::<WIDTH>().0.as_chunks::<R>().0;
    let starts = panel.starts.as_chunks::<WIDTH>().0.as_chunks::<R>().0;
    let per_row = inputs.integers.stride / WIDTH;
    let mut rows = [0; T];
    for t in 0..T {
        rows[t] = inputs.row(token + t);
    }
    let mut outputs = [[l.zero(); R]; T];
    for g in 0..panel.groups {
        let codes = &codes[g * panel.loads..][..panel.loads];
        let mut x: [&[u8]; T] = [&[]; T];
        for t in 0..T {
            let start = rows[t] * inputs.integers.stride + g * panel.group;
            x[t] = &inputs.integers.bytes[start..];
        }
        let sums = group_sums::<L, BITS, R, T>(l, codes, &starts[g], x);
        for t in 0..T {
            let scale_x = l.splat(inputs.integers.scales[rows[t] * per_row + g]);
            for r in 0..R {
                let dot = l.mul(l.finish_sums(sums[t][r]), scale_x);
                outputs[t][r] = l.fma(dot, l.load(&scales[g][r]), outputs[t][r]);
            }
        }
    }
    for t in 0..T {
        store_row(l, outputs[t], &mut out[(token + t) * stride + first..]);
    }
}

/// Integer products of one group of inputs, for all blocks and tokens of a tile.
#[inline(always)]
fn group_sums<L: Lanes, const BITS: usize, const R: usize, const T: usize>(
    l: L,
    codes: &[[Weights; R]],
    starts: &[[i32; WIDTH]; R],
    x: [&[u8]; T],
) -> [[L::Sums; R]; T] {
    let mut words: [&[[u8; 4]]; T] = [&[]; T];
    let per_load = if BITS == 4 { 2 } else { 1 };
    for t in 0..T {
        words[t] = &x[t].as_chunks::<4>().0[..codes.len() * per_load];
    }
    let mut sums = [[l.load_sums(&starts[0]); R]; T];
    for r in 0..R {
        let start = l.load_sums(&starts[r]);
        for t in 0..T {
            sums[t][r] = start;
        }
    }
    for (i, codes) in codes.iter().enumerate() {
        for r in 0..R {
            let w = l.load_weights(&codes[r]);
            if BITS == 4 {
                let (low, high) = (l.low_nibbles(w), l.high_nibbles(w));
                for t in 0..T {
                    sums[t][r] = l.dot4(sums[t][r], low, words[t][2 * i]);
                    sums[t][r] = l.dot4(sums[t][r], high, words[t][2 * i + 1]);
                }
            } else {
                for t in 0..T {
                    sums[t][r] = l.dot4(sums[t][r], w, words[t][i]);
                }
            }
        }
    }
    sums
}
