//! Likelihood of documents, and where the state starts afresh.
//!
//! The likelihood of a document is a sum in the order of its tokens, and documents do not share
//! state (but in the protocol `stream`, which is therefore sequential). So the result is the same
//! to the last bit for any number of threads and any division into shards.

use std::ops::Range;

use anyhow::bail;
use itera_core::model::Scorer;
use itera_data::TokenSet;
use itera_record::{ProtocolKind, ScoringProtocol};
use rayon::prelude::*;

use crate::{
    engine::{Engine, Session},
    selection::{Documents, widen},
};

/// Tokens given to an engine at a time: bounds memory and moves the progress bar.
const SEGMENT: usize = 1024;

/// Called with the number of tokens scored.
type OnTokens<'a> = &'a (dyn Fn(usize) + Sync);

/// Negative log-likelihood of each document in nats.
pub(crate) fn score(
    engine: &dyn Engine,
    protocol: &ScoringProtocol,
    end_of_text: u32,
    documents: &Documents,
    on_tokens: OnTokens,
) -> anyhow::Result<Vec<f64>> {
    let tokens = &documents.tokens;
    let reader = || Reader {
        session: engine.session(),
        end_of_text,
        on_tokens,
        segment: Vec::new(),
    };
    let nll_nats: Vec<f64> = match protocol.name {
        ProtocolKind::Document => {
            let groups = Scorer::groups(tokens.iter().map(<[u16]>::len));
            let groups = groups.par_iter().with_max_len(1);
            let score = |reader: &mut Reader, group: &Range<usize>| {
                if group.len() == 1 {
                    vec![reader.document(tokens.document(group.start))]
                } else {
                    reader.group(engine, tokens, group)
                }
            };
            groups.map_init(reader, score).flatten_iter().collect()
        }
        ProtocolKind::Window => {
            let window = protocol
                .window_tokens
                .map_or(usize::MAX, |window| window as usize);
            let stride = protocol
                .stride_tokens
                .map_or(window, |stride| stride as usize);
            let indices = (0..tokens.len()).into_par_iter().with_max_len(1);
            let score =
                |reader: &mut Reader, index| reader.windows(tokens.document(index), window, stride);
            indices.map_init(reader, score).collect()
        }
        ProtocolKind::Stream => reader().stream(tokens),
    };
    let broken = nll_nats
        .iter()
        .zip(&documents.list)
        .find(|(nll, _)| !nll.is_finite());
    if let Some((nll, document)) = broken {
        bail!(
            "document {} has a negative log-likelihood of {nll}; the weights are finite but too \
             large to compute with; use another checkpoint, or compare with `--engine native`",
            document.index + 1
        );
    }
    Ok(nll_nats)
}

/// A session that knows how a text begins.
struct Reader<'a> {
    session: Box<dyn Session + 'a>,
    end_of_text: u32,
    on_tokens: OnTokens<'a>,
    segment: Vec<u32>,
}

