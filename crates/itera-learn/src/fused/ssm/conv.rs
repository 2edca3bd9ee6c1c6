//! The causal depthwise convolution over x, B and C with its activation, `silu(conv(x) + bias)`.

use pulp::Simd;

use super::dims::{Grads, Row, SsmDims};
use crate::fused::lanes::{Kernel, Vectors, WIDTH, load, store};

/// Taps and bias in the order that the loops want.
pub(super) struct Conv<'a> {
    d_conv: usize,
    channels: usize,
    taps: Vec<f32>, // [d_conv, channels], oldest first
    bias: &'a [f32],
}

impl<'a> Conv<'a> {
    /// From `weight [channels, d_conv]` and `bias [channels]`.
    pub(super) fn new(dims: &SsmDims, weight: &[f32], bias: &'a [f32]) -> Self {
        Self {
            d_conv: dims.d_conv,
            channels: dims.channels(),
            taps: transpose(weight, dims.d_conv),
            bias,
        }
    }

    #[inline(always)]
    fn taps(&self, index: usize) -> &[f32] {
        &self.taps[index * self.channels..][..self.channels]
    }

    /// The position that a tap reads for token `t`; negative in the history.
    #[inline(always)]
    const fn position(&self, t: usize, tap: usize) -> isize {
        (t + tap + 1) as isize - self.d_conv as isize
    }
}

/// The transpose of a matrix with so many columns.
pub(super) fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| values.iter().skip(column).step_by(columns).copied())
        .collect()
}

/// Stores the last inputs of a row for the next segment, `[d_conv - 1, channels]`.
pub(super) fn remember(row: &Row<'_>, history: &mut [f32]) {
    let SsmDims { length, d_conv, .. } = *row.dims;
    let start = row.resets.iter().rposition(|reset| *reset);
    let slots = history.chunks_exact_mut(row.dims.channels());
    for (index, slot) in slots.enumerate() {
        let position = (length + index + 1) as isize - d_conv as isize;
        match row.xbc(start, position) {
            Some(values) => slot.copy_from_slice(values),
            None => slot.fill(0.0),
        }
    }
}

/// `pre = conv(x) + bias` and `act = silu(pre)` of a row.
pub(super) struct Forward<'a> {
    pub(super) conv: &'a Conv<'a>,
    pub(super) row: &'a Row<'a>,
    pub(super) pre: &'a mut [f32], // [length, channels]
    pub(super) act: &'a mut [f32], // [length, channels]
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let Self {
            conv,
            row,
            pre,
            act,
        } = self;
        let channels = conv.channels;
        let rows = pre
            .chunks_exact_mut(channels)
            .zip(act.chunks_exact_mut(channels));
        let mut start = None;
        for (t, (pre, act)) in rows.enumerate() {
            if row.resets[t] {
                start = Some(t);
            }
            pre.copy_from_slice(conv.bias);
            for tap in 0..conv.d_conv {
                if let Some(values) = row.xbc(start, conv.position(t, tap)) {
                    for ((pre, x), tap) in pre.iter_mut().zip(values).zip(conv.taps(tap)) {
                        *pre = x.mul_add(*tap, *pre);
                    }
                }
            }
            for block in 0..channels.div_ceil(WIDTH) {
                store(v.silu(load(pre, block)).0, block, act);
            }
        }
    }
}

/// From the gradient of the activation to those of inputs, taps and bias. The history gets no gradient:
/// back-propagation is truncated at the segment.
pub(super) struct Backward<'a> {
    pub(super) conv: &'a Conv<'a>,
    pub(super) row: &'a Row<'a>,
    pub(super) pre: &'a [f32],       // [length, channels]
    pub(super) d_act: &'a mut [f32], // [length, channels]; becomes the gradient of `pre`
    pub(super) grads: &'a mut Grads,
    pub(super) d_zxbcdt: &'a mut [f32], // [length, d_in_proj]
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let Self {
            conv,
            row,
            pre,
            d_act,
            grads,
            d_zxbcdt,
        } = self;
        let (channels, width, d_inner) = (conv.channels, row.dims.d_in_proj(), row.dims.d_inner);
        let rows = pre
            .chunks_exact(channels)
            .zip(d_act.chunks_exact_mut(channels));
        let mut start = None;
        for (t, (pre, d_pre)) in rows.enumerate() {
            if row.resets[t] {
                start = Some(t);
            }
            for block in 0..channels.div_ceil(WIDTH) {
                let (_, slope) = v.silu(load(pre, block));
                let d = v.mul(load(d_pre, block), slope);
                store(d, block, d_pre);
                let d_bias = v.add(load(&grads.conv_bias, block), d);
                store(d_bias, block, &mut grads.conv_bias);
            }
            for tap in 0..conv.d_conv {
                let position = conv.position(t, tap);
                let Some(values) = row.xbc(start, position) else {
                    continue;
                };
                let d_taps = &mut grads.conv_weight[tap * channels..][..channels];
                for ((d_tap, x), d) in d_taps.iter_mut().zip(values).zip(d_pre.iter()) {
                    *d_tap = x.mul_add(*d, *d_tap);
                }
                if position >= 0 {
                    let d_x = &mut d_zxbcdt[position as usize * width + d_inner..][..channels];
                    for ((d_x, tap), d) in d_x.iter_mut().zip(conv.taps(tap)).zip(d_pre.iter()) {
                        *d_x = tap.mul_add(*d, *d_x);
                    }
                }
            }
        }
    }
}
