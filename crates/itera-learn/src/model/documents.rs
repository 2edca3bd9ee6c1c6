//! Which tokens of a segment see each other in the paper's form, where documents start within it.

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::Tokens;

/// Masks of a segment, ones where something passes and zeros where a new document keeps it out.
pub(super) struct Documents {
    /// For each tap of the convolution but the last, whether it reads the token's own document:
    /// `[batch, length, 1]`, the tap farthest back first.
    pub(super) taps: Vec<Tensor<3>>,
    /// Which inputs of the convolution are carried on, `[batch, d_conv - 1, 1]`, oldest first.
    pub(super) history: Tensor<3>,
    /// The chunks of the recurrence, one after the other.
    pub(super) chunks: Vec<Chunk>,
}

/// Masks of a chunk.
pub(super) struct Chunk {
    pub(super) start: usize,
    pub(super) length: usize,
    /// Whether token `t` sees token `s`: not after it, and of its document; `[batch, 1, t, s]`.
    pub(super) within: Tensor<4>,
    /// Whether a token sees the state before the chunk, `[batch, 1, length, 1]`.
    pub(super) before: Tensor<4>,
    /// Whether the state after the chunk holds a token, `[batch, 1, length, 1]`.
    pub(super) to_end: Tensor<4>,
    /// Whether the state after the chunk holds the state before it, `[batch, 1, 1, 1]`.
    pub(super) through: Tensor<4>,
}

impl Documents {
    /// Masks of `tokens` in chunks of at most `chunk` tokens.
    pub(super) fn new(tokens: &Tokens, d_conv: usize, chunk: usize, device: &Device) -> Self {
        let Tokens { batch, length, .. } = *tokens;
        // Documents that started in the segment so far; tokens before it count as 0.
        let counts = tokens.resets.chunks_exact(length).flat_map(|row| {
            row.iter().scan(0.0_f32, |count, starts| {
                *count += f32::from(u8::from(*starts));
                Some(*count)
            })
        });
        let counts = TensorData::new(counts.collect::<Vec<f32>>(), [batch, length]);
        let counts = Tensor::<2>::from_data(counts, device);
        let zeros = Tensor::<2>::zeros([batch, d_conv], device);
        let padded = Tensor::cat(vec![zeros, counts.clone()], 1);
        let last = counts.clone().narrow(1, length - 1, 1);
        let taps = (0..d_conv - 1).map(|tap| {
            let read = padded.clone().narrow(1, tap + 1, length);
            read.equal(counts.clone()).float().unsqueeze_dim(2)
        });
        let history = padded.clone().narrow(1, length + 1, d_conv - 1);
        let chunks = (0..length).step_by(chunk).map(|start| {
            let length = chunk.min(length - start);
            let before = padded.clone().narrow(1, start + d_conv - 1, 1);
            Chunk::new(start, counts.clone().narrow(1, start, length), before)
        });
        Self {
            taps: taps.collect(),
            history: history.equal(last).float().unsqueeze_dim(2),
            chunks: chunks.collect(),
        }
    }
}

impl Chunk {
    /// `counts [batch, length]` of the tokens of the chunk, and `before [batch, 1]` of the token before it.
    fn new(start: usize, counts: Tensor<2>, before: Tensor<2>) -> Self {
        let [batch, length] = counts.dims();
        let last = counts.clone().narrow(1, length - 1, 1);
        let column = |mask: Tensor<2, Bool>| mask.float().reshape([batch, 1, length, 1]);
        let same: Tensor<3, Bool> = counts
            .clone()
            .unsqueeze_dim::<3>(2)
            .equal(counts.clone().unsqueeze_dim::<3>(1)); // [batch, t, s]
        let not_after = Tensor::<2>::ones([length, length], &counts.device()).tril(0);
        Self {
            start,
            length,
            within: (same.float() * not_after.unsqueeze()).unsqueeze_dim(1),
            before: column(counts.clone().equal(before.clone())),
            to_end: column(counts.equal(last.clone())),
            through: before.equal(last).float().reshape([batch, 1, 1, 1]),
        }
    }
}