impl Reader<'_> {
    /// One document from a fresh state.
    fn document(&mut self, tokens: &[u16]) -> f64 {
        self.session.reset();
        self.read(tokens)
    }

    /// Several, each from a fresh state.
    fn group(&self, engine: &dyn Engine, tokens: &TokenSet, group: &Range<usize>) -> Vec<f64> {
        let documents = group.clone().map(|index| tokens.document(index));
        let documents: Vec<Vec<u32>> = documents.map(|tokens| widen(tokens).collect()).collect();
        let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
        let nats = engine.documents(&slices, self.end_of_text);
        (self.on_tokens)(slices.iter().map(|tokens| tokens.len()).sum());
        nats
    }

    /// Windows that begin at every `stride` tokens. Each token is scored once, in the first window
    /// that holds it: of later windows only the last `stride` tokens count.
    fn windows(&mut self, tokens: &[u16], window: usize, stride: usize) -> f64 {
        let (mut nll, mut scored) = (0.0, 0);
        for start in (0..tokens.len()).step_by(stride) {
            let end = start.saturating_add(window).min(tokens.len());
            self.session.reset();
            self.read_into(&mut nll, &tokens[start..end], scored - start);
            scored = end;
            if end == tokens.len() {
                break;
            }
        }
        nll
    }

    /// Document after document without a fresh state. The end-of-text token between them is read
    /// like the one before the first, but not scored.
    fn stream(&mut self, documents: &TokenSet) -> Vec<f64> {
        self.session.reset();
        let mut last = None;
        let mut nll_nats = Vec::with_capacity(documents.len());
        for document in documents.iter() {
            if let Some(last) = last {
                self.session.score(last, &[self.end_of_text]);
            }
            nll_nats.push(self.read(document));
            last = document.last().map(|&id| u32::from(id));
        }
        nll_nats
    }

    /// Negative log-likelihood of `tokens` after an end-of-text token.
    fn read(&mut self, tokens: &[u16]) -> f64 {
        let mut nll = 0.0;
        self.read_into(&mut nll, tokens, 0);
        nll
    }

    /// The same added to `nll`, token by token, without the first `context` tokens.
    fn read_into(&mut self, nll: &mut f64, tokens: &[u16], context: usize) {
        let (mut previous, mut unscored) = (self.end_of_text, context);
        for segment in tokens.chunks(SEGMENT) {
            self.segment.clear();
            self.segment.extend(widen(segment));
            let nats = self.session.score(previous, &self.segment);
            let skipped = unscored.min(segment.len());
            nats[skipped..].iter().for_each(|nats| *nll += nats);
            (self.on_tokens)(segment.len() - skipped);
            unscored -= skipped;
            previous = u32::from(segment[segment.len() - 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use itera_data::Counts;
    use itera_record::Bootstrap;

    use super::*;
    use crate::selection::Document;

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

        fn session(&self) -> Box<dyn Session + '_> {
            // What an earlier text left behind must not matter.
            Box::new(History(vec![7]))
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
        }
    }

    /// Texts shorter than, as long as and longer than windows and segments.
    fn token_lists() -> Vec<Vec<u32>> {
        let lens = [1, 7, 8, 9, 16, 61, 1024, 2049];
        lens.iter()
            .map(|&len| (0..len).map(|i| (i * i + len) % 97).collect())
            .collect()
    }

    fn scores(protocol: &ScoringProtocol, lists: &[Vec<u32>]) -> (Vec<f64>, usize) {
        let document = |index| Document {
            index,
            text: b"",
            counts: Counts::default(),
        };
        let narrow = |tokens: &Vec<u32>| tokens.iter().map(|&id| id as u16).collect::<Vec<_>>();
        let documents = Documents {
            list: (0..lists.len()).map(document).collect(),
            tokens: lists.iter().map(narrow).collect(),
        };
        let told = std::sync::atomic::AtomicUsize::new(0);
        let on_tokens = |tokens| {
            told.fetch_add(tokens, std::sync::atomic::Ordering::Relaxed);
        };
        let nll = score(&ContextHash, protocol, END_OF_TEXT, &documents, &on_tokens).unwrap();
        (nll, told.into_inner())
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
        let (nll, told) = scores(&protocol(ProtocolKind::Document, None), &lists);
        for (tokens, nll) in lists.iter().zip(nll) {
            let expected = brute_force(tokens, |i| [&[END_OF_TEXT], &tokens[..i]].concat());
            assert_eq!(nll.to_bits(), expected.to_bits(), "{} tokens", tokens.len());
        }
        assert_eq!(told, lists.iter().map(Vec::len).sum::<usize>());
    }

    #[test]
    fn a_stream_carries_everything() {
        let lists = token_lists();
        let (nll, _) = scores(&protocol(ProtocolKind::Stream, None), &lists);
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
            let (nll, told) = scores(&protocol(ProtocolKind::Window, shape), &lists);
            for (tokens, nll) in lists.iter().zip(nll) {
                // The first window that holds token i starts at the first multiple of the stride
                // above i - window.
                let start = |i: usize| (i + 1).saturating_sub(window).div_ceil(stride) * stride;
                let history = |i| [&[END_OF_TEXT], &tokens[start(i)..i]].concat();
                let expected = brute_force(tokens, history);
                let case = (window, stride, tokens.len());
                assert_eq!(nll.to_bits(), expected.to_bits(), "{case:?}");
            }
            assert_eq!(told, lists.iter().map(Vec::len).sum::<usize>());
        }
    }
}
