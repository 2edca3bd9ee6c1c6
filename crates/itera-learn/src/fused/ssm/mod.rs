//! The inside of the mixer as one operator: convolution, step sizes, the SSD recurrence, gate and
//! norm.
//!
//! | file | what |
//! |---|---|
//! | `dims` | sizes, views and scratch buffers |
//! | `conv` | the convolution |
//! | `gate` | gate and norm |
//! | `scan` | the recurrence with gate and norm |
//!
//! Here they are put together, row by row of the batch.

mod conv;
mod dims;
mod gate;
mod scan;

use std::sync::Arc;

use self::{
    conv::Conv,
    dims::{Buffers, Grads, Row},
    scan::{Dynamics, Scan},
};
pub(crate) use dims::SsmDims;

use super::lanes::{Lane, ZERO, dispatch};
use crate::host::{HostBackend, Operator};

/// The state that a batch of sequences carries from one segment to the next.
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
            conv: vec![0.0; dims.batch * dims.history_len()],
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
        let history_len = dims.history_len();
        let mut out = vec![0.0; dims.batch * dims.length * dims.d_inner];
        let mut checkpoints = vec![ZERO; dims.batch * dims.checkpoint_lanes()];
        let mut act = vec![0.0; dims.length * dims.channels()];
        let mut pre = vec![0.0; dims.length * dims.channels()];
        let slots = memory.h.chunks_exact_mut(dims.state_lanes());
        let slots = slots.zip(out.chunks_exact_mut(dims.length * dims.d_inner));
        let slots = slots.zip(checkpoints.chunks_exact_mut(dims.checkpoint_lanes()));
        for (index, ((h, out), checkpoints)) in slots.enumerate() {
            let row = rows.row(index);
            dispatch(conv::Forward {
                conv: &rows.conv,
                row: &row,
                pre: &mut pre,
                act: &mut act,
            });
            let history = &mut memory.conv[index * history_len..][..history_len];
            conv::remember(&row, history);
            dispatch(scan::Forward {
                scan: rows.scan(index, &row, &act),
                h,
                checkpoints,
                out,
            });
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
        for (index, ((d_zxbcdt, grad), checkpoints)) in slots.enumerate() {
            let row = rows.row(index);
            dispatch(conv::Forward {
                conv: &rows.conv,
                row: &row,
                pre: &mut buffers.pre,
                act: &mut act,
            });
            dispatch(scan::Backward {
                scan: rows.scan(index, &row, &act),
                checkpoints,
                grad,
                buffers: &mut buffers,
                grads: &mut grads,
                d_zxbcdt,
            });
            dispatch(conv::Backward {
                conv: &rows.conv,
                row: &row,
                pre: &buffers.pre,
                d_act: &mut buffers.d_act,
                grads: &mut grads,
                d_zxbcdt,
            });
        }
        [
            d_zxbcdt,
            conv::transpose(&grads.conv_weight, dims.channels()),
            grads.conv_bias,
            grads.dt_bias,
            grads.a_log,
            grads.d,
            grads.norm,
        ]
    }
}

/// The inputs of both passes, for all rows of the batch.
struct Rows<'a> {
    op: &'a Ssm,
    zxbcdt: &'a [f32],
    dt: &'a [f32],   // [batch * length, heads]
    norm: &'a [f32], // [d_inner]
    conv: Conv<'a>,
    dynamics: Dynamics,
}

impl Rows<'_> {
    fn row(&self, index: usize) -> Row<'_> {
        let dims = &self.op.dims;
        let (len, history) = (dims.length * dims.d_in_proj(), dims.history_len());
        Row {
            dims,
            zxbcdt: &self.zxbcdt[index * len..][..len],
            resets: &self.op.resets[index * dims.length..][..dims.length],
            history: &self.op.memory.conv[index * history..][..history],
        }
    }

    /// The recurrence over a row, given the outputs of its convolution.
    fn scan<'a>(&'a self, index: usize, row: &'a Row<'a>, act: &'a [f32]) -> Scan<'a> {
        let dims = &self.op.dims;
        let len = dims.length * dims.heads();
        Scan {
            row,
            act,
            dt: &self.dt[index * len..][..len],
            norm: self.norm,
            dynamics: &self.dynamics,
        }
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

#[cfg(test)]
mod tests {
    use super::softplus;

    #[test]
    fn softplus_keeps_nan() {
        assert!(softplus(f32::NAN).is_nan());
        assert!(softplus(0.0) > 0.0 && softplus(100.0) >= 100.0);
    }
}
