//! Products of weight matrices with one or many tokens.

use super::{
    Kernel, Matrix, Op, Quantize, Rows, RowsMut,
    lanes::{Block, HALVES, Lanes, WIDTH, Weights},
    matrix::{Bits, Integers, Store},
    quantize::Quantized,
};

/// Tokens that pass a panel together where registers allow, so that a weight is read once for all.
const TOKENS: usize = 4;

/// `out = X W^T` for all rows of `x`, or for the chosen ones in their order.
///
/// With integer weights an output is the sum over the groups, in order, of
/// `dot(w, x) * scale_x * scale_w`, of which `dot` is exact.
///
/// # Shapes
/// - `x`: `[tokens, matrix.cols()]`, and in `integers` what [`Quantize`](super::Quantize) made of it
/// - `out`: `[n, matrix.stride()]`, columns beyond the rows of the matrix become zero
#[derive(Debug)]
pub(crate) struct Product<'a> {
    pub(crate) matrix: &'a Matrix,
    pub(crate) x: Rows<'a>,
    pub(crate) integers: &'a Quantized,
    pub(crate) chosen: Option<&'a [u32]>,
    pub(crate) out: RowsMut<'a>,
}

impl Product<'_> {
    /// Rows of outputs.
    #[inline(always)]
    fn len(&self) -> usize {
        self.chosen.map_or(self.x.len, <[u32]>::len)
    }

    /// The row of `x` that output `index` is made of.
    #[inline(always)]
    fn input(&self, index: usize) -> usize {
        match self.chosen {
            Some(rows) => rows[index] as usize,
            None => index,
        }
    }
}

impl Kernel {
    /// Computes a [`Product`] by the code for its kind of weights.
    pub(crate) fn multiply(self, mut product: Product<'_>) {
        debug_assert_eq!(product.out.values.len(), product.len() * product.out.stride);
        let matrix = product.matrix;
        match &matrix.store {
            Store::Float(weights) => self.run(Floats(&mut product, weights)),
            Store::Integer(weights) => match weights.bits {
                Bits::Eight => self.run(Ints::<8>(&mut product, weights)),
                Bits::Four => self.run(Ints::<4>(&mut product, weights)),
            },
        }
    }

    /// `out = X W^T` for all rows, the integers of `x` made first where `matrix` has some.
    pub(crate) fn project(
        self,
        matrix: &Matrix,
        x: Rows<'_>,
        integers: &mut Quantized,
        out: RowsMut<'_>,
    ) {
        self.run(Quantize {
            matrix,
            x,
            to: integers,
        });
        self.multiply(Product {
            matrix,
            x,
            integers,
            chosen: None,
            out,
        });
    }
}

/// Calls `$pass` for the panels of a matrix, with its number of blocks as a constant.
macro_rules! for_each_panel {
    ($stride:expr, |$first:ident| $pass:ident::<$($generic:tt),+>($($argument:expr),+ $(,)?)) => {
        for $first in (0..$stride).step_by(L::PANEL * WIDTH) {
            match L::PANEL.min(($stride - $first) / WIDTH) {
                1 => $pass::<$($generic),+, 1>($($argument),+),
                2 => $pass::<$($generic),+, 2>($($argument),+),
                3 => $pass::<$($generic),+, 3>($($argument),+),
                _ => $pass::<$($generic),+, 4>($($argument),+),
            }
        }
    };
}

struct Floats<'p, 'a>(&'p mut Product<'a>, &'a [f32]);

impl Op for Floats<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Self(product, weights) = self;
        let (cols, stride) = (product.matrix.cols(), product.matrix.stride());
        for_each_panel!(stride, |first| float_panel::<L>(
            l,
            &weights[first * cols..],
            product,
            first
        ));
    }
}

/// All tokens past a panel of `R` blocks, whose outputs begin at column `first`.
#[inline(always)]
fn float_panel<L: Lanes, const R: usize>(
    l: L,
    panel: &[f32],
    product: &mut Product<'_>,
    first: usize,
) {
    let panel = &panel.as_chunks::<WIDTH>().0.as_chunks::<R>().0[..product.matrix.cols()];
    let (n, mut token) = (product.len(), 0);
    while L::REGISTERS >= 32 && n - token >= TOKENS {
        float_tile::<L, R, TOKENS>(l, panel, product, token, first);
        token += TOKENS;
    }
    while token < n {
        float_tile::<L, R, 1>(l, panel, product, token, first);
        token += 1;
    }
}

