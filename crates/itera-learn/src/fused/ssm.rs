//! The inside of the mixer as one operator: convolution, step sizes, the SSD recurrence, gate and
//! norm.
//!
//! `conv` holds the convolution, `scan` the recurrence, `gate` gate and norm; here is what they are
//! put together from, row by row of the batch.

use std::sync::Arc;

use super::{
    conv::{self, Conv},
    lanes::{Lane, WIDTH, ZERO, dispatch},
    scan::{self, Dynamics, SPACING, Scan},
};
use crate::host::{HostBackend, Operator};

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
    pub(crate) const fn heads(&self) -> usize {
        self.d_inner / self.head_dim
    }

    pub(crate) const fn channels(&self) -> usize {
        self.d_inner + 2 * self.d_state
    }

    pub(super) const fn d_in_proj(&self) -> usize {
        2 * self.d_inner + 2 * self.d_state + self.heads()
    }

    /// Lanes that hold `d_inner` channels; the last one is padded with zeros.
    pub(super) const fn blocks(&self) -> usize {
        self.d_inner.div_ceil(WIDTH)
    }

    pub(super) const fn state_lanes(&self) -> usize {
        self.blocks() * self.d_state
    }

    /// Lanes of the states that the forward pass saves of a row.
    const fn checkpoint_lanes(&self) -> usize {
        self.length.div_ceil(SPACING) * self.state_lanes()
    }
}

/// What a batch of sequences carries from one segment to the next.
#[derive(Clone, Debug)]
pub(crate) struct SsmMemory {
    /// `[batch, blocks, d_state]` lanes.
    pub h: Vec<Lane>,
    /// `[batch, d_conv - 1, channels]`, oldest first.
    pub conv: Vec<f32>,
}

impl SsmMemory {
    /// Nothing read yet.
    pub(crate) fn new(dims: &SsmDims) -> Self {
        Self {
            h: vec![ZERO; dims.batch * dims.state_lanes()],
            conv: vec![0.0; dims.batch * (dims.d_conv - 1) * dims.channels()],
        }
    }
}

/// `norm(ssd(conv(x, B, C), dt) * silu(z))`.
///
/// # Shapes
/// Inputs: `zxbcdt [batch * length, d_in_proj]`, `conv_weight [channels, d_conv]`,
/// `conv_bias [channels]`, `dt_bias [heads]`, `a_log [heads]`, `d [heads]`, `norm [d_inner]`.
/// Output: `[batch * length, d_inner]`.
#[derive(Clone, Debug)]
pub(crate) struct Ssm {
    pub dims: SsmDims,
    /// `[batch * length]`: forget everything before reading this token.
    pub resets: Arc<[bool]>,
    pub memory: Arc<SsmMemory>,
}

/// Kept by the forward pass.
#[derive(Debug)]
pub(crate) struct SsmSaved {
    /// Memory after the last token.
    pub memory: Arc<SsmMemory>,
    dt: Vec<f32>,           // [batch * length, heads]
    checkpoints: Vec<Lane>, // [batch, ceil(length / SPACING), state_lanes]
}

impl Operator<7> for Ssm {
    type Saved = Arc<SsmSaved>;

    fn forward<B: HostBackend>(
        &self,
        [zxbcdt, conv_weight, conv_bias, dt_bias, a_log, d, norm]: [&[f32]; 7],
    ) -> (Vec<f32>, Vec<usize>, Self::Saved) {
        let dims = self.dims;
        let rows = Rows {
            op: self,
            zxbcdt,
            dt: &step_sizes(&dims, zxbcdt, dt_bias),
            norm,
            conv: Conv::new(&dims, conv_weight, conv_bias),
            dynamics: Dynamics::new(&dims, a_log, d),
        };
        let mut memory = (*self.memory).clone();
        let mut out = vec![0.0; dims.batch * dims.length * dims.d_inner];
        let mut checkpoints = vec![ZERO; dims.batch * dims.checkpoint_lanes()];
        let mut act = vec![0.0; dims.length * dims.channels()];
        let mut pre = vec![0.0; dims.length * dims.channels()];
        let slots = memory.h.chunks_exact_mut(dims.state_lanes());
        let slots = slots.zip(out.chunks_exact_mut(dims.length * dims.d_inner));
        let slots = slots.zip(checkpoints.chunks_exact_mut(dims.checkpoint_lanes()));
        for (row, ((h, out), checkpoints)) in slots.enumerate() {
            let (view, history) = rows.view(row);
            let job = (&rows.conv, &view, history, &mut pre[..], &mut act[..]);
            dispatch(conv::Forward(job));
            conv::remember(&dims, &view, history, &mut memory.conv, row);
            let scan = rows.scan(row, &view, &act);
            dispatch(scan::Forward((&scan, h, checkpoints, out)));
        }
        let saved = SsmSaved {
            memory: Arc::new(memory),
            dt: rows.dt.to_vec(),
            checkpoints,
        };
        let shape = vec![dims.batch * dims.length, dims.d_inner];
        (out, shape, Arc::new(saved))
    }

