//! Likelihood of documents, and where the state starts afresh.
//!
//! The likelihood of a document is a sum in the order of its tokens, and documents do not share
//! state (but in the protocol `stream`, which is therefore sequential). So the result is the same
//! to the last bit for any number of threads and any division into shards.

use std::ops::Range;

use itera_core::model::Scorer;
use itera_data::TokenSet;
use itera_record::{ProtocolKind, ScoringProtocol};

use crate::{
    engine::{Engine, Session},
    selection::{DocumentReader, widen},
};

/// Tokens given to an engine at a time, unless weights move from one segment to the next: bounds memory.
const SEGMENT: usize = 1024;

/// Negative log-likelihood of a document in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Nats {
    pub(crate) nll: f64,
    /// By weights that stay and without n-grams, where there are others.
    pub(crate) of_static: Option<f64>,
}

/// A session that knows how a text begins and where its state starts afresh.
pub(crate) struct Reader<'a> {
    session: Box<dyn Session + 'a>,
    end_of_text: u32,
    kind: ProtocolKind,
    /// Whether no document depends on another, and only its sum counts.
    is_apart: bool,
    /// Tokens given to the engine at a time, tokens of a window, and how many later the next one begins.
    segment: usize,
    window: usize,
    stride: usize,
    /// The token before `pending`.
    previous: u32,
    /// Tokens that are not read yet; of windows also those before them that are context.
    pending: Vec<u32>,
    /// How many of these are scored.
    scored: usize,
    nll: f64,
    /// Whether a document was read before.
    is_later: bool,
}

/// How many threads may read at once: one where a document is read with what came before it.
pub(crate) fn threads(protocol: &ScoringProtocol, threads: usize) -> usize {
    let adaptation = protocol.adaptation.as_ref();
    let is_sequential = protocol.name == ProtocolKind::Stream
        || adaptation.is_some_and(|adaptation| !adaptation.per_document);
    if is_sequential { 1 } else { threads }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        engine: &'a dyn Engine,
        protocol: &ScoringProtocol,
        end_of_text: u32,
    ) -> anyhow::Result<Self> {
        let segment = protocol.adaptation.as_ref();
        let segment = segment.map_or(SEGMENT, |adaptation| adaptation.segment_tokens as usize);
        let window = protocol
            .window_tokens
            .map_or(segment, |window| window as usize);
        let mut session = engine.session()?;
        session.reset();
        Ok(Self {
            session,
            end_of_text,
            kind: protocol.name,
            is_apart: protocol.name == ProtocolKind::Document
                && protocol.adaptation.is_none()
                && protocol.mix.is_none(),
            segment,
            window,
            stride: protocol
                .stride_tokens
                .map_or(window, |stride| stride as usize),
            previous: end_of_text,
            pending: Vec::new(),
            scored: 0,
            nll: 0.0,
            is_later: false,
        })
    }

    /// Reads what is pending as far as whole windows are there, or all of it at the end of a document. Each token is
    /// scored once, in the first window that holds it: of later windows only the last `stride` tokens count.
    ///
    /// In protocols without windows, these are segments without overlap, between which the state is carried.
    fn read_windows(&mut self, is_end: bool) {
        let mut start = 0;
        while self.pending.len() - start > self.window
            || is_end && self.pending.len() - start > self.scored
        {
            let end = self.pending.len().min(start.saturating_add(self.window));
            self.read_window(start..end);
            if end == self.pending.len() {
                break;
            }
            self.scored = self.window - self.stride;
            start += self.stride;
        }
        self.pending.drain(..start);
    }

    fn read_window(&mut self, window: Range<usize>) {
        if self.kind == ProtocolKind::Window {
            self.session.reset();
            self.previous = self.end_of_text;
        }
        let mut unscored = self.scored;
        for segment in self.pending[window].chunks(self.segment) {
            let nats = self.session.score(self.previous, segment);
            let skipped = unscored.min(segment.len());
            nats[skipped..].iter().for_each(|nats| self.nll += nats);
            unscored -= skipped;
            self.previous = segment[segment.len() - 1];
        }
    }
}

impl DocumentReader for Reader<'_> {
    type Output = Nats;

    /// In the protocol `stream`, the end-of-text token between documents is read like the one before the first, but
    /// not scored.
    fn begin(&mut self) {
        if self.kind != ProtocolKind::Stream {
            self.session.reset();
        } else if self.is_later {
            self.session.read(self.previous, &[self.end_of_text]);
        }
        self.previous = self.end_of_text;
        self.is_later = true;
        self.nll = 0.0;
    }

    fn read(&mut self, tokens: &[u16]) {
        self.pending.extend(widen(tokens));
        self.read_windows(false);
    }

    fn end(&mut self) -> Nats {
        self.read_windows(true);
        self.pending.clear();
        self.scored = 0;
        Nats {
            nll: self.nll,
            of_static: self.session.take_static_nats(),
        }
    }

    /// All documents together where none depends on another, so that a weight is read once for tokens of several.
    fn documents(&mut self, documents: &TokenSet) -> Vec<Nats> {
        if !self.is_apart {
            return self.each(documents);
        }
        let mut nats = Vec::with_capacity(documents.len());
        for group in Scorer::groups(documents.iter().map(<[u16]>::len)) {
            let group = group.map(|index| widen(documents.document(index)).collect::<Vec<u32>>());
            let group: Vec<_> = group.collect();
            let slices: Vec<&[u32]> = group.iter().map(Vec::as_slice).collect();
            nats.extend(self.session.documents(&slices, self.end_of_text));
        }
        let nats = nats.into_iter().map(|nll| Nats {
            nll,
            of_static: None,
        });
        nats.collect()
    }
}

