//! A text that goes on over many requests.

use std::sync::Arc;

use itera_core::model::State;

use crate::weights::Variant;

/// Where a text stands: what the model remembers of it has one size, however long it is. The weights are those that it
/// began with.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) variant: Arc<Variant>,
    /// Tokens of the text.
    pub(crate) tokens: usize,
    /// What the model remembers of those that it has read.
    pub(super) state: State,
    /// The last token, if it is written and not read.
    pub(super) unread: Option<u32>,
    /// What predicts the next token, if all are read.
    pub(super) logits: Option<Arc<[f32]>>,
}

impl Session {
    /// What it takes in memory, without the weights.
    pub(crate) fn bytes(&self) -> usize {
        let logits = self.logits.as_deref().map_or(0, size_of_val);
        size_of::<Self>() + self.state.bytes() + logits
    }
}

/// Which text a request goes on with.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// A new one, of which nothing is kept.
    Fresh,
    /// A new one that will go on.
    NewSession,
    /// That of a session.
    Session(Box<Session>),
}

impl Start {
    /// Whether the text will go on.
    pub(super) const fn keeps(&self) -> bool {
        matches!(self, Self::NewSession | Self::Session(_))
    }
}
