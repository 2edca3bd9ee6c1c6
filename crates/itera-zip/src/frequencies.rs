//! The prediction of the next token as shares of a range.

use itera_core::model::Model;

use crate::coder::Share;

/// Frequencies that are summed together, so that a token is found in two steps.
const BLOCK: usize = 32;

/// How often each token would follow, as integers.
#[derive(Debug)]
pub(crate) struct Frequencies {
    each: Vec<u32>,   // [vocab_size]
    blocks: Vec<u64>, // [vocab_size / BLOCK, rounded up], sums
    total: u64,
}

impl Frequencies {
    pub(crate) fn new(vocab_size: usize) -> Self {
        Self {
            each: vec![0; vocab_size],
            blocks: vec![0; vocab_size.div_ceil(BLOCK)],
            total: 0,
        }
    }

    /// Takes the prediction of `logits`, `[vocab_size]`.
    pub(crate) fn predict(&mut self, model: &Model, logits: &[f32]) {
        model.frequencies(logits, &mut self.each);
        for (sum, block) in self.blocks.iter_mut().zip(self.each.chunks(BLOCK)) {
            // At most 32 times 2^22.
            *sum = u64::from(block.iter().sum::<u32>());
        }
        self.total = self.blocks.iter().sum();
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// The share of a token.
    pub(crate) fn share(&self, token: u32) -> Share {
        let (block, token) = (token as usize / BLOCK, token as usize);
        let before = self.each[block * BLOCK..token].iter();
        Share {
            start: self.blocks[..block].iter().sum::<u64>()
                + before.copied().map(u64::from).sum::<u64>(),
            width: self.each[token].into(),
            total: self.total,
        }
    }

    /// The token whose share holds `part`, which is below the total.
    pub(crate) fn token(&self, part: u64) -> u32 {
        let (mut block, mut start) = (0, 0);
        while start + self.blocks[block] <= part {
            start += self.blocks[block];
            block += 1;
        }
        let mut token = block * BLOCK;
        while start + u64::from(self.each[token]) <= part {
            start += u64::from(self.each[token]);
            token += 1;
        }
        token as u32
    }
}
