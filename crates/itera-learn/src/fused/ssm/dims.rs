//! Sizes of the mixer's inside, and the views and scratch buffers that its parts share.

use crate::fused::lanes::{Lane, WIDTH, ZERO};

/// Tokens between saved states.
pub(super) const SPACING: usize = 16;

/// Sizes of one application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SsmDims {
    pub batch: usize,
    pub length: usize,
    pub d_inner: usize,
    pub d_state: usize,
    pub head_dim: usize,
    pub d_conv: usize,
    pub norm_eps: f32,
}

impl SsmDims {
    pub(super) const fn heads(&self) -> usize {
        self.d_inner / self.head_dim
    }

    pub(super) const fn channels(&self) -> usize {
        self.d_inner + 2 * self.d_state
    }

    pub(super) const fn d_in_proj(&self) -> usize {
        2 * self.d_inner + 2 * self.d_state + self.heads()
    }

    /// Inputs of the convolution that are carried between segments, `[d_conv - 1, channels]`.
    pub(super) const fn history_len(&self) -> usize {
        (self.d_conv - 1) * self.channels()
    }

    /// Lanes that hold `d_inner` channels; the last one is padded with zeros.
    pub(super) const fn blocks(&self) -> usize {
        self.d_inner.div_ceil(WIDTH)
    }

    pub(super) const fn state_lanes(&self) -> usize {
        self.blocks() * self.d_state
    }

    /// Lanes of the states that the forward pass saves of a row.
    pub(super) const fn checkpoint_lanes(&self) -> usize {
        self.length.div_ceil(SPACING) * self.state_lanes()
    }
}

/// One sequence of the batch: a view of its inputs.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) dims: &'a SsmDims,
    /// `[length, d_in_proj]`: z, x, B, C and dt of every token.
    pub(super) zxbcdt: &'a [f32],
    /// `[length]`.
    pub(super) resets: &'a [bool],
    /// The last inputs of the convolution before the row, `[d_conv - 1, channels]`, oldest first.
    pub(super) history: &'a [f32],
}

impl<'a> Row<'a> {
    #[inline(always)]
    pub(super) fn z(&self, t: usize) -> &'a [f32] {
        &self.zxbcdt[t * self.dims.d_in_proj()..][..self.dims.d_inner]
    }

    /// The input of the convolution at `position`, which may lie in the history; `None` where the reset
    /// at `start` cuts it off.
    #[inline(always)]
    pub(super) fn xbc(&self, start: Option<usize>, position: isize) -> Option<&'a [f32]> {
        let channels = self.dims.channels();
        if start.is_some_and(|start| position < start as isize) {
            return None;
        }
        if position >= 0 {
            let at = position as usize * self.dims.d_in_proj() + self.dims.d_inner;
            return Some(&self.zxbcdt[at..][..channels]);
        }
        let index = self.history.len() as isize + position * channels as isize;
        usize::try_from(index)
            .ok()
            .map(|index| &self.history[index..][..channels])
    }
}

/// Sums of gradients over the whole batch.
pub(super) struct Grads {
    pub(super) conv_weight: Vec<f32>, // [d_conv, channels]
    pub(super) conv_bias: Vec<f32>,   // [channels]
    pub(super) dt_bias: Vec<f32>,     // [heads]
    pub(super) a_log: Vec<f32>,       // [heads]
    pub(super) d: Vec<f32>,           // [heads]
    pub(super) norm: Vec<f32>,        // [d_inner]
}

impl Grads {
    pub(super) fn new(dims: &SsmDims) -> Self {
        let heads = dims.heads();
        Self {
            conv_weight: vec![0.0; dims.d_conv * dims.channels()],
            conv_bias: vec![0.0; dims.channels()],
            dt_bias: vec![0.0; heads],
            a_log: vec![0.0; heads],
            d: vec![0.0; heads],
            norm: vec![0.0; dims.d_inner],
        }
    }
}

/// Scratch buffers of the backward pass of one row.
pub(super) struct Buffers {
    pub(super) pre: Vec<f32>,     // [length, channels] before the activation
    pub(super) d_act: Vec<f32>,   // [length, channels]
    pub(super) states: Vec<Lane>, // [SPACING + 1, state_lanes]
    pub(super) y: Vec<Lane>,      // [SPACING, blocks]
    pub(super) dh: Vec<Lane>,     // [state_lanes]
    pub(super) d_bc: Vec<(Lane, Lane)>, // [d_state]
}

impl Buffers {
    pub(super) fn new(dims: &SsmDims) -> Self {
        let values = dims.length * dims.channels();
        Self {
            pre: vec![0.0; values],
            d_act: vec![0.0; values],
            states: vec![ZERO; (SPACING + 1) * dims.state_lanes()],
            y: vec![ZERO; SPACING * dims.blocks()],
            dh: vec![ZERO; dims.state_lanes()],
            d_bc: vec![(ZERO, ZERO); dims.d_state],
        }
    }
}