/// `T` tokens past a panel of `R` blocks.
#[inline(always)]
fn float_tile<L: Lanes, const R: usize, const T: usize>(
    l: L,
    panel: &[[Block; R]],
    product: &mut Product<'_>,
    token: usize,
    first: usize,
) {
    let mut x: [&[f32]; T] = [&[]; T];
    for t in 0..T {
        x[t] = product.x.row(product.input(token + t), panel.len());
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
    store_tile(l, sums, product, token, first);
}

/// `R` blocks of outputs of `T` tokens.
#[inline(always)]
fn store_tile<L: Lanes, const R: usize, const T: usize>(
    l: L,
    sums: [[L::F; R]; T],
    product: &mut Product<'_>,
    token: usize,
    first: usize,
) {
    for t in 0..T {
        let out = &mut product.out.values[(token + t) * product.out.stride + first..];
        let blocks = &mut out.as_chunks_mut::<WIDTH>().0[..R];
        for r in 0..R {
            l.store(sums[t][r], &mut blocks[r]);
        }
    }
}

struct Ints<'p, 'a, const BITS: usize>(&'p mut Product<'a>, &'a Integers);

impl<const BITS: usize> Op for Ints<'_, '_, BITS> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Self(product, weights) = self;
        let (cols, stride) = (product.matrix.cols(), product.matrix.stride());
        let groups = weights.groups(cols);
        let bytes = weights.block_bytes(cols) / WIDTH;
        for_each_panel!(stride, |first| integer_panel::<L, BITS>(
            l,
            &Panel {
                codes: &weights.codes[first * bytes..],
                scales: &weights.scales[first * groups..],
                starts: &weights.starts[first * groups..],
                groups,
                loads: weights.group.div_ceil(weights.bits.inputs()),
                group: weights.group,
            },
            product,
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

/// All tokens past a panel of `R` blocks, whose outputs begin at column `first`.
#[inline(always)]
fn integer_panel<L: Lanes, const BITS: usize, const R: usize>(
    l: L,
    panel: &Panel<'_>,
    product: &mut Product<'_>,
    first: usize,
) {
    let (n, mut token) = (product.len(), 0);
    while L::REGISTERS >= 32 && n - token >= TOKENS {
        integer_tile::<L, BITS, R, TOKENS>(l, panel, product, token, first);
        token += TOKENS;
    }
    while token < n {
        integer_tile::<L, BITS, R, 1>(l, panel, product, token, first);
        token += 1;
    }
}

/// `T` tokens past a panel of `R` blocks.
#[inline(always)]
fn integer_tile<L: Lanes, const BITS: usize, const R: usize, const T: usize>(
    l: L,
    panel: &Panel<'_>,
    product: &mut Product<'_>,
    token: usize,
    first: usize,
) {
    let x = product.integers;
    let codes = panel
        .codes
        .as_chunks::<{ 4 * WIDTH }>()
        .0
        .as_chunks::<R>()
        .0;
    let scales = panel.scales.as_chunks::<WIDTH>().0.as_chunks::<R>().0;
    let starts = panel.starts.as_chunks::<WIDTH>().0.as_chunks::<R>().0;
    let per_row = x.stride / WIDTH;
    let mut rows = [0; T];
    for t in 0..T {
        rows[t] = product.input(token + t);
    }
    let mut outputs = [[l.zero(); R]; T];
    for g in 0..panel.groups {
        let codes = &codes[g * panel.loads..][..panel.loads];
        let mut inputs = [Inputs::default(); T];
        for t in 0..T {
            inputs[t] = Inputs {
                bytes: &x.bytes[rows[t] * x.stride + g * panel.group..],
                total: x.totals[rows[t] * per_row + g],
            };
        }
        let sums = group_sums::<L, BITS, R, T>(l, codes, &starts[g], inputs);
        for t in 0..T {
            let scale_x = l.splat(x.scales[rows[t] * per_row + g]);
            for r in 0..R {
                let dot = l.mul(l.finish_sums(sums[t][r]), scale_x);
                outputs[t][r] = l.fma(dot, l.load(&scales[g][r]), outputs[t][r]);
            }
        }
    }
    store_tile(l, outputs, product, token, first);
}

/// The inputs of a group.
#[derive(Clone, Copy, Default)]
struct Inputs<'a> {
    bytes: &'a [u8],
    /// Their sum, where the kernel needs it.
    total: i32,
}

/// Integer products of one group of inputs, for all blocks and tokens of a tile.
#[inline(always)]
fn group_sums<L: Lanes, const BITS: usize, const R: usize, const T: usize>(
    l: L,
    codes: &[[Weights; R]],
    starts: &[[i32; WIDTH]; R],
    inputs: [Inputs<'_>; T],
) -> [[L::Sums; R]; T] {
    let mut sums = [[l.load_sums(&starts[0]); R]; T];
    for r in 0..R {
        for t in 0..T {
            sums[t][r] = l.load_sums(&starts[r]);
        }
    }
    if BITS == 4 {
        add_halves(l, codes, inputs, &mut sums);
        return sums;
    }
    let mut words: [&[[u8; 4]]; T] = [&[]; T];
    for t in 0..T {
        words[t] = &inputs[t].bytes.as_chunks().0[..codes.len()];
    }
    for (i, codes) in codes.iter().enumerate() {
        for r in 0..R {
            let w = l.load_weights(&codes[r]);
            for t in 0..T {
                sums[t][r] = l.dot4(sums[t][r], w, words[t][i]);
            }
        }
    }
    sums
}

/// The same for weights of 4 bits.
#[inline(always)]
fn add_halves<L: Lanes, const R: usize, const T: usize>(
    l: L,
    codes: &[[Weights; R]],
    inputs: [Inputs<'_>; T],
    sums: &mut [[L::Sums; R]; T],
) {
    for (part, codes) in codes.chunks(HALVES).enumerate() {
        let mut words: [&[[[u8; 4]; 2]]; T] = [&[]; T];
        for t in 0..T {
            let bytes = inputs[t].bytes.as_chunks::<4>().0.as_chunks::<2>().0;
            words[t] = &bytes[part * HALVES..][..codes.len()];
        }
        let mut halves = [[l.begin_halves(sums[0][0]); R]; T];
        for t in 0..T {
            for r in 0..R {
                halves[t][r] = l.begin_halves(sums[t][r]);
            }
        }
        for (i, codes) in codes.iter().enumerate() {
            for r in 0..R {
                let w = l.load_weights(&codes[r]);
                for t in 0..T {
                    // Apart, so that each is broadcast from memory.
                    let [low, high] = &words[t][i];
                    halves[t][r] = l.dot8(halves[t][r], w, *low, *high);
                }
            }
        }
        for t in 0..T {
            // The total of all inputs counts once.
            let total = if part == 0 { inputs[t].total } else { 0 };
            for r in 0..R {
                sums[t][r] = l.finish_halves(sums[t][r], halves[t][r], total);
            }
        }
    }
}
