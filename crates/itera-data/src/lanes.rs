//! Training order: documents shuffled once per epoch, laid end to end and read in parallel lanes,
//! so that a model can carry its state from one segment to the next.
//!
//! ```text
//! stream   # doc # doc # doc # doc # doc #        '#' is the end-of-text token
//! lanes    [# doc # d][oc # doc ][# doc # ]       `batch` pieces of equal length
//! segment   ....       ....       ....            `length` tokens of every lane
//! ```

use rand_chacha::rand_core::Rng as _;
use serde::{Deserialize, Serialize};

use crate::{Domain, LanesError, rng};

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
    /// The epoch that the segment belongs to.
    pub epoch: u64,
}

/// An endless, reproducible source of segments.
#[derive(Clone, Debug)]
pub struct Lanes {
    documents: Vec<Vec<u32>>,
    options: LaneOptions,
    segments_per_epoch: u64,
    position: LanesPosition,
    /// The documents in the order of `position.epoch`, an end-of-text token before each and one
    /// at the very end, `[tokens_of(documents) + 1]`.
    stream: Vec<u32>,
}

impl Lanes {
    /// Lanes over tokenised documents, at the start of epoch 0. The documents hold no end-of-text
    /// token themselves.
    ///
    /// # Errors
    /// A size is zero, or the documents do not fill one segment.
    pub fn new(documents: Vec<Vec<u32>>, options: LaneOptions) -> Result<Self, LanesError> {
        let LaneOptions { batch, length, .. } = options;
        for (field, value) in [("batch", batch), ("length", length)] {
            if value == 0 {
                return Err(LanesError::Zero { field });
            }
        }
        let tokens = documents
            .iter()
            .map(|document| document.len() + 1)
            .sum::<usize>();
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
            stream: Vec::with_capacity(tokens + 1),
        };
        lanes.fill_stream();
        Ok(lanes)
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
            self.fill_stream();
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
        let starts = (0..batch).map(|lane| lane * lane_length + offset as usize * length);
        let (inputs, targets): (Vec<_>, Vec<_>) = starts
            .flat_map(|start| start..start + length)
            .map(|index| (self.stream[index], self.stream[index + 1]))
            .unzip();
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
            self.fill_stream();
        }
    }

    /// Lays out the stream of the current epoch.
    fn fill_stream(&mut self) {
        self.stream.clear();
        for index in permutation(self.documents.len(), self.options.seed, self.position.epoch) {
            self.stream.push(self.options.end_of_text);
            self.stream.extend_from_slice(&self.documents[index]);
        }
        self.stream.push(self.options.end_of_text);
    }
}

/// The order of `len` documents in an epoch: Fisher and Yates' shuffle driven by the stream of
/// the epoch. Written out, so that a run can be resumed with any later
/// version of the random crates.
fn permutation(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut rng = rng(seed, Domain::Order, epoch);
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        // The bias of the remainder is below len / 2^64.
        let chosen = rng.next_u64() % (last as u64 + 1);
        order.swap(last, chosen as usize);
    }
    order
}
