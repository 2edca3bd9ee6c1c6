//! The SSD recurrence over one sequence, forward and backward.
//!
//! It runs token by token; at the state sizes of this model that takes as many operations as the
//! chunked form and needs no decay matrices. The backward pass starts from states saved every
//! [`SPACING`] tokens, so that the states in between, recomputed, fit into the second-level cache.

use pulp::Simd;

use super::{
    dims::{Buffers, Grads, Row, SPACING, SsmDims},
    gate::{Gated, gate, ungate},
};
use crate::fused::lanes::{self, Kernel, Lane, Vectors, WIDTH, ZERO, load, splat, store};

/// Per-head constants of the recurrence.
pub(super) struct Dynamics {
    head_dim: usize,
    a: Vec<f32>,  // [heads], -exp(a_log)
    d: Vec<Lane>, // [blocks]
}

impl Dynamics {
    pub(super) fn new(dims: &SsmDims, a_log: &[f32], d: &[f32]) -> Self {
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

/// Everything that the recurrence over one row reads.
pub(super) struct Scan<'a> {
    pub(super) row: &'a Row<'a>,
    pub(super) act: &'a [f32],  // [length, channels]: x, B, C
    pub(super) dt: &'a [f32],   // [length, heads]
    pub(super) norm: &'a [f32], // [d_inner]
    pub(super) dynamics: &'a Dynamics,
}

impl Scan<'_> {
    #[inline(always)]
    fn xbc(&self, t: usize) -> (&[f32], &[f32], &[f32]) {
        let dims = self.row.dims;
        let act = &self.act[t * dims.channels()..][..dims.channels()];
        let (x, bc) = act.split_at(dims.d_inner);
        let (b, c) = bc.split_at(dims.d_state);
        (x, b, c)
    }

    #[inline(always)]
    fn dt(&self, t: usize) -> &[f32] {
        &self.dt[t * self.row.dims.heads()..][..self.row.dims.heads()]
    }

    /// `exp(dt A)` of a token for the channels of a block.
    #[inline(always)]
    fn decay<S: Simd>(&self, v: Vectors<S>, t: usize, block: usize) -> Lane {
        let head_dim = self.dynamics.head_dim;
        let dt = spread(head_dim, self.dt(t), block);
        let a = spread(head_dim, &self.dynamics.a, block);
        v.exp(v.mul(dt, a))
    }

    /// `h = exp(dt A) h + dt B x^T` and `y = C^T h + D x` for one token.
    #[inline(always)]
    fn token<S: Simd>(&self, v: Vectors<S>, t: usize, h: &mut [Lane], y: &mut [Lane]) {
        let n = self.row.dims.d_state;
        let (x, b, c) = self.xbc(t);
        for (block, (h, y)) in h.chunks_exact_mut(n).zip(y).enumerate() {
            let decay = self.decay(v, t, block);
            let x = load(x, block);
            let dtx = v.mul(x, spread(self.dynamics.head_dim, self.dt(t), block));
            let mut sum = v.mul(x, self.dynamics.d[block]);
            for ((h, b), c) in h.iter_mut().zip(b).zip(c) {
                let next = v.fma(splat(*b), dtx, v.mul(*h, decay));
                sum = v.fma(splat(*c), next, sum);
                *h = next;
            }
            *y = sum;
        }
    }

    /// States and outputs of tokens within a chunk: `buffers.states[s]` before token `s` of it.
    #[inline(always)]
    fn recompute<S: Simd>(
        &self,
        v: Vectors<S>,
        tokens: std::ops::Range<usize>,
        checkpoint: &[Lane],
        buffers: &mut Buffers,
    ) {
        let dims = self.row.dims;
        let (lanes, blocks) = (dims.state_lanes(), dims.blocks());
        buffers.states[..lanes].copy_from_slice(checkpoint);
        for (s, t) in tokens.enumerate() {
            // The state before this token is the one after the last, whose gradient needs it even where
            // this token starts a document.
            let (before, after) = buffers.states[s * lanes..].split_at_mut(lanes);
            if self.row.resets[t] {
                after[..lanes].fill(ZERO);
            } else {
                after[..lanes].copy_from_slice(before);
            }
            let y = &mut buffers.y[s * blocks..][..blocks];
            self.token(v, t, &mut after[..lanes], y);
        }
    }

