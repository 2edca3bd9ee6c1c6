//! A sequence of queries, keys and values, taken apart for the loops over positions.

use pulp::Simd;

use crate::fused::lanes::{Lane, Vectors, WIDTH, ZERO, splat};

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

impl AttentionDims {
    /// Columns of queries, and where keys begin.
    pub(super) const fn d_query(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Columns of keys, and of values.
    pub(super) const fn d_key(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    pub(super) const fn d_qkv(&self) -> usize {
        self.d_query() + 2 * self.d_key()
    }

    /// Elements from one channel to the next where positions are side by side. Blocks of lanes may
    /// begin anywhere, so there is room for one after the end.
    pub(super) const fn stride(&self) -> usize {
        self.length + WIDTH
    }
}

/// Cosine and sine of every position and pair of channels, `[length, head_dim / 2]`.
#[derive(Debug)]
pub(crate) struct Rope(pub(super) Vec<(f32, f32)>);

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

/// Channels of keys or values by position, `[channels, stride]`: the positions of a channel lie side by
/// side.
pub(super) struct Columns {
    values: Vec<f32>,
    stride: usize,
}

impl Columns {
    fn new(channels: usize, stride: usize) -> Self {
        Self {
            values: vec![0.0; channels * stride],
            stride,
        }
    }

    #[inline(always)]
    pub(super) fn channel(&self, channel: usize) -> &[f32] {
        &self.values[channel * self.stride..][..self.stride]
    }

    #[inline(always)]
    fn at(&mut self, channel: usize, t: usize) -> &mut f32 {
        &mut self.values[channel * self.stride + t]
    }

    /// `out[s] = sum_d weights[d] columns[first + d][start + s]`; `out` consists of whole lanes.
    #[inline(always)]
    pub(super) fn mix<S: Simd>(
        &self,
        simd: Vectors<S>,
        weights: &[f32],
        first: usize,
        start: usize,
        out: &mut [f32],
    ) {
        let columns = &self.values[first * self.stride..][..weights.len() * self.stride];
        let (blocks, _) = out.as_chunks_mut::<WIDTH>();
        for (index, block) in blocks.iter_mut().enumerate() {
            let mut sum = ZERO;
            for (weight, column) in weights.iter().zip(columns.chunks_exact(self.stride)) {
                let lane: &Lane = column[start + index * WIDTH..]
                    .first_chunk()
                    .expect("columns are longer than the sequence");
                sum = simd.fma(splat(*weight), *lane, sum);
            }
            *block = sum;
        }
    }

    /// `columns[first + d][start + s] += weights[d] values[s]`.
    #[inline(always)]
    pub(super) fn spread(&mut self, weights: &[f32], values: &[f32], first: usize, start: usize) {
        let columns = &mut self.values[first * self.stride..];
        for (weight, column) in weights.iter().zip(columns.chunks_exact_mut(self.stride)) {
            for (sum, value) in column[start..].iter_mut().zip(values) {
                *sum = value.mul_add(*weight, *sum);
            }
        }
    }
}

/// Queries, keys and values of one sequence, or their gradients.
pub(super) struct Sequence {
    pub(super) q: Vec<f32>, // [length, n_heads, head_dim], turned and divided by sqrt(head_dim)
    pub(super) k: Columns,  // [n_kv_heads * head_dim] channels, turned
    pub(super) v: Columns,  // [n_kv_heads * head_dim] channels
}

impl Sequence {
    pub(super) fn new(dims: &AttentionDims) -> Self {
        Self {
            q: vec![0.0; dims.length * dims.d_query()],
            k: Columns::new(dims.d_key(), dims.stride()),
            v: Columns::new(dims.d_key(), dims.stride()),
        }
    }

    pub(super) fn clear(&mut self) {
        for values in [&mut self.q, &mut self.k.values, &mut self.v.values] {
            values.fill(0.0);
        }
    }

    /// Takes the rows of a sequence, `[length, d_qkv]`, apart.
    #[inline(always)]
    pub(super) fn load(&mut self, dims: &AttentionDims, rope: &Rope, qkv: &[f32]) {
        let width = dims.head_dim;
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
                rope.turn(head, t, 1.0);
            }
            for (channel, (key, value)) in turned.iter().zip(value).enumerate() {
                *self.k.at(channel, t) = *key;
                *self.v.at(channel, t) = *value;
            }
        }
    }

    /// The reverse of [`Self::load`] for gradients.
    #[inline(always)]
    pub(super) fn store(&self, dims: &AttentionDims, rope: &Rope, d_qkv: &mut [f32]) {
        let width = dims.head_dim;
        let scale = (width as f32).sqrt().recip();
        let rows = d_qkv.chunks_exact_mut(dims.d_qkv()).enumerate();
        for ((t, row), q) in rows.zip(self.q.chunks_exact(dims.d_query())) {
            let (query, rest) = row.split_at_mut(dims.d_query());
            let (key, value) = rest.split_at_mut(dims.d_key());
            for (query, q) in query.iter_mut().zip(q) {
                *query = q * scale;
            }
            for (channel, (key, value)) in key.iter_mut().zip(value).enumerate() {
                *key = self.k.channel(channel)[t];
                *value = self.v.channel(channel)[t];
            }
            for head in query
                .chunks_exact_mut(width)
                .chain(key.chunks_exact_mut(width))
            {
                rope.turn(head, t, -1.0);
            }
        }
    }
}
