//! What one client may ask for: requests a minute, work of a request, and memory of answers on their way.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, InsufficientCapacity, NotUntil, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock, QuantaInstant},
};

use crate::{
    client::{Client, ClientId, network},
    problem::{Code, Problem},
};

/// Most tokens that a request may read and write: `choices x (prompt + max_tokens)`. A prompt counts by its
/// bytes, since a token has at least one.
const MAX_TOKENS: usize = 65_536;

/// Most tokens of a request whose probabilities are told: the longest prompt and the longest answer.
const MAX_TOLD: usize = 16_384 + 512;

/// Memory of a token whose probabilities are told, from the engine to the end of its JSON, and of a plain one.
const TOLD_BYTES: usize = 1000;
const TOKEN_BYTES: usize = 8;

/// Tokens that count as one request of the rate limit.
const TOKENS_PER_REQUEST: usize = 4096;

/// Most memory of the answers to one client, and to all.
const CLIENT_BYTES: usize = 20_000_000;
const ALL_BYTES: usize = 100_000_000;

/// Wrong keys of one network in a minute.
const WRONG_KEYS: NonZero<u32> = NonZero::new(10).unwrap();

/// What a request asks for at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) choices: usize,
    /// Read and written.
    pub(crate) tokens: usize,
    /// Told with probabilities.
    pub(crate) told: usize,
}

/// The limits of a server and what clients have used.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Option<(NonZero<u32>, DefaultKeyedRateLimiter<ClientId>)>,
    wrong_keys: DefaultKeyedRateLimiter<IpAddr>,
    memory: Arc<Mutex<HashMap<ClientId, usize>>>,
}

/// Memory that an answer may take; given back when the answer has left, or its client.
#[derive(Debug)]
pub(crate) struct Charge {
    client: ClientId,
    bytes: usize,
    memory: Arc<Mutex<HashMap<ClientId, usize>>>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = memory.get_mut(&self.client) {
            *used -= self.bytes;
            if *used == 0 {
                memory.remove(&self.client);
            }
        }
    }
}

impl Work {
    /// Refuses what no client may ask for at once, and says what it would cost.
    fn check(self) -> Result<(), Problem> {
        let Self { tokens, told, .. } = self;
        if told > MAX_TOLD {
            let megabytes = told * TOLD_BYTES / 1_000_000;
            let message = format!(
                "the request asks for the probabilities of up to {told} tokens, some {megabytes} MB; \
                 expected at most {MAX_TOLD} (choices x (prompt + max_tokens)): ask for fewer choices or \
                 divide the prompt"
            );
            return Err(Problem::field("logprobs", message));
        }
        if tokens > MAX_TOKENS {
            let message = format!(
                "the request asks for up to {tokens} tokens, expected at most {MAX_TOKENS} \
                 (choices x (prompt + max_tokens)): ask for fewer choices or shorter texts"
            );
            return Err(Problem::field("n", message));
        }
        Ok(())
    }

    fn bytes(self) -> usize {
        self.tokens * TOKEN_BYTES + self.told * TOLD_BYTES
    }

    /// Requests that it counts as.
    fn requests(self) -> usize {
        self.choices.max(self.tokens.div_ceil(TOKENS_PER_REQUEST))
    }
}

