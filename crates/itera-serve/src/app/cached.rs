//! What many ask at once and the database is asked once a second.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

/// How long an answer holds.
const FRESH: Duration = Duration::from_secs(1);

/// An answer of the database, for all who ask within a second. Those who ask while it is fetched wait for the
/// one answer.
#[derive(Debug)]
pub(crate) struct Cached<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Cached<T> {
    /// The answer, fetched anew if it is older than a second.
    ///
    /// # Errors
    /// Those of `fetch`; they are not kept.
    pub(super) async fn get<E>(&self, fetch: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut held = self.0.lock().await;
        if let Some((at, answer)) = &*held
            && at.elapsed() < FRESH
        {
            return Ok(answer.clone());
        }
        let answer = fetch.await?;
        *held = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }

    /// Something has changed here: the next who asks gets it.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_ask_and_one_is_answered() {
        let (cached, asked) = (Cached::default(), AtomicUsize::new(0));
        let fetch = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, ()>(asked.fetch_add(1, Ordering::Relaxed))
        };
        let answers = futures_util::future::join_all((0..50).map(|_| cached.get(fetch()))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(0)));
        cached.forget().await;
        assert_eq!(cached.get(fetch()).await, Ok(1));
        // What went wrong is tried again.
        cached.forget().await;
        assert_eq!(cached.get(async { Err(()) }).await, Err(()));
        assert_eq!(cached.get(fetch()).await, Ok(2));
    }
}