    fn backward<B: HostBackend>(
        &self,
        [zxbcdt, conv_weight, conv_bias, _, a_log, d, norm]: [&[f32]; 7],
        saved: Self::Saved,
        grad: &[f32],
    ) -> [Vec<f32>; 7] {
        let dims = self.dims;
        let rows = Rows {
            op: self,
            zxbcdt,
            dt: &saved.dt,
            norm,
            conv: Conv::new(&dims, conv_weight, conv_bias),
            dynamics: Dynamics::new(&dims, a_log, d),
        };
        let mut d_zxbcdt = vec![0.0; zxbcdt.len()];
        let mut grads = Grads::new(&dims);
        let mut buffers = Buffers::new(&dims);
        let mut act = vec![0.0; dims.length * dims.channels()];
        let slots = d_zxbcdt.chunks_exact_mut(dims.length * dims.d_in_proj());
        let slots = slots.zip(grad.chunks_exact(dims.length * dims.d_inner));
        let slots = slots.zip(saved.checkpoints.chunks_exact(dims.checkpoint_lanes()));
        for (row, ((d_zxbcdt, grad), checkpoints)) in slots.enumerate() {
            let (view, history) = rows.view(row);
            let pre = &mut buffers.pre[..];
            dispatch(conv::Forward((
                &rows.conv,
                &view,
                history,
                pre,
                &mut act[..],
            )));
            let scan = rows.scan(row, &view, &act);
            let (buffers, grads) = (&mut buffers, &mut grads);
            let job = (
                &scan,
                checkpoints,
                grad,
                &mut *buffers,
                &mut *grads,
                &mut *d_zxbcdt,
            );
            dispatch(scan::Backward(job));
            let job = (&rows.conv, &view, history, buffers, grads, d_zxbcdt);
            dispatch(conv::Backward(job));
        }
        let conv_weight = conv::transpose_taps(&dims, &grads.conv_weight);
        [
            d_zxbcdt,
            conv_weight,
            grads.conv_bias,
            grads.dt_bias,
            grads.a_log,
            grads.d,
            grads.norm,
        ]
    }
}

/// What both passes read, for all rows of the batch.
struct Rows<'a> {
    op: &'a Ssm,
    zxbcdt: &'a [f32],
    dt: &'a [f32],   // [batch * length, heads]
    norm: &'a [f32], // [d_inner]
    conv: Conv<'a>,
    dynamics: Dynamics,
}

impl Rows<'_> {
    /// A row, and the inputs of the convolution before it.
    fn view(&self, row: usize) -> (RowView<'_>, &[f32]) {
        let dims = &self.op.dims;
        let view = RowView::new(dims, row, self.zxbcdt, &self.op.resets);
        (view, conv::history(dims, row, &self.op.memory.conv))
    }

    /// The recurrence over a row, from what the convolution made of it.
    fn scan<'a>(&'a self, row: usize, view: &'a RowView<'a>, act: &'a [f32]) -> Scan<'a> {
        let dims = &self.op.dims;
        let len = dims.length * dims.heads();
        Scan {
            dims,
            view,
            act,
            dt: &self.dt[row * len..][..len],
            norm: self.norm,
            dynamics: &self.dynamics,
        }
    }
}

/// Sums of gradients over the whole batch.
pub(super) struct Grads {
    pub(super) conv_weight: Vec<f32>, // [d_conv, channels]
    pub(super) conv_bias: Vec<f32>,
    pub(super) dt_bias: Vec<f32>,
    pub(super) a_log: Vec<f32>,
    pub(super) d: Vec<f32>,
    pub(super) norm: Vec<f32>,
}

impl Grads {
    fn new(dims: &SsmDims) -> Self {
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

/// Memory of the backward pass of one row.
pub(super) struct Buffers {
    pub(super) pre: Vec<f32>,     // [length, channels] before the activation
    pub(super) d_act: Vec<f32>,   // [length, channels]
    pub(super) states: Vec<Lane>, // [SPACING + 1, state_lanes]
    pub(super) y: Vec<Lane>,      // [SPACING, blocks]
    pub(super) dh: Vec<Lane>,     // [state_lanes]
    pub(super) d_bc: Vec<(Lane, Lane)>, // [d_state]
}

impl Buffers {
    fn new(dims: &SsmDims) -> Self {
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

/// One sequence of the batch.
pub(super) struct RowView<'a> {
    width: usize,
    d_inner: usize,
    channels: usize,
    values: &'a [f32],             // [length, d_in_proj]
    pub(super) resets: &'a [bool], // [length]
}

impl<'a> RowView<'a> {
    fn new(dims: &SsmDims, row: usize, zxbcdt: &'a [f32], resets: &'a [bool]) -> Self {
        let (width, length) = (dims.d_in_proj(), dims.length);
        Self {
            width,
            d_inner: dims.d_inner,
            channels: dims.channels(),
            values: &zxbcdt[row * length * width..][..length * width],
            resets: &resets[row * length..][..length],
        }
    }

    pub(super) const fn d_inner(&self) -> usize {
        self.d_inner
    }

    #[inline(always)]
    pub(super) fn z(&self, t: usize) -> &'a [f32] {
        &self.values[t * self.width..][..self.d_inner]
    }

    #[inline(always)]
    pub(super) fn xbc(&self, t: usize) -> &'a [f32] {
        &self.values[t * self.width + self.d_inner..][..self.channels]
    }
}

/// `softplus(dt + dt_bias)`, `[rows, heads]`.
fn step_sizes(dims: &SsmDims, zxbcdt: &[f32], dt_bias: &[f32]) -> Vec<f32> {
    let (width, heads) = (dims.d_in_proj(), dims.heads());
    let raw = zxbcdt
        .chunks_exact(width)
        .flat_map(|row| row[width - heads..].iter().zip(dt_bias));
    raw.map(|(dt, bias)| softplus(dt + bias)).collect()
}

fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}
