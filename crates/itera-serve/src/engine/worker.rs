//! A thread that writes for many requests: each step reads one token, or a piece of a prompt, of
//! each, so that every weight is read once for all. Requests join and leave between steps.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use itera_core::model::{Sequence, State, Workspace};

use super::{
    generation::{Feed, Writing, begin},
    prefixes::{Owner, Prefixes, Read},
    queue::{Queue, Running},
};
use crate::{metrics::Metrics, weights::Weights};

/// What the thread is given.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) queue: Arc<Queue>,
    pub(super) weights: Arc<ArcSwap<Weights>>,
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
        let mut work = self.weights.load().any().model.new_workspace();
        let (mut slots, mut spare, mut arrived) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.queue.take(slots.len(), self.slots, &mut arrived);
            if slots.is_empty() && arrived.is_empty() {
                return;
            }
            for (request, running) in arrived.drain(..) {
                if request.reply.is_closed() {
                    continue;
                }
                let weights = self.weights.load_full();
                let client = request.client.clone();
                if let Some((feed, writing)) = begin(request, &weights) {
                    let owner = Owner::new(client, &writing.variant);
                    slots.push(self.slot(owner, feed, writing, running, &mut spare));
                }
            }
            self.retire(&mut slots, &mut spare);
            step(&mut slots, &mut work, &self.prefixes);
            self.retire(&mut slots, &mut spare);
        }
    }

    /// The slot of a request; what was read before of its prompt is not read again.
    fn slot(
        &self,
        owner: Owner,
        mut feed: Feed,
        mut writing: Writing,
        running: Running,
        spare: &mut Vec<State>,
    ) -> Slot {
        let mut state = fresh_state(spare, &writing);
        let known = (!writing.scores_prompt()).then(|| self.prefixes.find(&owner, feed.prompt()));
        if let Some(read) = known.flatten() {
            state.clone_from(&read.state);
            writing.cached_tokens = feed.skip(read.tokens.len());
            if let (true, Some(logits)) = (feed.is_read(), &read.logits) {
                writing.accept(None, logits);
                feed.advance(writing.written);
            }
        }
        Slot {
            owner,
            feed,
            state,
            writing,
            stepped: false,
            _running: running,
        }
    }

    /// Takes out what has ended; its state is used again.
    fn retire(&self, slots: &mut Vec<Slot>, spare: &mut Vec<State>) {
        let over = |slot: &mut Slot| slot.writing.is_over();
        for slot in slots.extract_if(.., over) {
            self.metrics.count_tokens(slot.writing.tokens());
            spare.push(slot.state);
        }
    }
}

fn fresh_state(spare: &mut Vec<State>, writing: &Writing) -> State {
    match spare.pop() {
        Some(mut state) => {
            state.reset();
            state
        }
        None => writing.variant.model.new_state(),
    }
}

/// One token, or a piece of a prompt, for every slot; those with the same weights together.
fn step(slots: &mut [Slot], work: &mut Workspace, prefixes: &Prefixes) {
    for slot in slots.iter_mut() {
        slot.stepped = false;
    }
    while let Some(first) = slots.iter().find(|slot| !slot.stepped) {
        let variant = Arc::clone(&first.writing.variant);
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
        variant
            .model
            .forward_batch(&mut sequences, work, |index, logits| {
                let (writing, known, ends_prompt) = &mut writings[index];
                writing.accept(*known, logits);
                if *ends_prompt {
                    writing.prompt_logits = Some(logits.into());
                }
            });
    }
    for slot in slots {
        let logits = slot.writing.prompt_logits.take();
        if let Some(tokens) = slot.feed.advance(slot.writing.written)
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
