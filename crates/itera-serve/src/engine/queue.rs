//! Requests that wait for a slot. Clients are served in turn, and when the queue is full the client with most
//! requests in it makes room, so that none keeps the others out.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{GenerateError, Request};
use crate::client::ClientId;

/// Too many requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A bounded queue that threads wait at.
#[derive(Debug)]
pub(super) struct Queue {
    /// Most requests that are not answered yet.
    limit: usize,
    workers: usize,
    inner: Mutex<Inner>,
    arrived: Condvar,
    /// Length of the queue, readable without the lock.
    pub(super) waiting: AtomicUsize,
    /// Requests that have left it and are not answered yet.
    pub(super) running: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    /// Requests of each client that has some.
    clients: HashMap<ClientId, VecDeque<Request>>,
    /// These clients; the first is the next to be served.
    turns: VecDeque<ClientId>,
    len: usize,
    closed: bool,
}

/// Counts a request as running until it is dropped, however that comes.
#[derive(Debug)]
pub(super) struct Running(Arc<Queue>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    fn push(&mut self, request: Request) {
        let own = self.clients.entry(request.client.clone()).or_default();
        if own.is_empty() {
            self.turns.push_back(request.client.clone());
        }
        own.push_back(request);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Request> {
        let client = self.turns.pop_front()?;
        let own = self.clients.get_mut(&client)?;
        let request = own.pop_front();
        if own.is_empty() {
            self.clients.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        self.len -= 1;
        request
    }

    /// Takes the latest request of the client with most of them, if that has more than `client` would have
    /// with another one.
    fn displace(&mut self, client: &ClientId) -> Option<Request> {
        let own = self.clients.get(client).map_or(0, VecDeque::len);
        let (_, longest) = self
            .clients
            .iter_mut()
            .max_by_key(|(_, queue)| queue.len())?;
        if longest.len() <= own + 1 {
            return None;
        }
        self.len -= 1;
        longest.pop_back()
    }
}

impl Queue {
    /// `waiting` requests may wait beyond those that have one of the `slots` of each worker.
    pub(super) fn new(waiting: usize, workers: usize, slots: usize) -> Self {
        Self {
            limit: waiting + workers * slots,
            workers,
            inner: Mutex::default(),
            arrived: Condvar::new(),
            waiting: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        }
    }

    pub(super) fn push(&self, request: Request) -> Result<(), Full> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Full);
        }
        let mut displaced = None;
        if inner.len + self.running.load(Ordering::Relaxed) >= self.limit {
            displaced = Some(inner.displace(&request.client).ok_or(Full)?);
        }
        inner.push(request);
        self.waiting.store(inner.len, Ordering::Relaxed);
        drop(inner);
        self.arrived.notify_one();
        if let Some(request) = displaced {
            request.reply.end(Err(GenerateError::Displaced));
        }
        Ok(())
    }

    /// Takes a worker's share of the work for its free slots, of which it has used `own` of `slots`: no more
    /// than leaves as much for the others. Without work of its own it waits until there is some; none then
    /// means that the queue is closed and empty.
    pub(super) fn take(
        self: &Arc<Self>,
        own: usize,
        slots: usize,
        into: &mut Vec<(Request, Running)>,
    ) {
        let waits = own == 0;
        if own >= slots || (!waits && self.waiting.load(Ordering::Relaxed) == 0) {
            return;
        }
        let mut inner = self.lock();
        while waits && inner.len == 0 && !inner.closed {
            let woken = self.arrived.wait(inner);
            inner = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let unanswered = inner.len + self.running.load(Ordering::Relaxed);
        let share = unanswered.div_ceil(self.workers.max(1)).min(slots);
        for _ in own..share {
            let Some(request) = inner.pop() else { break };
            self.running.fetch_add(1, Ordering::Relaxed);
            into.push((request, Running(Arc::clone(self))));
        }
        self.waiting.store(inner.len, Ordering::Relaxed);
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
    use std::{
        net::IpAddr,
        sync::{Arc, LazyLock},
    };

    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        engine::{Adjustments, Completion, Prompt, Reply, Start},
        fixture::base,
        models::Served,
    };

    /// What they are written with; nothing here is.
    static MODEL: LazyLock<Arc<Served>> = LazyLock::new(|| Served::new(base()));

    type Outcome = oneshot::Receiver<Result<Completion, GenerateError>>;

    fn request(client: u8) -> (Request, Outcome) {
        let (reply, outcome) = oneshot::channel();
        let request = Request {
            client: ClientId::Network(IpAddr::from([10, 0, 0, client])),
            start: Start::Fresh,
            prompt: Prompt::Text("a".to_owned()),
            variant: MODEL.at_default(),
            sampling: itera_core::sampling::SamplingConfig::default(),
            adjustments: Adjustments::default(),
            max_tokens: 1,
            stop: Vec::new(),
            echo: false,
            tells_start: false,
            logprobs: None,
            reply: Reply::Whole(reply),
            received: std::time::Instant::now(),
        };
        (request, outcome)
    }

    fn push(queue: &Queue, client: u8) -> Result<Outcome, Full> {
        let (request, outcome) = request(client);
        queue.push(request).map(|()| outcome)
    }

    #[test]
    fn a_free_slot_is_room_for_a_request() {
        let queue = Arc::new(Queue::new(1, 1, 2));
        let mut taken = Vec::new();
        for _ in 0..3 {
            push(&queue, 1).unwrap();
        }
        assert_eq!(push(&queue, 1).unwrap_err(), Full);
        queue.take(0, 2, &mut taken);
        assert_eq!(push(&queue, 1).unwrap_err(), Full, "two run and one waits");
        taken.pop();
        push(&queue, 1).unwrap();
        assert_eq!(push(&queue, 1).unwrap_err(), Full);
    }

    #[test]
    fn a_full_queue_makes_room_for_a_client_with_fewer_requests() {
        let queue = Queue::new(4, 0, 1);
        let mut flood: Vec<_> = (0..4).map(|_| push(&queue, 1).unwrap()).collect();
        let _others: Vec<_> = (2..4).map(|client| push(&queue, client).unwrap()).collect();
        // The two that came last have given way, and are told so.
        let displaced =
            |outcome: &mut Outcome| matches!(outcome.try_recv(), Ok(Err(GenerateError::Displaced)));
        let displaced: Vec<_> = flood.iter_mut().map(displaced).collect();
        assert_eq!(displaced, [false, false, true, true]);
        // Nobody is pushed out by who has as many.
        assert_eq!(push(&queue, 1).unwrap_err(), Full);
        assert_eq!(push(&queue, 2).unwrap_err(), Full);
    }

    #[test]
    fn clients_are_served_in_turn() {
        let queue = Arc::new(Queue::new(9, 1, 9));
        let _outcomes: Vec<_> = [1, 1, 1, 1, 2, 3, 2]
            .map(|client| push(&queue, client))
            .into();
        let mut taken = Vec::new();
        queue.take(0, 9, &mut taken);
        let last = |(request, _): &(Request, Running)| match &request.client {
            ClientId::Network(IpAddr::V4(address)) => address.octets()[3],
            other => panic!("{other:?}"),
        };
        let order: Vec<_> = taken.iter().map(last).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 1, 1]);
    }

    #[test]
    fn a_worker_leaves_their_share_to_the_others() {
        let queue = Arc::new(Queue::new(100, 2, 32));
        let _outcomes: Vec<_> = (0..16).map(|_| push(&queue, 1)).collect();
        let (mut one, mut two) = (Vec::new(), Vec::new());
        queue.take(0, 32, &mut one);
        queue.take(0, 32, &mut two);
        assert_eq!((one.len(), two.len()), (8, 8));
    }

    #[test]
    fn what_a_failing_worker_drops_is_not_counted_for_ever() {
        let queue = Arc::new(Queue::new(2, 1, 1));
        let _outcomes: Vec<_> = (0..3).map(|_| push(&queue, 1)).collect();
        let mut taken = Vec::new();
        queue.take(0, 1, &mut taken);
        assert_eq!(queue.running.load(Ordering::Relaxed), 1);
        drop(taken);
        assert_eq!(queue.running.load(Ordering::Relaxed), 0);
    }
}
