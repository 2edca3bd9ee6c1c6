//! The inside of the mixer as one operator: convolution, step sizes, the SSD recurrence, gate and
//! norm.
//!
//! The recurrence runs token by token; at the state sizes of this model that takes as many
//! operations as the chunked form and needs no decay matrices. The backward pass starts from
//! states saved every [`SPACING`] tokens, so that the states in between, recomputed, fit into the
//! second-level cache.

use std::sync::Arc;

use super::{
    conv::{self, Conv},
    lanes::{self, Lane, WIDTH, ZERO, dispatch, fma, kernel, mul, splat},
};
use crate::host::{HostBackend, Operator};

/// Tokens between saved states.
const SPACING: usize = 16;

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

    const fn d_in_proj(&self) -> usize {
        2 * self.d_inner + 2 * self.d_state + self.heads()
    }

    /// Lanes that hold `d_inner` channels; the last one is padded with zeros.
    const fn blocks(&self) -> usize {
        self.d_inner.div_ceil(WIDTH)
    }

    const fn state_lanes(&self) -> usize {
        self.blocks() * self.d_state
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
        let rows = dims.batch * dims.length;
        let mut memory = (*self.memory).clone();
        let mut out = vec![0.0; rows * dims.d_inner];
        let per_row = dims.length.div_ceil(SPACING) * dims.state_lanes();
        let mut checkpoints = vec![ZERO; dims.batch * per_row];
        let dt = step_sizes(&dims, zxbcdt, dt_bias);
        let conv = Conv::new(&dims, conv_weight, conv_bias);
        let dynamics = Dynamics::new(&dims, a_log, d);
        let mut act = vec![0.0; dims.length * dims.channels()];
        let mut pre = vec![0.0; dims.length * dims.channels()];
        for row in 0..dims.batch {
            let view = RowView::new(&dims, row, zxbcdt, &self.resets);
            let history = conv::history(&dims, row, &self.memory.conv);
            dispatch(conv::Forward((
                &conv,
                &view,
                history,
                &mut pre[..],
                &mut act[..],
            )));
            conv::remember(&dims, &view, history, &mut memory.conv, row);
            let scan = Scan {
                dims: &dims,
                view: &view,
                act: &act,
                dt: &dt[row * dims.length * dims.heads()..][..dims.length * dims.heads()],
                dynamics: &dynamics,
            };
            let h = &mut memory.h[row * dims.state_lanes()..][..dims.state_lanes()];
            let out = &mut out[row * dims.length * dims.d_inner..][..dims.length * dims.d_inner];
            let checkpoints = &mut checkpoints[row * per_row..][..per_row];
            dispatch(ScanForward((&scan, norm, h, checkpoints, out)));
        }
        let saved = SsmSaved {
            memory: Arc::new(memory),
            dt,
            checkpoints,
        };
        (out, vec![rows, dims.d_inner], Arc::new(saved))
    }

    fn backward<B: HostBackend>(
        &self,
        [zxbcdt, conv_weight, conv_bias, _, a_log, d, norm]: [&[f32]; 7],
        saved: Self::Saved,
        grad: &[f32],
    ) -> [Vec<f32>; 7] {
        let dims = self.dims;
        let (heads, length) = (dims.heads(), dims.length);
        let per_row = length.div_ceil(SPACING) * dims.state_lanes();
        let conv = Conv::new(&dims, conv_weight, conv_bias);
        let dynamics = Dynamics::new(&dims, a_log, d);
        let mut grads = Grads::new(&dims, zxbcdt.len());
        let mut buffers = Buffers::new(&dims);
        for row in 0..dims.batch {
            let view = RowView::new(&dims, row, zxbcdt, &self.resets);
            let history = conv::history(&dims, row, &self.memory.conv);
            let Buffers {
                pre, act, d_act, ..
            } = &mut buffers;
            dispatch(conv::Forward((
                &conv,
                &view,
                history,
                &mut pre[..],
                &mut act[..],
            )));
            d_act.fill(0.0);
            let act = std::mem::take(act);
            let scan = Scan {
                dims: &dims,
                view: &view,
                act: &act,
                dt: &saved.dt[row * length * heads..][..length * heads],
                dynamics: &dynamics,
            };
            let checkpoints = &saved.checkpoints[row * per_row..][..per_row];
            let grad = &grad[row * length * dims.d_inner..][..length * dims.d_inner];
            let width = dims.d_in_proj();
            let mut d_row = std::mem::take(&mut grads.zxbcdt);
            let d_zxbcdt = &mut d_row[row * length * width..][..length * width];
            let job = (
                &scan,
                norm,
                checkpoints,
                grad,
                &mut buffers,
                &mut grads,
                &mut *d_zxbcdt,
            );
            dispatch(ScanBackward(job));
            let job = (&conv, &view, history, &mut buffers, &mut grads, d_zxbcdt);
            dispatch(conv::Backward(job));
            grads.zxbcdt = d_row;
            buffers.act = act;
        }
        let conv_weight = conv::transpose_taps(&dims, &grads.conv_weight);
        [
            grads.zxbcdt,
            conv_weight,
            grads.conv_bias,
            grads.dt_bias,
            grads.a_log,
            grads.d,
            grads.norm,
        ]
    }
}

