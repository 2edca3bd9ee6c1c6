//! Generation: threads that write for many requests side by side.
//!
//! | file | what |
//! |---|---|
//! | `request` | what is asked for, and what comes back |
//! | `queue` | requests that wait, at most so many, served client by client |
//! | `worker` | a thread with its slots: each step reads one token, or a piece of a prompt, of each |
//! | `prefixes` | what the model remembers of texts that were read before |
//! | `session` | a text that goes on over many requests |
//! | `generation` | one request on its way: sampling, stop words, limits, replies |
//! | `adjust` | penalties and biases before a token is drawn |
//! | `text` | tokens to text, whole characters only, and nothing that a stop word may take back |
//! | `logprobs` | what the model thought of the tokens |

mod adjust;
mod generation;
mod logprobs;
mod prefixes;
mod queue;
mod request;
mod session;
mod text;
mod worker;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use anyhow::Context as _;

pub(crate) use self::{
    adjust::Adjustments,
    logprobs::{Logprobs, MAX_TOP},
    queue::Full,
    request::{Completion, Event, Finish, GenerateError, MIN_EVENTS, Prompt, Reply, Request},
    session::{Session, Start},
};
use self::{prefixes::Prefixes, queue::Queue, worker::Worker};
use crate::metrics::Metrics;

/// The generating threads, and the way to them.
#[derive(Debug)]
pub(crate) struct Engine {
    queue: Arc<Queue>,
    slots: usize,
}

impl Engine {
    /// Starts the threads, which keep at most `state_bytes` of what they remember of prompts. They end when the engine is
    /// closed and every request is answered.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(
        workers: usize,
        slots: usize,
        waiting: usize,
        state_bytes: usize,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let prefixes = Arc::new(Prefixes::new(state_bytes));
        let queue = Arc::new(Queue::new(waiting, workers, slots));
        for index in 0..workers {
            let worker = Worker {
                queue: Arc::clone(&queue),
                metrics: Arc::clone(metrics),
                prefixes: Arc::clone(&prefixes),
                slots,
            };
            thread::Builder::new()
                .name(format!("generate-{index}"))
                .spawn(move || worker.run())
                .context("cannot start a thread; give fewer with `--workers`")?;
        }
        Ok(Self {
            queue,
            slots: workers * slots,
        })
    }

    /// Hands a request to the threads; its [`Reply`] tells how it went.
    ///
    /// # Errors
    /// If too many wait already.
    pub(crate) fn submit(&self, request: Request) -> Result<(), Full> {
        self.queue.push(request)
    }

    /// Requests that wait, requests that are written, and slots in all.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let (waiting, running) = (&self.queue.waiting, &self.queue.running);
        (
            waiting.load(Ordering::Relaxed),
            running.load(Ordering::Relaxed),
            self.slots,
        )
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
    }
}
