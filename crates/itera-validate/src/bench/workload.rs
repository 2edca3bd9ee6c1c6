//! What is timed.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use itera_core::model::{Model, Sequence, State, Workspace};
use itera_record::median;

/// Sessions that are decoded together.
const BATCH: usize = 16;

/// Tokens of a text that is scored.
const SCORED: usize = 4096;

/// Tokens decoded for one sample of the cost at a context.
const CONTEXT_TOKENS: usize = 256;

/// Tokens to read, over and over.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) bytes: usize,
    pub(super) tokens: Vec<u32>,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One token after the other.
    Decode,
    /// One token of each of several sessions.
    DecodeBatch,
    /// A prompt of so many tokens, up to the logits after its last.
    Prefill(usize),
    /// The likelihood of each token of a text.
    Score,
}

impl Kind {
    /// The kinds that are measured, each with its number of threads.
    pub(super) fn measured() -> [(Self, usize); 7] {
        [
            (Self::Decode, 1),
            (Self::Decode, 2),
            (Self::DecodeBatch, 1),
            (Self::Prefill(128), 1),
            (Self::Prefill(1024), 1),
            (Self::Score, 1),
            (Self::Score, 2),
        ]
    }

    /// The name in the record.
    pub(super) fn name(self) -> String {
        match self {
            Self::Decode => "decode".to_owned(),
            Self::DecodeBatch => format!("decode-batch-{BATCH}"),
            Self::Prefill(tokens) => format!("prefill-{tokens}"),
            Self::Score => "score".to_owned(),
        }
    }

    /// Tokens that pass the model together, and those of one session among them.
    pub(super) const fn rows(self) -> (usize, usize) {
        match self {
            Self::Decode => (1, 1),
            Self::DecodeBatch => (BATCH, 1),
            Self::Prefill(_) | Self::Score => (Model::ROWS, Model::ROWS),
        }
    }

    /// Share of the tokens whose logits are computed.
    pub(super) const fn head_share(self) -> f64 {
        match self {
            Self::Prefill(tokens) => 1.0 / tokens as f64,
            _ => 1.0,
        }
    }

    /// Tokens of the smallest run.
    const fn unit(self) -> usize {
        match self {
            Self::Decode => 1,
            Self::DecodeBatch => BATCH,
            Self::Prefill(tokens) => tokens,
            Self::Score => SCORED,
        }
    }
}

/// Something to time, long enough for the clock.
pub(super) struct Case<'a> {
    pub(super) model: &'a Model,
    pub(super) kind: Kind,
    pub(super) threads: usize,
    text: &'a Text,
    repeats: usize,
    readers: Vec<Reader>,
}

/// What one thread needs.
struct Reader {
    states: Vec<State>,
    work: Workspace,
}

impl<'a> Case<'a> {
    /// A case whose runs take at least `sample`; runs it once or more, which also warms it up.
    pub(super) fn new(
        model: &'a Model,
        kind: Kind,
        threads: usize,
        text: &'a Text,
        sample: Duration,
    ) -> Self {
        let reader = || Reader {
            states: vec![model.new_state(); BATCH],
            work: model.new_workspace(),
        };
        let mut case = Self {
            model,
            kind,
            threads,
            text,
            repeats: 1,
            readers: (0..threads).map(|_| reader()).collect(),
        };
        while case.run() < sample {
            case.repeats *= 2;
        }
        case
    }

    /// Tokens of one run, over all threads.
    pub(super) const fn tokens(&self) -> usize {
        self.kind.unit() * self.repeats * self.threads
    }

    /// Bytes of text of one run.
    pub(super) const fn text_bytes(&self) -> usize {
        self.tokens() * self.text.bytes / self.text.tokens.len()
    }

    /// Runs once.
    pub(super) fn run(&mut self) -> Duration {
        let (model, kind, text, repeats) = (self.model, self.kind, self.text, self.repeats);
        let started = Instant::now();
        thread::scope(|scope| {
            let (first, others) = self.readers.split_at_mut(1);
            for reader in others {
                scope.spawn(move || reader.read(model, kind, text, repeats));
            }
            first[0].read(model, kind, text, repeats);
        });
        started.elapsed()
    }
}

impl Reader {
    fn read(&mut self, model: &Model, kind: Kind, text: &Text, repeats: usize) {
        let mut tokens = text.tokens.iter().copied().cycle();
        let (states, work) = (&mut self.states, &mut self.work);
        match kind {
            Kind::Decode => {
                for token in tokens.take(repeats) {
                    black_box(model.step(token, &mut states[0], work));
                }
            }
            Kind::DecodeBatch => {
                for _ in 0..repeats {
                    let next: [u32; BATCH] = std::array::from_fn(|_| tokens.next().unwrap_or(0));
                    let sequences = next.as_chunks::<1>().0.iter().zip(&mut *states);
                    let mut sequences: Vec<_> = sequences
                        .map(|(token, state)| Sequence::new(token, state))
                        .collect();
                    model.forward_batch(&mut sequences, work, &mut |_, logits| {
                        black_box(logits);
                    });
                }
            }
            Kind::Prefill(len) => {
                let prompt: Vec<u32> = tokens.take(len).collect();
                for _ in 0..repeats {
                    states[0].reset();
                    black_box(model.prefill(&prompt, &mut states[0], work));
                }
            }
            Kind::Score => {
                let text: Vec<u32> = tokens.take(SCORED).collect();
                for _ in 0..repeats {
                    states[0].reset();
                    black_box(model.score(&mut states[0], work, text[0], &text));
                }
            }
        }
    }
}

/// Median seconds per token of decoding after each of these contexts, ascending.
pub(super) fn seconds_at(
    model: &Model,
    text: &Text,
    contexts: &[usize],
    samples: usize,
) -> Vec<f64> {
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let mut tokens = text.tokens.iter().copied().cycle();
    let mut read = 0;
    let mut states = Vec::new();
    for &context in contexts {
        let more: Vec<u32> = tokens.by_ref().take(context - read).collect();
        model.prefill(&more, &mut state, &mut work);
        read = context;
        states.push(state.clone());
    }
    // In turns, so that a slow moment falls on all contexts.
    let mut seconds = vec![Vec::new(); contexts.len()];
    for _ in 0..samples {
        for (state, seconds) in states.iter().zip(&mut seconds) {
            let mut state = state.clone();
            let started = Instant::now();
            for token in text.tokens.iter().cycle().take(CONTEXT_TOKENS) {
                black_box(model.step(*token, &mut state, &mut work));
            }
            seconds.push(started.elapsed().as_secs_f64() / CONTEXT_TOKENS as f64);
        }
    }
    seconds.iter().map(|seconds| median(seconds)).collect()
}