/// Sums of gradients over the whole batch.
pub(super) struct Grads {
    zxbcdt: Vec<f32>,
    pub(super) conv_weight: Vec<f32>, // [d_conv, channels]
    pub(super) conv_bias: Vec<f32>,
    dt_bias: Vec<f32>,
    a_log: Vec<f32>,
    d: Vec<f32>,
    norm: Vec<f32>,
}

impl Grads {
    fn new(dims: &SsmDims, inputs: usize) -> Self {
        let heads = dims.heads();
        Self {
            zxbcdt: vec![0.0; inputs],
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
    pub(super) pre: Vec<f32>,   // [length, channels] before the activation
    act: Vec<f32>,              // [length, channels]
    pub(super) d_act: Vec<f32>, // [length, channels]
    states: Vec<Lane>,          // [SPACING + 1, state_lanes]
    y: Vec<Lane>,               // [SPACING, blocks]
    dh: Vec<Lane>,              // [state_lanes]
    d_b: Vec<Lane>,             // [d_state]
    d_c: Vec<Lane>,             // [d_state]
}

impl Buffers {
    fn new(dims: &SsmDims) -> Self {
        let values = dims.length * dims.channels();
        Self {
            pre: vec![0.0; values],
            act: vec![0.0; values],
            d_act: vec![0.0; values],
            states: vec![ZERO; (SPACING + 1) * dims.state_lanes()],
            y: vec![ZERO; SPACING * dims.blocks()],
            dh: vec![ZERO; dims.state_lanes()],
            d_b: vec![ZERO; dims.d_state],
            d_c: vec![ZERO; dims.d_state],
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
    fn z(&self, t: usize) -> &'a [f32] {
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

/// Per-head constants of the recurrence.
struct Dynamics {
    head_dim: usize,
    a: Vec<f32>,  // [heads], -exp(a_log)
    d: Vec<Lane>, // [blocks]
}

impl Dynamics {
    fn new(dims: &SsmDims, a_log: &[f32], d: &[f32]) -> Self {
        let head_dim = dims.head_dim;
        let d = (0..dims.blocks())
            .map(|block| spread(head_dim, d, block))
            .collect();
        Self {
            head_dim,
            a: a_log.iter().map(|a_log| -a_log.exp()).collect(),
            d,
        }
    }
}

/// Per-head values spread over the channels of a block; channels past the last head get zero.
#[inline(always)]
fn spread(head_dim: usize, per_head: &[f32], block: usize) -> Lane {
    let first = block * WIDTH;
    if head_dim.is_multiple_of(WIDTH) {
        return splat(per_head[first / head_dim]);
    }
    std::array::from_fn(|i| per_head.get((first + i) / head_dim).copied().unwrap_or(0.0))
}

/// Adds the channels of a block to the sums of their heads.
#[inline(always)]
fn gather(head_dim: usize, values: Lane, block: usize, per_head: &mut [f32]) {
    let first = block * WIDTH;
    if head_dim.is_multiple_of(WIDTH) {
        per_head[first / head_dim] += lanes::sum(values);
        return;
    }
    for (i, value) in values.iter().enumerate() {
        if let Some(sum) = per_head.get_mut((first + i) / head_dim) {
            *sum += value;
        }
    }
}

/// The channels of a block, padded with zeros past the end.
#[inline(always)]
fn load(values: &[f32], block: usize) -> Lane {
    let values = &values[block * WIDTH..];
    if let Some(lane) = values.first_chunk::<WIDTH>() {
        return *lane;
    }
    std::array::from_fn(|i| values.get(i).copied().unwrap_or(0.0))
}

/// Writes the channels of a block, dropping those past the end.
#[inline(always)]
fn store(lane: Lane, block: usize, out: &mut [f32]) {
    let out = &mut out[block * WIDTH..];
    if let Some(out) = out.first_chunk_mut::<WIDTH>() {
        *out = lane;
    } else {
        for (out, value) in out.iter_mut().zip(lane) {
            *out = value;
        }
    }
}

/// Arguments of [`Scan::forward`].
type ScanForwardArgs<'a> = (
    &'a Scan<'a>,
    &'a [f32],      // norm [d_inner]
    &'a mut [Lane], // state [state_lanes]
    &'a mut [Lane], // checkpoints [ceil(length / SPACING), state_lanes]
    &'a mut [f32],  // output [length, d_inner]
);
kernel!(ScanForward<'a>(ScanForwardArgs<'a>) -> () = Scan::forward);
kernel!(ScanBackward<'a>(ScanBackwardArgs<'a>) -> () = Scan::backward);

/// Arguments of [`Scan::backward`].
type ScanBackwardArgs<'a> = (
    &'a Scan<'a>,
    &'a [f32],  // norm [d_inner]
    &'a [Lane], // checkpoints [ceil(length / SPACING), state_lanes]
    &'a [f32],  // gradient of the output [length, d_inner]
    &'a mut Buffers,
    &'a mut Grads,
    &'a mut [f32], // gradient of the input [length, d_in_proj]
);

/// Everything that the recurrence over one row reads.
struct Scan<'a> {
    dims: &'a SsmDims,
    view: &'a RowView<'a>,
    act: &'a [f32], // [length, channels]: x, B, C
    dt: &'a [f32],  // [length, heads]
    dynamics: &'a Dynamics,
}

