//! Requests that wait for a slot.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Request;

/// Too many requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A bounded queue that threads wait at.
#[derive(Debug)]
pub(super) struct Queue {
    /// Most requests that are not answered yet.
    limit: usize,
    inner: Mutex<Inner>,
    arrived: Condvar,
    /// Length of the queue, readable without the lock.
    pub(super) waiting: AtomicUsize,
    /// Requests that have left it and are not answered yet.
    pub(super) running: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    requests: VecDeque<Request>,
    closed: bool,
}

impl Queue {
    /// `waiting` requests may wait beyond those that have one of all `slots`.
    pub(super) fn new(waiting: usize, slots: usize) -> Self {
        Self {
            limit: waiting + slots,
            inner: Mutex::default(),
            arrived: Condvar::new(),
            waiting: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        }
    }

    pub(super) fn push(&self, request: Request) -> Result<(), Full> {
        let mut inner = self.lock();
        let unanswered = inner.requests.len() + self.running.load(Ordering::Relaxed);
        if inner.closed || unanswered >= self.limit {
            return Err(Full);
        }
        inner.requests.push_back(request);
        self.waiting.store(inner.requests.len(), Ordering::Relaxed);
        drop(inner);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes up to `most` requests. If `wait`, waits until there is one; none then means that the
    /// queue is closed and empty.
    pub(super) fn take(&self, most: usize, wait: bool, into: &mut Vec<Request>) {
        if most == 0 || (!wait && self.waiting.load(Ordering::Relaxed) == 0) {
            return;
        }
        let mut inner = self.lock();
        while wait && inner.requests.is_empty() && !inner.closed {
            let woken = self.arrived.wait(inner);
            inner = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let taken = most.min(inner.requests.len());
        into.extend(inner.requests.drain(..taken));
        self.waiting.store(inner.requests.len(), Ordering::Relaxed);
        self.running.fetch_add(taken, Ordering::Relaxed);
    }

    /// A request that was taken is answered.
    pub(super) fn done(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// No more requests: threads end when all are answered.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Nothing that holds the lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::engine::{Prompt, Reply};

    fn request() -> Request {
        Request {
            prompt: Prompt::Text("a".to_owned()),
            precision: itera_core::checkpoint::Precision::Fp32,
            sampling: itera_core::sampling::SamplingConfig::default(),
            max_tokens: 1,
            stop: Vec::new(),
            echo: false,
            logprobs: None,
            reply: Reply::Whole(oneshot::channel().0),
            received: std::time::Instant::now(),
        }
    }

    #[test]
    fn a_free_slot_is_room_for_a_request() {
        let queue = Queue::new(1, 2);
        let mut taken = Vec::new();
        for _ in 0..3 {
            queue.push(request()).unwrap();
        }
        assert_eq!(queue.push(request()), Err(Full));
        queue.take(2, true, &mut taken);
        assert_eq!(queue.push(request()), Err(Full), "two run and one waits");
        queue.done();
        queue.push(request()).unwrap();
        assert_eq!(queue.push(request()), Err(Full));
    }
}
