//! Causal self-attention with rotary positions and grouped heads, for the baseline.

mod sequence;
#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc};

use pulp::Simd;

use self::sequence::Sequence;
pub(crate) use self::sequence::{AttentionDims, Rope};
use super::{
    cross_entropy::exponentials,
    lanes::{self, Kernel, Vectors, WIDTH, dispatch, dot},
};
use crate::host::{HostBackend, Operator};

/// `softmax(q k^T / sqrt(head_dim)) v` for every head, with `q` and `k` turned by their positions
/// (Su et al. 2021) and each query seeing the tokens from `starts` up to its own.
///
/// # Shapes
/// Input: `[q; k; v]` of every token, `[rows, (n_heads + 2 * n_kv_heads) * head_dim]`. Output:
/// `[rows, n_heads * head_dim]`.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub dims: AttentionDims,
    pub rope: Arc<Rope>,
    /// Position in its sequence of the first token that each token sees, `[rows]`.
    pub starts: Arc<[usize]>,
}

impl Operator<1> for Attention {
    /// Log-sum-exp of the scores, `[rows, n_heads]`.
    type Saved = Arc<Vec<f32>>;

    fn forward<B: HostBackend>(&self, [qkv]: [&[f32]; 1]) -> (Vec<f32>, Vec<usize>, Self::Saved) {
        let rows = self.dims.batch * self.dims.length;
        let mut out = vec![0.0; rows * self.dims.d_query()];
        let mut log_sums = vec![0.0; rows * self.dims.n_heads];
        dispatch(Forward {
            op: self,
            qkv,
            out: &mut out,
            log_sums: &mut log_sums,
        });
        (out, vec![rows, self.dims.d_query()], Arc::new(log_sums))
    }

    fn backward<B: HostBackend>(
        &self,
        [qkv]: [&[f32]; 1],
        saved: Self::Saved,
        grad: &[f32],
    ) -> [Vec<f32>; 1] {
        let mut d_qkv = vec![0.0; qkv.len()];
        dispatch(Backward {
            op: self,
            qkv,
            log_sums: &saved,
            grad,
            d_qkv: &mut d_qkv,
        });
        [d_qkv]
    }
}

/// One query of one head.
struct Query {
    /// Its element of `[length, n_heads]`.
    index: usize,
    /// First channel of its head of keys and values.
    channel: usize,
    /// The positions that it sees.
    span: Range<usize>,
}

impl Attention {
    /// Every query of every head of a sequence.
    #[inline(always)]
    fn queries(&self, sequence: usize) -> impl Iterator<Item = Query> {
        let dims = self.dims;
        let starts = &self.starts[sequence * dims.length..][..dims.length];
        let group = dims.n_heads / dims.n_kv_heads;
        (0..dims.length * dims.n_heads).map(move |index| {
            let (t, head) = (index / dims.n_heads, index % dims.n_heads);
            let end = t + 1;
            Query {
                index,
                channel: head / group * dims.head_dim,
                span: starts[t]..end,
            }
        })
    }
}

struct Forward<'a> {
    op: &'a Attention,
    qkv: &'a [f32],          // [rows, d_qkv]
    out: &'a mut [f32],      // [rows, d_query]
    log_sums: &'a mut [f32], // [rows, n_heads]
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let (op, dims) = (self.op, &self.op.dims);
        let (width, stride) = (dims.head_dim, dims.stride());
        let mut sequence = Sequence::new(dims);
        let (mut scores, mut p) = (vec![0.0; stride], vec![0.0; stride]);
        let inputs = self.qkv.chunks_exact(dims.length * dims.d_qkv());
        let outputs = self.out.chunks_exact_mut(dims.length * dims.d_query());
        let log_sums = self.log_sums.chunks_exact_mut(dims.length * dims.n_heads);
        for (b, ((qkv, out), log_sums)) in inputs.zip(outputs).zip(log_sums).enumerate() {
            sequence.load(dims, &op.rope, qkv);
            for query in op.queries(b) {
                let Query {
                    index,
                    channel,
                    span,
                } = query;
                let q = &sequence.q[index * width..][..width];
                let len = span.len();
                let lanes = &mut scores[..len.next_multiple_of(WIDTH)];
                sequence.k.mix(v, q, channel, span.start, lanes);
                let (max, sum) = exponentials(v, &scores[..len], &mut p[..len]);
                log_sums[index] = max + sum.ln();
                for (d, out) in out[index * width..][..width].iter_mut().enumerate() {
                    let column = &sequence.v.channel(channel + d)[span.clone()];
                    *out = dot(v, &p[..len], column) / sum;
                }
            }
        }
    }
}