impl Scan<'_> {
    #[inline(always)]
    fn xbc(&self, t: usize) -> (&[f32], &[f32], &[f32]) {
        let row = &self.act[t * self.dims.channels()..][..self.dims.channels()];
        let (x, bc) = row.split_at(self.dims.d_inner);
        let (b, c) = bc.split_at(self.dims.d_state);
        (x, b, c)
    }

    #[inline(always)]
    fn dt(&self, t: usize) -> &[f32] {
        &self.dt[t * self.dims.heads()..][..self.dims.heads()]
    }

    /// `exp(dt A)` of a token for the channels of a block.
    #[inline(always)]
    fn decay(&self, t: usize, block: usize) -> Lane {
        let head_dim = self.dynamics.head_dim;
        if head_dim.is_multiple_of(WIDTH) {
            let head = block * WIDTH / head_dim;
            return splat(lanes::exp(self.dt(t)[head] * self.dynamics.a[head]));
        }
        let dt = spread(head_dim, self.dt(t), block);
        let a = spread(head_dim, &self.dynamics.a, block);
        std::array::from_fn(|i| lanes::exp(dt[i] * a[i]))
    }

    /// `h = exp(dt A) h + dt B x^T` and `y = C^T h + D x` for one token.
    #[inline(always)]
    fn token(&self, t: usize, h: &mut [Lane], y: &mut [Lane]) {
        let n = self.dims.d_state;
        let (x, b, c) = self.xbc(t);
        for (block, (h, y)) in h.chunks_exact_mut(n).zip(y).enumerate() {
            let decay = self.decay(t, block);
            let x = load(x, block);
            let dtx = mul(x, spread(self.dynamics.head_dim, self.dt(t), block));
            let mut sum = mul(x, self.dynamics.d[block]);
            for ((h, b), c) in h.iter_mut().zip(b).zip(c) {
                *h = fma(splat(*b), dtx, mul(*h, decay));
                sum = fma(splat(*c), *h, sum);
            }
            *y = sum;
        }
    }

    #[inline(always)]
    fn forward((scan, norm, h, checkpoints, out): ScanForwardArgs<'_>) {
        let (dims, lanes) = (scan.dims, scan.dims.state_lanes());
        let mut y = vec![ZERO; dims.blocks()];
        for t in 0..dims.length {
            if t.is_multiple_of(SPACING) {
                checkpoints[t / SPACING * lanes..][..lanes].copy_from_slice(h);
            }
            if scan.view.resets[t] {
                h.fill(ZERO);
            }
            scan.token(t, h, &mut y);
            let out = &mut out[t * dims.d_inner..][..dims.d_inner];
            let scale = gate(dims, &y, scan.view.z(t), out);
            for (out, gain) in out.iter_mut().zip(norm) {
                *out *= scale * gain;
            }
        }
    }

    #[inline(always)]
    fn backward((scan, norm, checkpoints, grad, buffers, grads, d_zxbcdt): ScanBackwardArgs<'_>) {
        let (dims, lanes, blocks) = (scan.dims, scan.dims.state_lanes(), scan.dims.blocks());
        buffers.dh.fill(ZERO);
        for (chunk, checkpoint) in checkpoints.chunks_exact(lanes).enumerate().rev() {
            let first = chunk * SPACING;
            let n = SPACING.min(dims.length - first);
            // The states within the chunk: `states[s]` before token `first + s`.
            buffers.states[..lanes].copy_from_slice(checkpoint);
            for s in 0..n {
                let (before, after) = buffers.states.split_at_mut((s + 1) * lanes);
                if scan.view.resets[first + s] {
                    before[s * lanes..].fill(ZERO);
                }
                after[..lanes].copy_from_slice(&before[s * lanes..]);
                let y = &mut buffers.y[s * blocks..][..blocks];
                scan.token(first + s, &mut after[..lanes], y);
            }
            for s in (0..n).rev() {
                let t = first + s;
                let grad = &grad[t * dims.d_inner..][..dims.d_inner];
                let d_row = &mut d_zxbcdt[t * dims.d_in_proj()..][..dims.d_in_proj()];
                let y = &mut buffers.y[s * blocks..][..blocks];
                ungate(dims, y, scan.view.z(t), grad, norm, &mut grads.norm, d_row);
                scan.reverse(t, s, buffers, grads, d_row);
            }
        }
    }

    /// The reverse of [`Scan::token`]; `buffers.y[s]` holds the gradient of `y`.
    #[inline(always)]
    fn reverse(
        &self,
        t: usize,
        s: usize,
        buffers: &mut Buffers,
        grads: &mut Grads,
        d_row: &mut [f32],
    ) {
        let (dims, n, lanes) = (self.dims, self.dims.d_state, self.dims.state_lanes());
        let head_dim = dims.head_dim;
        let (x, b, c) = self.xbc(t);
        let dt = self.dt(t);
        let (before, after) = buffers.states[s * lanes..][..2 * lanes].split_at(lanes);
        let d_act = &mut buffers.d_act[t * dims.channels()..][..dims.channels()];
        let (d_b, d_c) = (&mut buffers.d_b[..n], &mut buffers.d_c[..n]);
        d_b.fill(ZERO);
        d_c.fill(ZERO);
        let heads = dims.heads();
        let d_dt = &mut d_row[dims.d_in_proj() - heads..];
        for block in 0..dims.blocks() {
            let at = block * n..(block + 1) * n;
            let dy = buffers.y[s * dims.blocks() + block];
            let x = load(x, block);
            let decay = self.decay(t, block);
            let dt_lane = spread(head_dim, dt, block);
            let dtx = mul(x, dt_lane);
            let (mut d_dtx, mut d_decay) = (ZERO, ZERO);
            let (dh, h, h_before) = (&mut buffers.dh[at.clone()], &after[at.clone()], &before[at]);
            for i in 0..n {
                let g = fma(splat(c[i]), dy, dh[i]);
                d_c[i] = fma(dy, h[i], d_c[i]);
                d_b[i] = fma(g, dtx, d_b[i]);
                d_dtx = fma(splat(b[i]), g, d_dtx);
                d_decay = fma(g, h_before[i], d_decay);
                dh[i] = mul(g, decay);
            }
            // decay = exp(dt A): d(dt A) = d_decay * decay, A = -exp(a_log).
            let a = spread(head_dim, &self.dynamics.a, block);
            let d_dta = mul(d_decay, decay);
            gather(head_dim, fma(d_dta, a, mul(d_dtx, x)), block, d_dt);
            gather(
                head_dim,
                mul(mul(d_dta, a), dt_lane),
                block,
                &mut grads.a_log,
            );
            gather(head_dim, mul(dy, x), block, &mut grads.d);
            store(
                fma(d_dtx, dt_lane, mul(dy, self.dynamics.d[block])),
                block,
                &mut d_act[..dims.d_inner],
            );
        }
        let (d_act_b, d_act_c) = d_act[dims.d_inner..].split_at_mut(n);
        for i in 0..n {
            d_act_b[i] = lanes::sum(d_b[i]);
            d_act_c[i] = lanes::sum(d_c[i]);
        }
        for head in 0..heads {
            // softplus'(r) = sigmoid(r) = 1 - exp(-softplus(r))
            d_dt[head] *= 1.0 - lanes::exp(-dt[head]);
            grads.dt_bias[head] += d_dt[head];
        }
        if self.view.resets[t] {
            buffers.dh.fill(ZERO);
        }
    }
}

