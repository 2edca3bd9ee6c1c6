//! Causal self-attention with rotary positions and grouped heads, for the baseline.

use std::{ops::Range, sync::Arc};

use pulp::Simd;

use super::{
    cross_entropy::exponentials,
    lanes::{self, Lane, Vectors, WIDTH, ZERO, dispatch, dot, kernel, splat},
};
use crate::host::{HostBackend, Operator};

/// Base of the angles of rotary positions (Su et al. 2021).
const ROPE_BASE: f32 = 10_000.0;

/// Sizes of one application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionDims {
    pub batch: usize,
    pub length: usize,
    pub n_heads: usize,
    /// Heads of keys and values; each serves `n_heads / n_kv_heads` heads of queries (Ainslie et
    /// al. 2023).
    pub n_kv_heads: usize,
    pub head_dim: usize,
}

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

/// Cosine and sine of every position and pair of channels, `[length, head_dim / 2]`.
#[derive(Debug)]
pub(crate) struct Rope(Vec<(f32, f32)>);

impl Rope {
    pub(crate) fn new(length: usize, head_dim: usize) -> Self {
        let frequencies: Vec<f32> = (0..head_dim / 2)
            .map(|pair| ROPE_BASE.powf(-2.0 * pair as f32 / head_dim as f32))
            .collect();
        let angle = |t: usize| {
            frequencies
                .iter()
                .map(move |frequency| t as f32 * frequency)
        };
        let turns = (0..length).flat_map(angle).map(|angle| {
            let (sin, cos) = angle.sin_cos();
            (cos, sin)
        });
        Self(turns.collect())
    }