struct Backward<'a> {
    op: &'a Attention,
    qkv: &'a [f32],       // [rows, d_qkv]
    log_sums: &'a [f32],  // [rows, n_heads]
    grad: &'a [f32],      // [rows, d_query]
    d_qkv: &'a mut [f32], // [rows, d_qkv]
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let (op, dims) = (self.op, &self.op.dims);
        let mut reverse = Reverse {
            width: dims.head_dim,
            sequence: Sequence::new(dims),
            grads: Sequence::new(dims),
            p: vec![0.0; dims.stride()],
            d_scores: vec![0.0; dims.stride()],
        };
        let rows = self.qkv.chunks_exact(dims.length * dims.d_qkv());
        let rows = rows.zip(self.d_qkv.chunks_exact_mut(dims.length * dims.d_qkv()));
        let rows = rows.zip(self.grad.chunks_exact(dims.length * dims.d_query()));
        let rows = rows.zip(self.log_sums.chunks_exact(dims.length * dims.n_heads));
        for (b, (((qkv, d_qkv), grad), log_sums)) in rows.enumerate() {
            reverse.sequence.load(dims, &op.rope, qkv);
            reverse.grads.clear();
            for query in op.queries(b) {
                let grad = &grad[query.index * dims.head_dim..][..dims.head_dim];
                reverse.query(v, &query, grad, log_sums[query.index]);
            }
            reverse.grads.store(dims, &op.rope, d_qkv);
        }
    }
}

/// The backward pass of a sequence: its inputs, their gradients, scratch buffers of `[stride]`.
struct Reverse {
    width: usize,
    sequence: Sequence,
    grads: Sequence,
    p: Vec<f32>,
    d_scores: Vec<f32>,
}

impl Reverse {
    /// Adds the gradients of one query. With `p` the probabilities and `g` the gradient of the output:
    /// `dv = p g`, `dp = g v`, `ds = p (dp - sum(p dp))`, `dq = ds k`, `dk = ds q`.
    #[inline(always)]
    fn query<S: Simd>(&mut self, v: Vectors<S>, query: &Query, g: &[f32], log_sum: f32) {
        let (width, channel, span) = (self.width, query.channel, &query.span);
        let Sequence { q, k, v: values } = &self.sequence;
        let q = &q[query.index * width..][..width];
        let lanes = span.len().next_multiple_of(WIDTH);
        k.mix(v, q, channel, span.start, &mut self.p[..lanes]);
        values.mix(v, g, channel, span.start, &mut self.d_scores[..lanes]);
        let p = &mut self.p[..span.len()];
        let d_scores = &mut self.d_scores[..span.len()];
        for p in p.iter_mut() {
            *p = lanes::exp(*p - log_sum);
        }
        let mean = dot(v, p, d_scores);
        for (d, p) in d_scores.iter_mut().zip(p.iter()) {
            *d = p * (*d - mean);
        }
        let d_q = &mut self.grads.q[query.index * width..][..width];
        for (d, d_q) in d_q.iter_mut().enumerate() {
            *d_q = dot(v, d_scores, &k.channel(channel + d)[span.clone()]);
        }
        self.grads.k.spread(q, d_scores, channel, span.start);
        self.grads.v.spread(g, p, channel, span.start);
    }
}