/// `out = y * silu(z)`; returns `1 / rms(out)`.
#[inline(always)]
fn gate(dims: &SsmDims, y: &[Lane], z: &[f32], out: &mut [f32]) -> f32 {
    let mut squares = ZERO;
    for (block, y) in y.iter().enumerate() {
        let z = load(z, block);
        let gated: Lane = std::array::from_fn(|i| y[i] * z[i] * lanes::sigmoid(z[i]));
        squares = fma(gated, gated, squares);
        store(gated, block, out);
    }
    (lanes::sum(squares) / dims.d_inner as f32 + dims.norm_eps)
        .sqrt()
        .recip()
}

/// The reverse of gate and norm for one token: turns `y` into its gradient, adds to the gradient
/// of the norm's gain, writes the gradient of `z` into the front of `d_row`.
#[inline(always)]
fn ungate(
    dims: &SsmDims,
    y: &mut [Lane],
    z: &[f32],
    grad: &[f32],
    norm: &[f32],
    d_norm: &mut [f32],
    d_row: &mut [f32],
) {
    // xhat = g / rms(g) with g = y silu(z): dg = (dxhat - xhat mean(dxhat xhat)) / rms(g)
    let (mut squares, mut products) = (ZERO, ZERO);
    for (block, y) in y.iter().enumerate() {
        let z = load(z, block);
        let gated: Lane = std::array::from_fn(|i| y[i] * z[i] * lanes::sigmoid(z[i]));
        squares = fma(gated, gated, squares);
        products = fma(mul(load(grad, block), load(norm, block)), gated, products);
    }
    let width = dims.d_inner as f32;
    let scale = (lanes::sum(squares) / width + dims.norm_eps).sqrt().recip();
    let mean = lanes::sum(products) / width * scale * scale;
    for (block, y) in y.iter_mut().enumerate() {
        let (z, grad, gain) = (load(z, block), load(grad, block), load(norm, block));
        let sigmoid: Lane = std::array::from_fn(|i| lanes::sigmoid(z[i]));
        let silu = mul(z, sigmoid);
        let gated = mul(*y, silu);
        let d_gain = fma(grad, mul(gated, splat(scale)), load(d_norm, block));
        store(d_gain, block, d_norm);
        let d_gated: Lane = std::array::from_fn(|i| scale * (grad[i] * gain[i] - gated[i] * mean));
        let d_z: Lane = std::array::from_fn(|i| {
            d_gated[i] * y[i] * sigmoid[i] * (1.0 + z[i] * (1.0 - sigmoid[i]))
        });
        store(d_z, block, &mut d_row[..dims.d_inner]);
        *y = mul(d_gated, silu);
    }
}