#[cfg(test)]
mod tests {
    use itera_record::Bootstrap;

    use super::*;

    const END_OF_TEXT: u32 = 1000;

    /// An engine whose likelihood of a token is a hash of all tokens read before it, so that a
    /// score reveals the context of every token.
    struct ContextHash;

    struct History(Vec<u32>);

    fn nats(history: &[u32], token: u32) -> f64 {
        let mix = |hash: u64, &token: &u32| {
            (hash ^ u64::from(token))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(23)
        };
        let hash = history
            .iter()
            .chain([&token])
            .fold(history.len() as u64, mix);
        (hash >> 11) as f64 / (1_u64 << 50) as f64
    }

    impl Engine for ContextHash {
        fn name(&self) -> &'static str {
            "context hash"
        }

        fn session(&self) -> anyhow::Result<Box<dyn Session + '_>> {
            // What an earlier text left behind must not matter.
            Ok(Box::new(History(vec![7])))
        }
    }

    impl Session for History {
        fn reset(&mut self) {
            self.0.clear();
        }

        fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64> {
            let mut previous = context;
            let score = |&token: &u32| {
                self.0.push(previous);
                previous = token;
                nats(&self.0, token)
            };
            tokens.iter().map(score).collect()
        }
    }

    fn protocol(name: ProtocolKind, window: Option<(u64, u64)>) -> ScoringProtocol {
        ScoringProtocol {
            name,
            window_tokens: window.map(|(window, _)| window),
            stride_tokens: window.map(|(_, stride)| stride),
            context_start: "end_of_text".to_owned(),
            separators_scored: false,
            max_tokens: None,
            limit_documents: None,
            bootstrap: Bootstrap { draws: 1, seed: 0 },
            adaptation: None,
            mix: None,
        }
    }

    /// Texts shorter than, as long as and longer than windows and segments.
    fn token_lists() -> Vec<Vec<u32>> {
        let lens = [1, 7, 8, 9, 16, 61, 1024, 2049];
        lens.iter()
            .map(|&len| (0..len).map(|i| (i * i + len) % 97).collect())
            .collect()
    }

    /// The likelihood of each list, which must be the same whether it comes at once or in parts.
    fn scores(protocol: &ScoringProtocol, lists: &[Vec<u32>]) -> Vec<f64> {
        let narrow = |tokens: &Vec<u32>| tokens.iter().map(|&id| id as u16).collect::<Vec<_>>();
        let documents: TokenSet = lists.iter().map(narrow).collect();
        let reader = || Reader::new(&ContextHash, protocol, END_OF_TEXT).unwrap();
        let whole = reader().documents(&documents);
        for part in [1, 7, 8, 1024] {
            let mut reader = reader();
            let read = |tokens: &[u16]| {
                reader.begin();
                tokens.chunks(part).for_each(|part| reader.read(part));
                reader.end()
            };
            let parts: Vec<Nats> = documents.iter().map(read).collect();
            assert_eq!(parts, whole, "parts of {part}");
        }
        whole.iter().map(|nats| nats.nll).collect()
    }

    /// Sums the likelihood of every token of a list, given the context that `history` defines.
    fn brute_force(tokens: &[u32], history: impl Fn(usize) -> Vec<u32>) -> f64 {
        tokens
            .iter()
            .enumerate()
            .fold(0.0, |nll, (i, &token)| nll + nats(&history(i), token))
    }

    #[test]
    fn a_document_starts_with_end_of_text_and_nothing_else() {
        let lists = token_lists();
        let nll = scores(&protocol(ProtocolKind::Document, None), &lists);
        for (tokens, nll) in lists.iter().zip(nll) {
            let expected = brute_force(tokens, |i| [&[END_OF_TEXT], &tokens[..i]].concat());
            assert_eq!(nll.to_bits(), expected.to_bits(), "{} tokens", tokens.len());
        }
    }

    #[test]
    fn a_stream_carries_everything() {
        let lists = token_lists();
        let nll = scores(&protocol(ProtocolKind::Stream, None), &lists);
        let mut before = Vec::new();
        for (tokens, nll) in lists.iter().zip(nll) {
            before.push(END_OF_TEXT);
            let expected = brute_force(tokens, |i| [&before, &tokens[..i]].concat());
            assert_eq!(nll.to_bits(), expected.to_bits(), "{} tokens", tokens.len());
            before.extend(tokens);
        }
    }

    #[test]
    fn a_window_sees_no_further_than_its_start() {
        let lists = token_lists();
        for (window, stride) in [(1, 1), (8, 8), (8, 3), (8, 1), (64, 48), (1500, 1000)] {
            let shape = Some((window as u64, stride as u64));
            let nll = scores(&protocol(ProtocolKind::Window, shape), &lists);
            for (tokens, nll) in lists.iter().zip(nll) {
                // The first window that holds token i starts at the first multiple of the stride
                // above i - window.
                let start = |i: usize| (i + 1).saturating_sub(window).div_ceil(stride) * stride;
                let history = |i| [&[END_OF_TEXT], &tokens[start(i)..i]].concat();
                let expected = brute_force(tokens, history);
                let case = (window, stride, tokens.len());
                assert_eq!(nll.to_bits(), expected.to_bits(), "{case:?}");
            }
        }
    }
}