impl Limits {
    /// `per_minute` requests for each client without a limit of its own; none for no limit.
    pub(crate) fn new(per_minute: Option<NonZero<u32>>) -> Self {
        Self {
            requests: per_minute.map(|limit| (limit, RateLimiter::keyed(Quota::per_minute(limit)))),
            wrong_keys: RateLimiter::keyed(Quota::per_minute(WRONG_KEYS)),
            memory: Arc::default(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The client has had its number.
    pub(crate) fn request(&self, client: &Client) -> Result<(), Problem> {
        self.requests(client, 1)
    }

    /// Admits the work of a request, which [`Limits::request`] has counted as one.
    ///
    /// # Errors
    /// It is too much for any client, or for this one now.
    pub(crate) fn admit(&self, client: &Client, work: Work) -> Result<Charge, Problem> {
        work.check()?;
        let charge = self.charge(client.id(), work.bytes())?;
        self.requests(client, work.requests() - 1)?;
        if let Some((limit, tokens)) = client.key.as_ref().and_then(|key| key.tokens.as_ref()) {
            let checked = tokens.check_n(at_most(work.tokens, *limit));
            outcome("tokens of this key", checked)?;
        }
        Ok(charge)
    }

    fn requests(&self, client: &Client, count: usize) -> Result<(), Problem> {
        if count == 0 {
            return Ok(());
        }
        // A request that counts as more than the limit waits until all of it is there.
        if let Some((limit, own)) = client.key.as_ref().and_then(|key| key.requests.as_ref()) {
            return outcome("requests of this key", own.check_n(at_most(count, *limit)));
        }
        let Some((limit, limiter)) = &self.requests else {
            return Ok(());
        };
        let checked = limiter.check_key_n(&client.id(), at_most(count, *limit));
        outcome("requests from this client", checked)
    }

    /// Counts a wrong key.
    ///
    /// # Errors
    /// There were too many of this network.
    pub(crate) fn wrong_key(&self, address: IpAddr) -> Result<(), Problem> {
        let checked = self.wrong_keys.check_key(&network(address));
        outcome("wrong keys from this client", Ok(checked))
    }

    fn charge(&self, client: ClientId, bytes: usize) -> Result<Charge, Problem> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = memory.values().sum();
        let own = memory.entry(client.clone()).or_default();
        let fits = *own + bytes <= CLIENT_BYTES && all + bytes <= ALL_BYTES;
        *own += if fits { bytes } else { 0 };
        if !fits {
            if *own == 0 {
                memory.remove(&client);
            }
            return Err(Problem::new(
                Code::UnreadAnswers,
                "too much of earlier answers is still on its way; read those first",
            )
            .retry_after(1));
        }
        drop(memory);
        Ok(Charge {
            client,
            bytes,
            memory: Arc::clone(&self.memory),
        })
    }

    /// Forgets clients that have all of their number again.
    pub(crate) fn forget_idle(&self) {
        if let Some((_, limiter)) = &self.requests {
            limiter.retain_recent();
        }
        self.wrong_keys.retain_recent();
    }
}

fn at_most(count: usize, limit: NonZero<u32>) -> NonZero<u32> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    NonZero::new(count.min(limit.get())).unwrap_or(NonZero::<u32>::MIN)
}

/// Says when to come back. More than the whole limit is never asked for.
fn outcome(
    what: &str,
    checked: Result<Result<(), NotUntil<QuantaInstant>>, InsufficientCapacity>,
) -> Result<(), Problem> {
    let Ok(Err(until)) = checked else {
        return Ok(());
    };
    let wait = until.wait_time_from(DefaultClock::default().now());
    let wait_s = (wait + Duration::from_millis(999)).as_secs().max(1);
    Err(Problem::new(
        Code::RateLimited,
        format!("too many {what}; try again in {wait_s} s"),
    )
    .retry_after(wait_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Client {
        Client {
            address: IpAddr::from([10, 0, 0, last]),
            key: None,
        }
    }

    fn work(choices: usize, tokens: usize, told: usize) -> Work {
        Work {
            choices,
            tokens,
            told,
        }
    }

    #[test]
    fn work_is_counted_and_not_requests() {
        let limits = Limits::new(NonZero::new(20));
        limits.request(&client(1)).unwrap();
        let first = limits.admit(&client(1), work(16, 9000, 0));
        assert!(first.is_ok());
        limits.request(&client(1)).unwrap();
        assert!(limits.admit(&client(1), work(16, 9000, 0)).is_err());
        // Others have their own number.
        limits.request(&client(2)).unwrap();
        assert!(limits.admit(&client(2), work(16, 9000, 0)).is_ok());
        // What counts as more than the limit can still be had.
        let few = Limits::new(NonZero::new(3));
        assert!(few.admit(&client(1), work(16, 9000, 0)).is_ok());
    }

    #[test]
    fn answers_on_their_way_are_bounded_for_each_client_and_for_all() {
        let limits = Limits::new(None);
        let large = work(1, MAX_TOLD, MAX_TOLD);
        let charge = limits.admit(&client(1), large).unwrap();
        assert!(limits.admit(&client(1), large).is_err());
        let others: Vec<_> = (2..20)
            .map(|last| limits.admit(&client(last), large))
            .collect();
        let admitted = others.iter().filter(|admitted| admitted.is_ok()).count();
        assert_eq!(admitted, ALL_BYTES / large.bytes() - 1);
        drop((charge, others));
        assert!(limits.admit(&client(1), large).is_ok());
        assert!(limits.memory.lock().unwrap().is_empty());
    }

    #[test]
    fn what_nobody_may_ask_for_is_refused_with_its_cost() {
        let limits = Limits::new(None);
        assert!(
            limits
                .admit(&client(1), work(16, 16 * 16_384, 16 * 16_384))
                .is_err()
        );
        assert!(limits.admit(&client(1), work(16, 16 * 16_384, 0)).is_err());
        assert!(
            limits
                .admit(&client(1), work(16, 16 * 1024, 16 * 512))
                .is_ok()
        );
        // The most that one request may cost.
        assert!(work(1, MAX_TOKENS, MAX_TOLD).bytes() <= CLIENT_BYTES);
    }
}