    /// The reverse of [`Scan::token`]; `buffers.y[s]` holds the gradient of `y`. `d_dt [heads]` becomes
    /// the gradient of the step sizes.
    #[inline(always)]
    fn reverse<S: Simd>(
        &self,
        v: Vectors<S>,
        t: usize,
        s: usize,
        buffers: &mut Buffers,
        grads: &mut Grads,
        d_dt: &mut [f32],
    ) {
        let dims = self.row.dims;
        let (n, lanes, head_dim) = (dims.d_state, dims.state_lanes(), dims.head_dim);
        let (x, b, c) = self.xbc(t);
        let (before, after) = buffers.states[s * lanes..][..2 * lanes].split_at(lanes);
        let d_act = &mut buffers.d_act[t * dims.channels()..][..dims.channels()];
        buffers.d_bc.fill((ZERO, ZERO));
        for block in 0..dims.blocks() {
            let at = block * n..(block + 1) * n;
            let dy = buffers.y[s * dims.blocks() + block];
            let x = load(x, block);
            let decay = self.decay(v, t, block);
            let dt = spread(head_dim, self.dt(t), block);
            let dtx = v.mul(x, dt);
            let (mut d_dtx, mut d_decay) = (ZERO, ZERO);
            let states = before[at.clone()].iter().zip(&after[at.clone()]);
            let states = states.zip(&mut buffers.dh[at]).zip(&mut buffers.d_bc);
            for ((((before, after), dh), (d_b, d_c)), (b, c)) in states.zip(b.iter().zip(c)) {
                let g = v.fma(splat(*c), dy, *dh);
                *d_c = v.fma(dy, *after, *d_c);
                *d_b = v.fma(g, dtx, *d_b);
                d_dtx = v.fma(splat(*b), g, d_dtx);
                d_decay = v.fma(g, *before, d_decay);
                *dh = v.mul(g, decay);
            }
            // decay = exp(dt A): d(dt A) = d_decay * decay, A = -exp(a_log). Where a document starts,
            // nothing decays.
            let a = spread(head_dim, &self.dynamics.a, block);
            let d_dta = if self.row.resets[t] {
                ZERO
            } else {
                v.mul(d_decay, decay)
            };
            let d_step = v.fma(d_dta, a, v.mul(d_dtx, x));
            gather(head_dim, d_step, block, d_dt);
            let d_a_log = v.mul(v.mul(d_dta, a), dt);
            gather(head_dim, d_a_log, block, &mut grads.a_log);
            gather(head_dim, v.mul(dy, x), block, &mut grads.d);
            let d_x = v.fma(d_dtx, dt, v.mul(dy, self.dynamics.d[block]));
            store(d_x, block, &mut d_act[..dims.d_inner]);
        }
        let (d_act_b, d_act_c) = d_act[dims.d_inner..].split_at_mut(n);
        for ((d_b, d_c), (out_b, out_c)) in buffers.d_bc.iter().zip(d_act_b.iter_mut().zip(d_act_c))
        {
            *out_b = lanes::sum(*d_b);
            *out_c = lanes::sum(*d_c);
        }
    }

    /// From the gradient of the step sizes to the gradient of their softplus' input.
    #[inline(always)]
    fn reverse_dt(&self, t: usize, grads: &mut Grads, d_dt: &mut [f32]) {
        for ((d_dt, dt), d_bias) in d_dt.iter_mut().zip(self.dt(t)).zip(&mut grads.dt_bias) {
            // softplus'(r) = sigmoid(r) = 1 - exp(-softplus(r))
            *d_dt *= 1.0 - lanes::exp(-dt);
            *d_bias += *d_dt;
        }
    }
}

/// The recurrence over a row.
pub(super) struct Forward<'a> {
    pub(super) scan: Scan<'a>,
    pub(super) h: &'a mut [Lane],           // [state_lanes]; moves on
    pub(super) checkpoints: &'a mut [Lane], // [ceil(length / SPACING), state_lanes]
    pub(super) out: &'a mut [f32],          // [length, d_inner]
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let Self {
            scan,
            h,
            checkpoints,
            out,
        } = self;
        let dims = scan.row.dims;
        let lanes = dims.state_lanes();
        let mut y = vec![ZERO; dims.blocks()];
        for (t, out) in out.chunks_exact_mut(dims.d_inner).enumerate() {
            if t.is_multiple_of(SPACING) {
                checkpoints[t / SPACING * lanes..][..lanes].copy_from_slice(h);
            }
            if scan.row.resets[t] {
                h.fill(ZERO);
            }
            scan.token(v, t, h, &mut y);
            let scale = gate(v, dims, &y, scan.row.z(t), out);
            for (out, gain) in out.iter_mut().zip(scan.norm) {
                *out *= scale * gain;
            }
        }
    }
}

/// The reverse of the recurrence over a row.
pub(super) struct Backward<'a> {
    pub(super) scan: Scan<'a>,
    pub(super) checkpoints: &'a [Lane], // [ceil(length / SPACING), state_lanes]
    pub(super) grad: &'a [f32],         // [length, d_inner]
    pub(super) buffers: &'a mut Buffers,
    pub(super) grads: &'a mut Grads,
    pub(super) d_zxbcdt: &'a mut [f32], // [length, d_in_proj]; but x, B and C
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let Self {
            scan,
            checkpoints,
            grad,
            buffers,
            grads,
            d_zxbcdt,
        } = self;
        let dims = scan.row.dims;
        let (lanes, blocks) = (dims.state_lanes(), dims.blocks());
        buffers.dh.fill(ZERO);
        for (chunk, checkpoint) in checkpoints.chunks_exact(lanes).enumerate().rev() {
            let first = chunk * SPACING;
            let n = SPACING.min(dims.length - first);
            scan.recompute(v, first..first + n, checkpoint, buffers);
            for s in (0..n).rev() {
                let t = first + s;
                let d_row = &mut d_zxbcdt[t * dims.d_in_proj()..][..dims.d_in_proj()];
                let token = Gated {
                    z: scan.row.z(t),
                    norm: scan.norm,
                    grad: &grad[t * dims.d_inner..][..dims.d_inner],
                    y: &mut buffers.y[s * blocks..][..blocks],
                    d_norm: &mut grads.norm,
                    d_z: &mut d_row[..dims.d_inner],
                };
                ungate(v, dims, token);
                let d_dt = &mut d_row[dims.d_in_proj() - dims.heads()..];
                scan.reverse(v, t, s, buffers, grads, d_dt);
                scan.reverse_dt(t, grads, d_dt);
                if scan.row.resets[t] {
                    buffers.dh.fill(ZERO);
                }
            }
        }
    }
}
