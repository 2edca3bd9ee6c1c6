//! Inputs of integer products: 8-bit integers with a scale for each group, made for every token
//! anew.

use super::{
    Matrix, Op, Rows,
    buffer::Buffer,
    lanes::{Lanes, WIDTH},
    math::get,
    matrix::{Bits, Store},
};

/// The largest integer.
const LIMIT: f32 = 127.0;

/// A group whose largest magnitude is below this counts as zero: its inverse would overflow.
const SMALLEST: f32 = 1e-30;

/// The inverse of [`LIMIT`].
const STEP: f32 = 1.0 / LIMIT;

/// Rows of inputs as integers, `x[k] ~ integers[k] * scales[k / group]`, in the bytes that the
/// kernel wants.
#[derive(Clone, Debug)]
pub(crate) struct Quantized {
    pub(super) bytes: Buffer<u8>,   // [rows, stride]
    pub(super) scales: Buffer<f32>, // [rows, stride / 16]
    /// Sums of the integers of each group, where weights have 4 bits and the kernel needs them.
    pub(super) totals: Buffer<i32>, // as the scales
    pub(super) stride: usize,
}

impl Quantized {
    /// Memory for `rows` rows of up to `cols` inputs.
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        let stride = cols.next_multiple_of(WIDTH);
        Self {
            bytes: Buffer::new(rows * stride),
            scales: Buffer::new(rows * stride / WIDTH),
            totals: Buffer::new(rows * stride / WIDTH),
            stride,
        }
    }
}

/// Makes the integers that a product with `matrix` reads; nothing where it reads floats.
///
/// In each group the scale is a 127th of its largest magnitude, and the integers are the nearest to
/// `x / scale`, ties to even. An input that is not finite makes every output of its row NaN.
///
/// # Shapes
/// - `x`: `[n, matrix.cols()]`
pub(crate) struct Quantize<'a> {
    pub(crate) matrix: &'a Matrix,
    pub(crate) x: Rows<'a>,
    pub(crate) to: &'a mut Quantized,
}

impl Op for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Store::Integer(weights) = &self.matrix.store else {
            return;
        };
        let (to, cols) = (self.to, self.matrix.cols());
        let groups = to.stride / WIDTH;
        for t in 0..self.x.len {
            let (x, mut probe) = (self.x.row(t, cols), l.zero());
            let bytes = &mut to.bytes[t * to.stride..][..to.stride];
            let scales = &mut to.scales[t * groups..][..groups];
            match weights.group {
                16 => quantize_row::<L, 1>(l, x, bytes, scales, &mut probe),
                32 => quantize_row::<L, 2>(l, x, bytes, scales, &mut probe),
                _ => scales[0] = quantize_group(l, x, bytes, &mut probe),
            }
            if L::NEEDS_TOTALS && weights.bits == Bits::Four {
                let totals = &mut to.totals[t * groups..][..groups];
                for (total, group) in totals.iter_mut().zip(bytes.chunks(weights.group)) {
                    *total = group.iter().map(|byte| i32::from(byte.cast_signed())).sum();
                }
            }
            // Integers cannot encode NaN, so a NaN scale carries it into the product.
            if l.sum(probe).is_nan() {
                scales[0] = f32::NAN;
            }
        }
    }
}

/// A row in groups of `B` blocks.
#[inline(always)]
fn quantize_row<L: Lanes, const B: usize>(
    l: L,
    x: &[f32],
    bytes: &mut [u8],
    scales: &mut [f32],
    probe: &mut L::F,
) {
    let groups = x.as_chunks::<WIDTH>().0.as_chunks::<B>().0;
    let bytes = bytes.as_chunks_mut::<WIDTH>().0.as_chunks_mut::<B>().0;
    for ((x, bytes), scale) in groups.iter().zip(bytes).zip(scales) {
        *scale = quantize_group(l, x.as_flattened(), bytes.as_flattened_mut(), probe);
    }
}

/// The scale of a group. Bytes up to the next multiple of sixteen are written. `probe` stays zero as
/// long as all inputs are finite, and is NaN from then on.
#[inline(always)]
fn quantize_group<L: Lanes>(l: L, x: &[f32], bytes: &mut [u8], probe: &mut L::F) -> f32 {
    let mut largest = l.zero();
    for at in (0..x.len()).step_by(WIDTH) {
        let x = get(l, x, at);
        largest = l.max(l.max(x, l.sub(l.zero(), x)), largest);
        *probe = l.fma(x, l.zero(), *probe);
    }
    let largest = l.max_of_lanes(largest);
    if largest < SMALLEST {
        // Zero as the kernel writes it.
        for block in bytes.as_chunks_mut::<WIDTH>().0 {
            l.store_bytes(l.zero(), block);
        }
        return 0.0;
    }
    let inverse = l.splat(LIMIT / largest);
    let blocks = bytes.as_chunks_mut::<WIDTH>().0;
    for (at, block) in (0..x.len()).step_by(WIDTH).zip(blocks) {
        l.store_bytes(l.mul(get(l, x, at), inverse), block);
    }
    largest * STEP
}
