//! Training order: documents shuffled once per epoch, laid end to end and read in parallel lanes,
//! so that a model can carry its state from one segment to the next.
//!
//! ```text
//! stream   # doc # doc # doc # doc # doc #        '#' is the end-of-text token
//! lanes    [# doc # d][oc # doc ][# doc # ]       `batch` pieces of equal length
//! segment   ....       ....       ....            `length` tokens of every lane
//! ```

use std::sync::Arc;

use rand_chacha::rand_core::Rng as _;
use serde::{Deserialize, Serialize};

use crate::{Domain, LanesError, TokenSet, rng};

/// Sizes and seed of the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneOptions {
    /// The token that precedes every document.
    pub end_of_text: u32,
    /// Lanes that are read in parallel.
    pub batch: usize,
    /// Tokens per lane and segment.
    pub length: usize,
    /// Decides, together with the epoch, the order of the documents.
    pub seed: u64,
}

/// Where the next segment lies. Saved with a checkpoint it makes a resumed run see the same
/// segments, given the same documents and [`LaneOptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanesPosition {
    /// Passes through the documents that are complete.
    pub epoch: u64,
    /// Segments of this epoch that were already read.
    pub offset: u64,
}

/// One step of training. Rows are lanes; element `[lane, t]` is at `lane * length + t`.
///
/// Every target counts in the loss, end-of-text included: that is how a model learns where
/// documents end. There is no padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Tokens given to the model, `[batch, length]`.
    pub inputs: Vec<u32>,
    /// The token after each input, `[batch, length]`.
    pub targets: Vec<u32>,
    /// Where the state must be cleared before the input is read, `[batch, length]`: at every
    /// end-of-text token, and at the first token of every lane when an epoch begins (a lane may
    /// begin within a document whose start belongs to another lane).
    pub resets: Vec<bool>,
    /// Where each input lies in the set of documents ([`TokenSet::position`]), whatever their order in
    /// this epoch, `[batch, length]`.
    pub positions: Vec<usize>,
    /// The epoch that the segment belongs to.
    pub epoch: u64,
}

/// An endless, reproducible source of segments. The tokens are shared and never copied as a whole.
#[derive(Clone, Debug)]
pub struct Lanes {
    documents: Arc<TokenSet>,
    options: LaneOptions,
    segments_per_epoch: u64,
    position: LanesPosition,
    /// The documents in the order of `position.epoch`.
    order: Vec<u32>,
    /// Where each begins when they are laid end to end, an end-of-text token before each and one at
    /// the very end.
    starts: Vec<usize>,
}

impl Lanes {
    /// Lanes over tokenised documents, at the start of epoch 0.
    ///
    /// # Errors
    /// A size is zero, or the documents do not fill one segment.
    pub fn new(
        documents: impl Into<Arc<TokenSet>>,
        options: LaneOptions,
    ) -> Result<Self, LanesError> {
        let documents = documents.into();
        let LaneOptions { batch, length, .. } = options;
        for (field, value) in [("batch", batch), ("length", length)] {
            if value == 0 {
                return Err(LanesError::Zero { field });
            }
        }
        let tokens = documents.positions();
        let segments = batch
            .checked_mul(length)
            .map_or(0, |segment| tokens / segment);
        if segments == 0 {
            return Err(LanesError::TooShort {
                tokens,
                batch,
                length,
            });
        }
        let mut lanes = Self {
            documents,
            options,
            segments_per_epoch: segments as u64,
            position: LanesPosition::default(),
            order: Vec::new(),
            starts: Vec::new(),
        };
        lanes.begin_epoch();
        Ok(lanes)
    }

    /// What the lanes read.
    pub fn documents(&self) -> &TokenSet {
        &self.documents
    }

    /// Segments in an epoch. Less than one segment of tokens at the end of each epoch's order is
    /// left out; the order changes, so that it is not the same text each time.
    pub const fn segments_per_epoch(&self) -> u64 {
        self.segments_per_epoch
    }

    /// Inputs in a segment, which is also the number of targets: `batch * length`.
    pub const fn tokens_per_segment(&self) -> usize {
        self.options.batch * self.options.length
    }

    /// Where [`next_segment`](Self::next_segment) will read.
    pub const fn position(&self) -> LanesPosition {
        self.position
    }

    /// Moves to a position that [`position`](Self::position) gave for the same documents and
    /// options; the following segments are then the same.
    ///
    /// # Errors
    /// The position is beyond the end of an epoch. The lanes are then where they were.
    pub fn seek(&mut self, position: LanesPosition) -> Result<(), LanesError> {
        let segments = self.segments_per_epoch;
        if position.offset >= segments {
            return Err(LanesError::Position { position, segments });
        }
        let new_order = self.position.epoch != position.epoch;
        self.position = position;
        if new_order {
            self.begin_epoch();
        }
        Ok(())
    }

    /// The next `length` tokens of every lane. After the last segment of an epoch comes the first
    /// of the next.
    pub fn next_segment(&mut self) -> Segment {
        let LanesPosition { epoch, offset } = self.position;
        let LaneOptions {
            end_of_text,
            batch,
            length,
            ..
        } = self.options;
        let lane_length = self.segments_per_epoch as usize * length;
        let mut inputs = Vec::with_capacity(batch * length);
        let mut targets = Vec::with_capacity(batch * length);
        let mut positions = Vec::with_capacity(batch * length);
        for lane in 0..batch {
            let start = lane * lane_length + offset as usize * length;
            let row = self.read(start, length + 1);
            inputs.extend_from_slice(&row[..length]);
            targets.extend_from_slice(&row[1..]);
            positions.extend(self.positions(start, length));
        }
        let resets = inputs
            .iter()
            .enumerate()
            .map(|(index, &token)| {
                token == end_of_text || (offset == 0 && index.is_multiple_of(length))
            })
            .collect();
        self.advance();
        Segment {
            inputs,
            targets,
            resets,
            positions,
            epoch,
        }
    }

