//! The causal depthwise convolution over x, B and C with its activation, `silu(conv(x) + bias)`.

use pulp::Simd;

use super::{
    lanes::{Vectors, WIDTH, kernel, load, store},
    ssm::{Buffers, Grads, RowView, SsmDims},
};

/// Taps and bias in the order that the loops want.
pub(super) struct Conv<'a> {
    d_conv: usize,
    channels: usize,
    taps: Vec<f32>, // [d_conv, channels], oldest first
    bias: &'a [f32],
}

/// Arguments of [`Conv::forward`].
pub(super) type ForwardArgs<'a> = (
    &'a Conv<'a>,
    &'a RowView<'a>,
    &'a [f32],     // history [d_conv - 1, channels]
    &'a mut [f32], // pre [length, channels]
    &'a mut [f32], // act [length, channels]
);
kernel!(pub(super) Forward<'a>(ForwardArgs<'a>) -> () = Conv::forward);
kernel!(pub(super) Backward<'a>(BackwardArgs<'a>) -> () = Conv::backward);

/// Arguments of [`Conv::backward`].
pub(super) type BackwardArgs<'a> = (
    &'a Conv<'a>,
    &'a RowView<'a>,
    &'a [f32], // history [d_conv - 1, channels]
    &'a mut Buffers,
    &'a mut Grads,
    &'a mut [f32], // gradient of the input [length, d_in_proj]
);

/// The last inputs before a row: `[d_conv - 1, channels]`, oldest first.
pub(super) fn history<'a>(dims: &SsmDims, row: usize, memory: &'a [f32]) -> &'a [f32] {
    let len = (dims.d_conv - 1) * dims.channels();
    &memory[row * len..][..len]
}

/// Stores the last inputs of a row for the next segment.
pub(super) fn remember(
    dims: &SsmDims,
    view: &RowView<'_>,
    history: &[f32],
    memory: &mut [f32],
    row: usize,
) {
    let (taps, channels) = (dims.d_conv - 1, dims.channels());
    let memory = &mut memory[row * taps * channels..][..taps * channels];
    let start = segment_start(view.resets, dims.length - 1);
    for (index, slot) in memory.chunks_exact_mut(channels).enumerate() {
        let position = (dims.length + index) as isize - taps as isize;
        match input(view, history, channels, start, position) {
            Some(values) => slot.copy_from_slice(values),
            None => slot.fill(0.0),
        }
    }
}

/// `[d_conv, channels]` to `[channels, d_conv]`.
pub(super) fn transpose_taps(dims: &SsmDims, taps: &[f32]) -> Vec<f32> {
    let channels = dims.channels();
    (0..channels)
        .flat_map(|channel| taps.iter().skip(channel).step_by(channels).copied())
        .collect()
}

/// The position of the last reset at or before `t`; nothing if the history still counts.
fn segment_start(resets: &[bool], t: usize) -> Option<usize> {
    (0..=t).rev().find(|t| resets[*t])
}

/// The input at `position`, which may lie in the history; nothing where a reset cut it off.
#[inline(always)]
fn input<'a>(
    view: &RowView<'a>,
    history: &'a [f32],
    channels: usize,
    start: Option<usize>,
    position: isize,
) -> Option<&'a [f32]> {
    if start.is_some_and(|start| position < start as isize) {
        return None;
    }
    if position >= 0 {
        return Some(view.xbc(position as usize));
    }
    let index = history.len() as isize + position * channels as isize;
    usize::try_from(index)
        .ok()
        .map(|index| &history[index..][..channels])
}

impl<'a> Conv<'a> {
    pub(super) fn new(dims: &SsmDims, weight: &[f32], bias: &'a [f32]) -> Self {
        let d_conv = dims.d_conv;
        let taps = (0..d_conv)
            .flat_map(|tap| weight.iter().skip(tap).step_by(d_conv).copied())
            .collect();
        Self {
            d_conv,
            channels: dims.channels(),
            taps,
            bias,
        }
    }

    #[inline(always)]
    fn taps(&self, index: usize) -> &[f32] {
        &self.taps[index * self.channels..][..self.channels]
    }

    /// `pre = conv(x) + bias` and `act = silu(pre)`, `[length, channels]`.
    #[inline(always)]
    fn forward<S: Simd>(v: Vectors<S>, (conv, view, history, pre, act): ForwardArgs<'_>) {
        let channels = conv.channels;
        let rows = pre
            .chunks_exact_mut(channels)
            .zip(act.chunks_exact_mut(channels));
        let mut start = None;
        for (t, (pre, act)) in rows.enumerate() {
            if view.resets[t] {
                start = Some(t);
            }
            pre.copy_from_slice(conv.bias);
            for tap in 0..conv.d_conv {
                let position = (t + tap + 1) as isize - conv.d_conv as isize;
                if let Some(values) = input(view, history, channels, start, position) {
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

    /// From `buffers.d_act` to the gradients of inputs, taps and bias. The history takes none:
    /// back-propagation is truncated at the segment.
    #[inline(always)]
    fn backward<S: Simd>(
        v: Vectors<S>,
        (conv, view, history, buffers, grads, d_zxbcdt): BackwardArgs<'_>,
    ) {
        let (channels, length) = (conv.channels, view.resets.len());
        let width = d_zxbcdt.len() / length;
        let d_inner = view.d_inner();
        let mut start = None;
        for t in 0..length {
            if view.resets[t] {
                start = Some(t);
            }
            let d_pre = &mut buffers.d_act[t * channels..][..channels];
            let pre = &buffers.pre[t * channels..][..channels];
            for block in 0..channels.div_ceil(WIDTH) {
                let (_, slope) = v.silu(load(pre, block));
                let d = v.mul(load(d_pre, block), slope);
                store(d, block, d_pre);
                let d_bias = v.add(load(&grads.conv_bias, block), d);
                store(d_bias, block, &mut grads.conv_bias);
            }
            for tap in 0..conv.d_conv {
                let position = (t + tap + 1) as isize - conv.d_conv as isize;
                let Some(values) = input(view, history, channels, start, position) else {
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
