//! Weight matrices in the layout that the products read.
//!
//! Rows are outputs. Sixteen of them make a block, one for each lane, and as many blocks as a kernel computes together
//! a panel (the last may have fewer); within a panel the inputs follow each other, so that a product reads
//! its weights once, in order. Rows that fill up the last block are zero.
//!
//! | weights | for each input, or four of them | scales |
//! |---|---|---|
//! | fp32 | `[blocks, 16]` floats | none |
//! | int8 | `[blocks, 16, 4]` bytes | `[groups, blocks, 16]` floats |
//! | int4 | of eight inputs, `[blocks, 16, 4]` bytes: low half input `j`, high half input `j + 4` | the same, a 16th, since a half byte is multiplied where it stands |
//!
//! Where a kernel adds an offset to the inputs, the products begin at its compensation,
//! `-offset * sum_k w[row][k]` for each group.

use alloc::vec::Vec;

use super::{
    Kernel, Op,
    buffer::Buffer,
    lanes::{Lanes, WIDTH},
};
use crate::checkpoint::{Tensor, TensorData, unpack_nibbles};

/// A weight matrix `[rows, cols]`.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    rows: usize,
    cols: usize,
    panel: usize, // blocks
    pub(super) store: Store,
}

/// The weights in their layout.
#[derive(Clone, Debug)]
pub(super) enum Store {
    Float(Buffer<f32>),
    Integer(Integers),
}

/// Integer weights and the scales of their groups.
#[derive(Clone, Debug)]
pub(super) struct Integers {
    pub(super) bits: Bits,
    /// Inputs that share a scale.
    pub(super) group: usize,
    pub(super) codes: Buffer<i8>,
    pub(super) scales: Buffer<f32>, // as the codes
    pub(super) starts: Buffer<i32>, // as the scales
}

/// Width of an integer weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    Four,
    Eight,
}

impl Bits {
    /// The factor of a weight in a product.
    pub(super) const fn factor(self) -> i32 {
        match self {
            Self::Four => 16,
            Self::Eight => 1,
        }
    }

    /// Inputs whose weights lie in the 64 bytes of a block.
    pub(super) const fn inputs(self) -> usize {
        match self {
            Self::Four => 8,
            Self::Eight => 4,
        }
    }
}

/// A part of the rows of a tensor, seen as a matrix of integers.
struct Codes {
    bits: Bits,
    group: usize,
    values: Vec<i8>,  // [rows, cols]
    scales: Vec<f32>, // [rows, cols / group]
}

impl Matrix {
    /// The whole of a tensor `[rows, cols]`, packed for a kernel.
    pub(crate) fn from_tensor(tensor: &Tensor, kernel: Kernel) -> Self {
        let cols = tensor.shape.last().copied().unwrap_or(1);
        Self::from_rows(tensor, 0, tensor.len() / cols, kernel)
    }

    /// `rows` rows of a tensor, from row `first` on; all sizes but the last are rows.
    pub(crate) fn from_rows(tensor: &Tensor, first: usize, rows: usize, kernel: Kernel) -> Self {
        let Layout { panel, offset } = kernel.run(LayoutOf);
        let cols = tensor.shape.last().copied().unwrap_or(1);
        let span = first * cols..(first + rows) * cols;
        let integers = |bits, group: usize, scales: &[half::f16], values| {
            let scales = &scales[span.start / group..span.end / group];
            let codes = Codes {
                bits,
                group,
                values,
                scales: scales.iter().map(|scale| scale.to_f32()).collect(),
            };
            Store::Integer(pack_integers(&codes, cols, panel, offset))
        };
        let store = match &tensor.data {
            TensorData::F32(_) | TensorData::F16(_) => {
                Store::Float(pack_floats(&tensor.to_f32()[span], cols, panel))
            }
            TensorData::Int8 {
                values,
                scales,
                group,
            } => integers(Bits::Eight, *group, scales, values[span.clone()].to_vec()),
            TensorData::Int4 {
                packed,
                scales,
                group,
            } => {
                let values = unpack_nibbles(&packed[span.start / 2..span.end / 2]);
                integers(Bits::Four, *group, scales, values)
            }
        };
        Self {
            rows,
            cols,
            panel,
            store,
        }
    }

    /// Inputs of a product.
    pub(crate) const fn cols(&self) -> usize {
        self.cols
    }

    /// Values from one token of the outputs to the next: `rows`, rounded up to whole vectors.
    pub(crate) const fn stride(&self) -> usize {
        self.rows.next_multiple_of(WIDTH)
    }

    /// Whether the weights are integers.
    pub(crate) const fn is_integer(&self) -> bool {
        matches!(self.store, Store::Integer(_))
    }

    /// Bytes of weights that a product reads.
    pub(crate) fn bytes(&self) -> usize {
        match &self.store {
            Store::Float(weights) => size_of_val::<[f32]>(weights),
            Store::Integer(integers) => {
                integers.codes.len()
                    + size_of_val::<[f32]>(&integers.scales)
                    + size_of_val::<[i32]>(&integers.starts)
            }
        }
    }