    fn advance(&mut self) {
        self.position.offset += 1;
        if self.position.offset == self.segments_per_epoch {
            self.position = LanesPosition {
                epoch: self.position.epoch + 1,
                offset: 0,
            };
            self.begin_epoch();
        }
    }

    /// Orders the documents for the current epoch.
    fn begin_epoch(&mut self) {
        self.order = permutation(self.documents.len(), self.options.seed, self.position.epoch);
        let mut next = 0;
        let start = |&index: &u32| {
            let start = next;
            next += 1 + self.documents.document(index as usize).len();
            start
        };
        self.starts = self.order.iter().map(start).collect();
    }

    /// Which of the ordered documents holds `start`, where they are laid end to end.
    fn at(&self, start: usize) -> usize {
        self.starts.partition_point(|&at| at <= start) - 1
    }

    /// Positions in the set of `count` tokens from `start` on of the documents laid end to end.
    fn positions(&self, start: usize, count: usize) -> impl Iterator<Item = usize> {
        let first = self.at(start);
        let ordered = self.order[first..].iter().flat_map(|&index| {
            let index = index as usize;
            let begin = self.documents.position(index);
            begin..=begin + self.documents.document(index).len()
        });
        ordered.skip(start - self.starts[first]).take(count)
    }

    /// `count` tokens from `start` on of the documents laid end to end.
    fn read(&self, start: usize, count: usize) -> Vec<u32> {
        let first = self.at(start);
        let mut skipped = start - self.starts[first];
        let mut tokens = Vec::with_capacity(count);
        for &index in &self.order[first..] {
            if skipped == 0 {
                tokens.push(self.options.end_of_text);
            }
            let rest = &self.documents.document(index as usize)[skipped.saturating_sub(1)..];
            let left = count - tokens.len();
            tokens.extend(rest.iter().take(left).map(|&id| u32::from(id)));
            if tokens.len() == count {
                return tokens;
            }
            skipped = 0;
        }
        tokens.push(self.options.end_of_text);
        tokens
    }
}

/// The order of `len` documents in an epoch: Fisher and Yates' shuffle driven by the stream of
/// the epoch. Written out, so that a run can be resumed with any later
/// version of the random crates.
fn permutation(len: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut rng = rng(seed, Domain::Order, epoch);
    let mut order: Vec<u32> = (0..len as u32).collect();
    for last in (1..len).rev() {
        // The bias of the remainder is below len / 2^64.
        let chosen = rng.next_u64() % (last as u64 + 1);
        order.swap(last, chosen as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: the documents of an epoch laid end to end, cut into lanes.
    fn epoch_by_definition(documents: &TokenSet, options: LaneOptions, epoch: u64) -> Vec<Segment> {
        let end = [options.end_of_text];
        let order = permutation(documents.len(), options.seed, epoch);
        let ordered = order
            .into_iter()
            .map(|index| documents.document(index as usize));
        let stream: Vec<u32> = ordered
            .flat_map(|document| {
                end.into_iter()
                    .chain(document.iter().map(|&id| u32::from(id)))
            })
            .chain(end)
            .collect();
        let positions = permutation(documents.len(), options.seed, epoch)
            .into_iter()
            .flat_map(|index| {
                let tokens = documents.document(index as usize).len() + 1;
                (0..tokens).map(move |at| documents.position(index as usize) + at)
            });
        let positions: Vec<usize> = positions.collect();
        let LaneOptions { batch, length, .. } = options;
        let segments = (stream.len() - 1) / (batch * length);
        let segment = |offset: usize| {
            let starts = (0..batch).map(|lane| (lane * segments + offset) * length);
            let at = starts.flat_map(|start| start..start + length);
            let resets = |at: usize| {
                stream[at] == options.end_of_text || (offset == 0 && at.is_multiple_of(length))
            };
            Segment {
                inputs: at.clone().map(|at| stream[at]).collect(),
                targets: at.clone().map(|at| stream[at + 1]).collect(),
                resets: at.clone().map(resets).collect(),
                positions: at.map(|at| positions[at]).collect(),
                epoch,
            }
        };
        (0..segments).map(segment).collect()
    }

    proptest! {
        #[test]
        fn segments_are_those_of_documents_laid_end_to_end(
            mut documents in prop::collection::vec(prop::collection::vec(0_u16..50, 0..40), 1..30),
            batch in 1_usize..5,
            length in 1_usize..9,
            seed: u64,
            epoch in 0_u64..3,
            offset: prop::sample::Index,
        ) {
            documents.push(vec![7; batch * length]);
            let documents: TokenSet = documents.into_iter().collect();
            let options = LaneOptions { end_of_text: 50, batch, length, seed };
            let expected = epoch_by_definition(&documents, options, epoch);
            let mut lanes = Lanes::new(documents, options).unwrap();
            let offset = offset.index(expected.len());
            lanes.seek(LanesPosition { epoch, offset: offset as u64 }).unwrap();
            for segment in &expected[offset..] {
                prop_assert_eq!(&lanes.next_segment(), segment);
            }
            prop_assert_eq!(lanes.next_segment().epoch, epoch + 1);
        }
    }
}
