//! A thread that writes for many requests: each step reads one token, or a piece of a prompt, of
//! each, so that every weight is read once for all. Requests join and leave between steps.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use itera_core::{
    config::ModelConfig,
    model::{Sequence, State, Workspace},
};

use super::{
    generation::{Feed, Share, Writing, begin},
    prefixes::{Owner, Prefixes, Read},
    queue::{Queue, Running},
    session::Session,
};
use crate::{metrics::Metrics, weights::Variant};

/// What the thread is given.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) prefixes: Arc<Prefixes>,
    pub(super) slots: usize,
}

/// A request that is being written.
#[derive(Debug)]
struct Slot {
    owner: Owner,
    feed: Feed,
    state: State,
    writing: Writing,
    /// Whether this step has been taken.
    stepped: bool,
    _running: Running,
}

/// Pause after a fault, so that one that comes back at once does not keep a core busy.
const PAUSE: Duration = Duration::from_millis(100);

impl Worker {
    /// Works until the queue is closed and empty. A fault loses the requests of this thread, whose
    /// clients are told, and not the thread.
    pub(super) fn run(&self) {
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            self.metrics.count_panic();
            tracing::error!("generation failed on one thread, which starts afresh");
            thread::sleep(PAUSE);
        }
    }

    fn serve(&self) {
        let mut buffers = Buffers::default();
        let (mut slots, mut arrived) = (Vec::new(), Vec::new());
        loop {
            self.queue.take(slots.len(), self.slots, &mut arrived);
            if slots.is_empty() && arrived.is_empty() {
                return;
            }
            for (request, running) in arrived.drain(..) {
                if request.reply.is_closed() {
                    self.metrics.count_cancelled();
                    continue;
                }
                let client = request.client.clone();
                self.metrics.queue.add(request.received.elapsed());
                if let Some((feed, writing, session)) = begin(request) {
                    let owner = Owner::new(client, &writing.variant);
                    let mut slot = Slot {
                        owner,
                        feed,
                        state: buffers.of(&writing.variant).fresh_state(&writing.variant),
                        writing,
                        stepped: false,
                        _running: running,
                    };
                    match session {
                        Some(session) => slot.resume(&session),
                        None => slot.skip_known(&self.prefixes),
                    }
                    slots.push(slot);
                }
            }
            self.retire(&mut slots, &mut buffers);
            step(&mut slots, &mut buffers, &self.prefixes);
            self.retire(&mut slots, &mut buffers);
        }
    }

    /// Takes out what has ended; its state is used again.
    fn retire(&self, slots: &mut Vec<Slot>, buffers: &mut Buffers) {
        let over = |slot: &mut Slot| slot.writing.is_over();
        for mut slot in slots.extract_if(.., over) {
            slot.writing.tell_end(&slot.state);
            if slot.writing.is_cancelled() {
                self.metrics.count_cancelled();
            }
            self.metrics.count_tokens(slot.writing.tokens());
            buffers.of(&slot.writing.variant).spare.push(slot.state);
        }
    }
}

impl Slot {
    /// What was read before of the prompt is not read again.
    fn skip_known(&mut self, prefixes: &Prefixes) {
        if self.writing.scores_prompt() {
            return;
        }
        if let Some(read) = prefixes.find(&self.owner, self.feed.prompt()) {
            self.state.clone_from(&read.state);
            self.writing.cached_tokens = self.feed.skip(read.tokens.len());
            self.write_first(read.logits.as_deref());
        }
    }

    /// Goes on with the text of a session.
    fn resume(&mut self, session: &Session) {
        self.state.clone_from(&session.state);
        self.write_first(session.logits.as_deref());
    }

    /// The first token, if there is nothing to read before it.
    fn write_first(&mut self, logits: Option<&[f32]>) {
        if let (true, Some(logits)) = (self.feed.is_read(), logits) {
            self.writing.accept(None, logits);
            self.feed.advance(self.writing.written);
        }
    }
}

/// Memory that is used again, for each size of model.
#[derive(Debug, Default)]
struct Buffers(Vec<BuffersOfSize>);

#[derive(Debug)]
struct BuffersOfSize {
    config: ModelConfig,
    work: Workspace,
    spare: Vec<State>,
}

impl Buffers {
    fn of(&mut self, variant: &Variant) -> &mut BuffersOfSize {
        let has_size = |known: &BuffersOfSize| known.config == variant.config;
        let at = self.0.iter().position(has_size).unwrap_or_else(|| {
            self.0.push(BuffersOfSize {
                config: variant.config.clone(),
                work: variant.model.new_workspace(),
                spare: Vec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl BuffersOfSize {
    fn fresh_state(&mut self, variant: &Variant) -> State {
        match self.spare.pop() {
            Some(mut state) => {
                state.reset();
                state
            }
            None => variant.model.new_state(),
        }
    }
}

/// One token, or a piece of a prompt, for every slot; those with the same weights together.
fn step(slots: &mut [Slot], buffers: &mut Buffers, prefixes: &Prefixes) {
    for slot in slots.iter_mut() {
        slot.stepped = false;
    }
    while let Some(first) = slots.iter().find(|slot| !slot.stepped) {
        let variant = Arc::clone(&first.writing.variant);
        let began = Instant::now();
        let mut sequences = Vec::with_capacity(slots.len());
        let mut writings = Vec::with_capacity(slots.len());
        for slot in slots.iter_mut() {
            if slot.stepped || !Arc::ptr_eq(&slot.writing.variant, &variant) {
                continue;
            }
            slot.stepped = true;
            let (tokens, known) = slot.feed.next();
            let ends_prompt = known.is_none() && !slot.feed.is_read();
            sequences.push(Sequence::new(tokens, &mut slot.state));
            writings.push((&mut slot.writing, known, ends_prompt));
        }
        let side_by_side = writings.len() as u32;
        for (writing, ..) in &mut writings {
            writing.step = Some(Share {
                began,
                side_by_side,
            });
        }
        let work = &mut buffers.of(&variant).work;
        variant
            .model
            .forward_batch(&mut sequences, work, &mut |index, logits| {
                let (writing, known, ends_prompt) = &mut writings[index];
                writing.accept(*known, logits);
                if *ends_prompt {
                    writing.prompt_logits = Some(logits.into());
                }
            });
        for (writing, ..) in writings {
            writing.end_step();
        }
    }
    for slot in slots {
        let logits = slot.writing.prompt_logits.take();
        if let Some(tokens) = slot.feed.advance(slot.writing.written)
            && slot.writing.is_new
            && !slot.writing.scores_prompt()
        {
            let read = Read {
                tokens: tokens.into(),
                state: slot.state.clone(),
                logits,
            };
            prefixes.keep(&slot.owner, read);
        }
    }
}