    /// Unpacks one row, `[cols]`.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        let blocks = self.stride() / WIDTH;
        let lane = row % (self.panel * WIDTH);
        let first = (row - lane) / WIDTH;
        let width = (blocks - first).min(self.panel) * WIDTH;
        match &self.store {
            Store::Float(weights) => {
                let weights = &weights[first * WIDTH * self.cols + lane..];
                for (out, weight) in out.iter_mut().zip(weights.iter().step_by(width)) {
                    *out = *weight;
                }
            }
            Store::Integer(integers) => {
                let scales = &integers.scales[first * WIDTH * integers.groups(self.cols) + lane..];
                let codes = &integers.codes[first * integers.block_bytes(self.cols)..];
                let codes = codes.as_chunks::<4>().0[lane..].iter().step_by(width);
                integers.unpack(codes, scales.iter().step_by(width), out);
            }
        }
    }
}

impl Integers {
    /// Groups in a row of `cols` inputs.
    pub(super) const fn groups(&self, cols: usize) -> usize {
        cols / self.group
    }

    /// Bytes of a block of rows with `cols` inputs.
    pub(super) const fn block_bytes(&self, cols: usize) -> usize {
        cols.div_ceil(self.bits.inputs()) * 4 * WIDTH
    }

    /// The weights of a row, whose codes and scales these are.
    fn unpack<'a>(
        &self,
        mut codes: impl Iterator<Item = &'a [i8; 4]>,
        scales: impl Iterator<Item = &'a f32>,
        out: &mut [f32],
    ) {
        for (out, scale) in out.chunks_mut(self.group).zip(scales) {
            for (out, codes) in out.chunks_mut(self.bits.inputs()).zip(&mut codes) {
                let (low, high) = out.split_at_mut(out.len().min(4));
                let halves = match self.bits {
                    Bits::Eight => [*codes, [0; 4]],
                    Bits::Four => [codes.map(|code| code << 4), codes.map(|code| code & !0x0f)],
                };
                for (out, codes) in [low, high].into_iter().zip(halves) {
                    for (out, code) in out.iter_mut().zip(codes) {
                        *out = f32::from(code) * scale;
                    }
                }
            }
        }
    }
}

/// What a layout takes from the kernel.
struct Layout {
    panel: usize,
    offset: i32,
}

struct LayoutOf;

impl Op for LayoutOf {
    type Output = Layout;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> Layout {
        Layout {
            panel: L::PANEL,
            offset: L::INPUT_OFFSET,
        }
    }
}

/// First row and width in rows of each panel.
fn panels(rows: usize, panel: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = rows.div_ceil(WIDTH);
    (0..blocks)
        .step_by(panel)
        .map(move |first| (first * WIDTH, (blocks - first).min(panel) * WIDTH))
}

fn pack_floats(values: &[f32], cols: usize, panel: usize) -> Buffer<f32> {
    let rows = values.len() / cols;
    let mut packed = Buffer::new(rows.next_multiple_of(WIDTH) * cols);
    let mut at = 0;
    for (first, width) in panels(rows, panel) {
        for k in 0..cols {
            for row in first..rows.min(first + width) {
                packed[at + row - first] = values[row * cols + k];
            }
            at += width;
        }
    }
    packed
}

fn pack_integers(from: &Codes, cols: usize, panel: usize, offset: i32) -> Integers {
    let (rows, groups) = (from.values.len() / cols, cols / from.group);
    let padded = rows.next_multiple_of(WIDTH);
    let mut packed = Integers {
        bits: from.bits,
        group: from.group,
        codes: Buffer::new(padded * cols.div_ceil(from.bits.inputs()) * 4),
        scales: Buffer::new(padded * groups),
        starts: Buffer::new(padded * groups),
    };
    let factor = from.bits.factor();
    for (first, width) in panels(rows, panel) {
        for row in first..rows.min(first + width) {
            let values = &from.values[row * cols..][..cols];
            pack_codes(&mut packed, values, first, width, row - first);
            for (group, values) in values.chunks(from.group).enumerate() {
                let at = first * groups + group * width + row - first;
                let sum: i32 = values.iter().map(|value| i32::from(*value)).sum();
                packed.scales[at] = from.scales[row * groups + group] / factor as f32;
                packed.starts[at] = -offset * factor * sum;
            }
        }
    }
    packed
}

/// Puts one row into its panel.
fn pack_codes(packed: &mut Integers, values: &[i8], first: usize, width: usize, lane: usize) {
    let inputs = packed.bits.inputs();
    let panel = first * packed.block_bytes(values.len()) / WIDTH;
    for (k, value) in values.iter().enumerate() {
        let at = panel + (k / inputs * width + lane) * 4 + k % 4;
        packed.codes[at] |= match packed.bits {
            Bits::Eight => *value,
            Bits::Four if k % inputs < 4 => value & 0x0f,
            Bits::Four => value << 4,
        };
    }
}