    /// Turns each pair of channels of one head by the angle of position `t`; by its negative if
    /// `direction` is -1.
    #[inline(always)]
    fn turn(&self, head: &mut [f32], t: usize, direction: f32) {
        let (pairs, _) = head.as_chunks_mut::<2>();
        let turns = &self.0[t * pairs.len()..];
        for ([a, b], (cos, sin)) in pairs.iter_mut().zip(turns) {
            let sin = sin * direction;
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
}

impl AttentionDims {
    /// Columns of queries, and where keys begin.
    const fn d_query(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Columns of keys, and of values.
    const fn d_key(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    const fn d_qkv(&self) -> usize {
        self.d_query() + 2 * self.d_key()
    }

    /// Elements from one channel to the next where positions are side by side. Blocks of lanes may
    /// begin anywhere, so there is room for one after the end.
    const fn stride(&self) -> usize {
        self.length + WIDTH
    }
}

impl Operator<1> for Attention {
    /// Log-sum-exp of the scores, `[rows, n_heads]`.
    type Saved = Arc<Vec<f32>>;

    fn forward<B: HostBackend>(&self, [qkv]: [&[f32]; 1]) -> (Vec<f32>, Vec<usize>, Self::Saved) {
        let rows = self.dims.batch * self.dims.length;
        let mut out = vec![0.0; rows * self.dims.d_query()];
        let mut log_sums = vec![0.0; rows * self.dims.n_heads];
        dispatch(Forward((self, qkv, &mut out, &mut log_sums)));
        (out, vec![rows, self.dims.d_query()], Arc::new(log_sums))
    }

    fn backward<B: HostBackend>(
        &self,
        [qkv]: [&[f32]; 1],
        saved: Self::Saved,
        grad: &[f32],
    ) -> [Vec<f32>; 1] {
        let mut d_qkv = vec![0.0; qkv.len()];
        dispatch(Backward((self, qkv, &saved, grad, &mut d_qkv)));
        [d_qkv]
    }
}

/// Queries, keys and values of one sequence, or their gradients.
struct Sequence {
    q: Vec<f32>, // [length, n_heads, head_dim], turned and divided by sqrt(head_dim)
    k: Vec<f32>, // [n_kv_heads, head_dim, stride], turned
    v: Vec<f32>, // [n_kv_heads, head_dim, stride]
}

/// Where one query of one head looks.
struct Look {
    /// Its element of `[length, n_heads]`.
    index: usize,
    /// First element of its head of keys and values.
    head: usize,
    /// The positions that it sees.
    span: Range<usize>,
}

impl Sequence {
    fn new(dims: &AttentionDims) -> Self {
        let columns = dims.d_key() * dims.stride();
        Self {
            q: vec![0.0; dims.length * dims.d_query()],
            k: vec![0.0; columns],
            v: vec![0.0; columns],
        }
    }

    fn clear(&mut self) {
        for values in [&mut self.q, &mut self.k, &mut self.v] {
            values.fill(0.0);
        }
    }

    /// Takes the rows of a sequence, `[length, d_qkv]`, apart.
    #[inline(always)]
    fn load(&mut self, op: &Attention, qkv: &[f32]) {
        let dims = &op.dims;
        let (width, stride) = (dims.head_dim, dims.stride());
        let scale = (width as f32).sqrt().recip();
        let queries = self.q.chunks_exact_mut(dims.d_query());
        let mut turned = vec![0.0; dims.d_key()];
        for ((t, row), q) in qkv.chunks_exact(dims.d_qkv()).enumerate().zip(queries) {
            let (query, rest) = row.split_at(dims.d_query());
            let (key, value) = rest.split_at(dims.d_key());
            for (q, query) in q.iter_mut().zip(query) {
                *q = query * scale;
            }
            turned.copy_from_slice(key);
            for head in q
                .chunks_exact_mut(width)
                .chain(turned.chunks_exact_mut(width))
            {
                op.rope.turn(head, t, 1.0);
            }
            for (channel, (key, value)) in turned.iter().zip(value).enumerate() {
                self.k[channel * stride + t] = *key;
                self.v[channel * stride + t] = *value;
            }
        }
    }

    /// The reverse of [`Self::load`] for gradients.
    #[inline(always)]
    fn store(&self, op: &Attention, d_qkv: &mut [f32]) {
        let dims = &op.dims;
        let (width, stride) = (dims.head_dim, dims.stride());
        let scale = (width as f32).sqrt().recip();
        let queries = self.q.chunks_exact(dims.d_query());
        for ((t, row), q) in d_qkv
            .chunks_exact_mut(dims.d_qkv())
            .enumerate()
            .zip(queries)
        {
            let (query, rest) = row.split_at_mut(dims.d_query());
            let (key, value) = rest.split_at_mut(dims.d_key());
            for (query, q) in query.iter_mut().zip(q) {
                *query = q * scale;
            }
            for (channel, (key, value)) in key.iter_mut().zip(value).enumerate() {
                *key = self.k[channel * stride + t];
                *value = self.v[channel * stride + t];
            }
            for head in query
                .chunks_exact_mut(width)
                .chain(key.chunks_exact_mut(width))
            {
                op.rope.turn(head, t, -1.0);
            }
        }
    }
}

impl Attention {
    /// Every query of every head of a sequence.
    #[inline(always)]
    fn looks(&self, sequence: usize) -> impl Iterator<Item = Look> {
        let dims = self.dims;
        let starts = &self.starts[sequence * dims.length..][..dims.length];
        let group = dims.n_heads / dims.n_kv_heads;
        (0..dims.length * dims.n_heads).map(move |index| {
            let (t, head) = (index / dims.n_heads, index % dims.n_heads);
            let end = t + 1;
            Look {
                index,
                head: head / group * dims.head_dim * dims.stride(),
                span: starts[t]..end,
            }
        })
    }
}

/// `out[s] = sum_d weights[d] columns[d][start + s]`; `out` consists of whole lanes.
#[inline(always)]
fn mix<S: Simd>(
    simd: Vectors<S>,
    weights: &[f32],
    columns: &[f32],
    stride: usize,
    start: usize,
    out: &mut [f32],
) {
    let (blocks, _) = out.as_chunks_mut::<WIDTH>();
    for (index, block) in blocks.iter_mut().enumerate() {
        let mut sum = ZERO;
        for (weight, column) in weights.iter().zip(columns.chunks_exact(stride)) {
            let lane: &Lane = column[start + index * WIDTH..]
                .first_chunk()
                .expect("columns are longer than the sequence");
            sum = simd.fma(splat(*weight), *lane, sum);
        }
        *block = sum;
    }
}

/// `columns[d][s] += weights[d] values[s]` over a span.
#[inline(always)]
fn spread(weights: &[f32], values: &[f32], columns: &mut [f32], stride: usize, start: usize) {
    for (weight, column) in weights.iter().zip(columns.chunks_exact_mut(stride)) {
        for (sum, value) in column[start..].iter_mut().zip(values) {
            *sum = value.mul_add(*weight, *sum);
        }
    }
}

type ForwardArgs<'a> = (&'a Attention, &'a [f32], &'a mut [f32], &'a mut [f32]);
kernel!(Forward<'a>(ForwardArgs<'a>) -> () = forward);

#[inline(always)]
fn forward<S: Simd>(simd: Vectors<S>, (op, qkv, out, log_sums): ForwardArgs<'_>) {
    let dims = &op.dims;
    let (width, stride) = (dims.head_dim, dims.stride());
    let mut sequence = Sequence::new(dims);
    let (mut scores, mut p) = (vec![0.0; stride], vec![0.0; stride]);
    let outputs = out.chunks_exact_mut(dims.length * dims.d_query());
    let log_sums = log_sums.chunks_exact_mut(dims.length * dims.n_heads);
    let inputs = qkv.chunks_exact(dims.length * dims.d_qkv());
    for (b, ((qkv, out), log_sums)) in inputs.zip(outputs).zip(log_sums).enumerate() {
        sequence.load(op, qkv);
        for Look { index, head, span } in op.looks(b) {
            let query = &sequence.q[index * width..][..width];
            let (len, start) = (span.len(), span.start);
            let lanes = &mut scores[..len.next_multiple_of(WIDTH)];
            mix(
                simd,
                query,
                &sequence.k[head..][..width * stride],
                stride,
                start,
                lanes,
            );
            let (max, sum) = exponentials(simd, &scores[..len], &mut p[..len]);
            log_sums[index] = max + sum.ln();
            let columns = sequence.v[head..].chunks_exact(stride);
            for (out, column) in out[index * width..][..width].iter_mut().zip(columns) {
                *out = dot(simd, &p[..len], &column[span.clone()]) / sum;
            }
        }
    }
}

type BackwardArgs<'a> = (
    &'a Attention,
    &'a [f32],
    &'a [f32],
    &'a [f32],
    &'a mut [f32],
);
kernel!(Backward<'a>(BackwardArgs<'a>) -> () = backward);

/// With `p` the probabilities and `g` the gradient of the output of a query: `dv = p g`,
/// `dp = g v`, `ds = p (dp - sum(p dp))`, `dq = ds k`, `dk = ds q`.
#[inline(always)]
fn backward<S: Simd>(simd: Vectors<S>, (op, qkv, log_sums, grad, d_qkv): BackwardArgs<'_>) {
    let dims = &op.dims;
    let (width, stride) = (dims.head_dim, dims.stride());
    let (mut sequence, mut grads) = (Sequence::new(dims), Sequence::new(dims));
    let (mut p, mut d_scores) = (vec![0.0; stride], vec![0.0; stride]);
    let rows = qkv
        .chunks_exact(dims.length * dims.d_qkv())
        .zip(d_qkv.chunks_exact_mut(dims.length * dims.d_qkv()));
    let outputs = grad
        .chunks_exact(dims.length * dims.d_query())
        .zip(log_sums.chunks_exact(dims.length * dims.n_heads));
    for (b, ((qkv, d_qkv), (grad, log_sums))) in rows.zip(outputs).enumerate() {
        sequence.load(op, qkv);
        grads.clear();
        for Look { index, head, span } in op.looks(b) {
            let query = &sequence.q[index * width..][..width];
            let g = &grad[index * width..][..width];
            let (len, start) = (span.len(), span.start);
            let lanes = len.next_multiple_of(WIDTH);
            let columns = head..head + width * stride;
            let (k, v) = (&sequence.k[columns.clone()], &sequence.v[columns.clone()]);
            mix(simd, query, k, stride, start, &mut p[..lanes]);
            mix(simd, g, v, stride, start, &mut d_scores[..lanes]);
            let (p, d_scores) = (&mut p[..len], &mut d_scores[..len]);
            for p in p.iter_mut() {
                *p = lanes::exp(*p - log_sums[index]);
            }
            let mean = dot(simd, p, d_scores);
            for (d, p) in d_scores.iter_mut().zip(p.iter()) {
                *d = p * (*d - mean);
            }
            let d_query = &mut grads.q[index * width..][..width];
            for (d, column) in d_query.iter_mut().zip(k.chunks_exact(stride)) {
                *d = dot(simd, d_scores, &column[span.clone()]);
            }
            let (d_k, d_v) = (&mut grads.k[columns.clone()], &mut grads.v[columns]);
            spread(query, d_scores, d_k, stride, start);
            spread(g, p, d_v, stride, start);
        }
        grads.store(op, d_qkv);
    }
}

#[cfg(test)]
mod tests;
