//! Token sequences on their way through the model, each with the state that it moves on.

use super::{Model, State, Workspace, observe::Observer, state::Span};

/// Tokens to read, and the session that reads them.
#[derive(Debug)]
pub struct Sequence<'a> {
    /// Read before `tokens`; the last of `tokens` is then not read, only predicted.
    context: Option<u32>,
    tokens: &'a [u32],
    state: &'a mut State,
    position: usize,
}

impl<'a> Sequence<'a> {
    /// All of `tokens`, after whatever `state` has read already.
    pub fn new(tokens: &'a [u32], state: &'a mut State) -> Self {
        Self {
            context: None,
            tokens,
            state,
            position: 0,
        }
    }

    /// `context` and all of `tokens` but the last, to predict each of `tokens`.
    pub fn predicting(tokens: &'a [u32], context: u32, state: &'a mut State) -> Self {
        Self {
            context: Some(context),
            ..Self::new(tokens, state)
        }
    }

    /// Tokens not read yet.
    pub(super) const fn remaining(&self) -> usize {
        self.tokens.len() - self.position
    }

    /// The state that this sequence moves on.
    pub(super) const fn state(&mut self) -> &mut State {
        self.state
    }

    /// The last `len` tokens before the position: those that the rows of a round predict.
    pub(super) fn read(&self, len: usize) -> &'a [u32] {
        &self.tokens[self.position - len..self.position]
    }

    /// The token that row `offset` from here reads.
    pub(super) fn input(&self, offset: usize) -> u32 {
        match (self.context, self.position + offset) {
            (Some(context), 0) => context,
            (Some(_), index) => self.tokens[index - 1],
            (None, index) => self.tokens[index],
        }
    }
}

impl Workspace {
    /// Plans a round: the next tokens of each sequence that has some left, as many as there are
    /// rows. Returns their number.
    pub(super) fn plan(&mut self, sequences: &[Sequence<'_>]) -> usize {
        let mut rows = 0;
        self.spans.clear();
        for (sequence, tokens) in sequences.iter().enumerate() {
            let len = tokens.remaining().min(self.rows - rows);
            if len > 0 {
                self.spans.push(Span {
                    sequence,
                    start: rows,
                    len,
                });
            }
            rows += len;
        }
        rows
    }
}

impl Model {
    /// Runs the blocks over the rows of the plan and takes them off the sequences. Afterwards
    /// `work.x` has the residual stream of each row.
    pub(super) fn round(
        &self,
        sequences: &mut [Sequence<'_>],
        work: &mut Workspace,
        observer: &mut impl Observer,
    ) {
        self.blocks(sequences, work, observer);
        for span in &work.spans {
            sequences[span.sequence].position += span.len;
        }
    }
}
