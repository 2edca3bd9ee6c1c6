//! New versions of the weights: made by the one server that holds the lease, followed by all.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the task that follows, holds the lease, begins and ends adaptations |
//! | `texts` | the guarded and the replayed text |
//! | `learn` | records of feedback to examples, and the thread that learns (feature `adapt`) |
//!
//! A version is served when the transaction that made it active is on the disk. Whatever ends the
//! server before that leaves the old one.

#[cfg(feature = "adapt")]
pub(crate) mod learn;
#[cfg(feature = "adapt")]
pub(crate) mod texts;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use itera_core::checkpoint::Checkpoint;
use tokio::{sync::Notify, task::JoinHandle};

#[cfg(feature = "adapt")]
use self::learn::Learner;
use crate::{
    args::Role,
    engine::Engine,
    store::{Store, random_id},
    weights::{Base, Weights},
};

/// How long a server that has died keeps others from learning, in milliseconds.
pub(crate) const LEASE_MS: i64 = 10_000;

/// What the running adaptation has come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    pub(crate) steps: usize,
    /// Loss of each step so far, in nats.
    pub(crate) losses: Vec<f32>,
}

/// The part of the server that brings new versions.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) server: String,
    pub(crate) role: Role,
    pub(crate) adapt_after: u32,
    #[cfg(feature = "adapt")]
    pub(crate) keep_versions: u32,
    pub(crate) poll: Duration,
    pub(crate) store: Store,
    pub(crate) engine: Arc<Engine>,
    pub(crate) base: Arc<Base>,
    /// None in a build that does not learn.
    #[cfg(feature = "adapt")]
    pub(crate) learner: Learner,
    wake: Notify,
    progress: Arc<Mutex<Option<Progress>>>,
}

/// What an [`Adapter`] is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) role: Role,
    pub(crate) adapt_after: u32,
    #[cfg(feature = "adapt")]
    pub(crate) keep_versions: u32,
    pub(crate) poll: Duration,
    pub(crate) store: Store,
    pub(crate) engine: Arc<Engine>,
    pub(crate) base: Arc<Base>,
    #[cfg(feature = "adapt")]
    pub(crate) learner: Learner,
}

impl Adapter {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            server: random_id(),
            role: parts.role,
            adapt_after: parts.adapt_after,
            #[cfg(feature = "adapt")]
            keep_versions: parts.keep_versions,
            poll: parts.poll,
            store: parts.store,
            engine: parts.engine,
            base: parts.base,
            #[cfg(feature = "adapt")]
            learner: parts.learner,
            wake: Notify::new(),
            progress: Arc::default(),
        })
    }

    /// Whether this server may make versions.
    pub(crate) fn learns(&self) -> bool {
        self.role.learns()
    }

    /// Looks at the database now and not at the next turn.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// What the running adaptation has come to; none while none runs.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let progress = self.progress.lock();
        progress.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves the active version, if it is another one.
    ///
    /// # Errors
    /// The database's, or a version that cannot be run; the old one is then served on.
    pub(crate) async fn follow(&self) -> anyhow::Result<()> {
        let active = self.store.active().await?;
        if *self.engine.weights().version == *active {
            return Ok(());
        }
        let weights = self.load(&active).await?;
        let Some(weights) = weights else {
            anyhow::bail!("the active version {active} is not in the database");
        };
        self.engine.swap(weights);
        tracing::info!(version = active, "serves another version of the weights");
        Ok(())
    }

    /// A version ready to be served; none if there is no such version.
    ///
    /// # Errors
    /// The database's, or a version that cannot be run.
    pub(crate) async fn load(&self, version: &str) -> anyhow::Result<Option<Arc<Weights>>> {
        if *self.base.weights.version == *version {
            return Ok(Some(Arc::clone(&self.base.weights)));
        }
        let Some(stored) = self.store.version(version).await? else {
            return Ok(None);
        };
        let base = Arc::clone(&self.base);
        let weights = tokio::task::spawn_blocking(move || {
            let bytes = stored.checkpoint.context("it has no weights")?;
            let floats = Checkpoint::from_bytes(&bytes)?;
            let quantized = stored.quantized.as_deref().map(Checkpoint::from_bytes);
            base.adapted(floats, quantized.transpose()?.as_ref())
        });
        let weights = weights.await?;
        let weights = weights.with_context(|| format!("cannot serve the version {version}"))?;
        Ok(Some(weights))
    }

    /// Follows, and learns if this server may, until it is told to stop.
    pub(crate) fn start(self: &Arc<Self>, stop: Arc<Notify>) -> JoinHandle<()> {
        let adapter = Arc::clone(self);
        tokio::spawn(async move {
            if adapter.role == Role::Off {
                return stop.notified().await;
            }
            let mut turns = Turns::default();
            let stopped = stop.notified();
            tokio::pin!(stopped);
            loop {
                if let Err(error) = adapter.turn(&mut turns).await {
                    tracing::warn!(error = format!("{error:#}"), "cannot look for versions");
                }
                tokio::select! {
                    () = &mut stopped => break,
                    () = adapter.wake.notified() => {}
                    () = tokio::time::sleep(adapter.poll) => {}
                }
            }
            adapter.end(turns).await;
        })
    }

    async fn turn(self: &Arc<Self>, turns: &mut Turns) -> anyhow::Result<()> {
        self.follow().await?;
        if !self.learns() {
            return Ok(());
        }
        let holds = self.store.lease(&self.server, LEASE_MS).await?;
        if holds && !turns.holds {
            tracing::info!("this server learns from now on");
        }
        #[cfg(feature = "adapt")]
        {
            turns.may_be_orphans |= holds && !turns.holds;
        }
        turns.holds = holds;
        #[cfg(feature = "adapt")]
        if holds {
            self.learn(turns).await?;
        }
        Ok(())
    }

    /// Begins an adaptation if there is reason to and none runs.
    #[cfg(feature = "adapt")]
    async fn learn(self: &Arc<Self>, turns: &mut Turns) -> anyhow::Result<()> {
        if turns
            .running
            .as_ref()
            .is_some_and(|task| !task.is_finished())
        {
            return Ok(());
        }
        // One that has ended may have failed to say so, while the database was away.
        turns.may_be_orphans |= turns.running.take().is_some();
        if turns.may_be_orphans {
            let interrupted = self.store.interrupted().await?;
            if interrupted > 0 {
                tracing::warn!(interrupted, "an adaptation did not come to its end");
            }
        }
        // If this fails the entry may be there, and nobody works on it.
        turns.may_be_orphans = true;
        let claimed = self.store.claim(&self.server, self.adapt_after).await?;
        turns.may_be_orphans = false;
        let Some(entry) = claimed else {
            return Ok(());
        };
        let adapter = Arc::clone(self);
        turns.running = Some(tokio::spawn(async move {
            if let Err(error) = learn::adapt(&adapter, &entry).await {
                tracing::error!(error = format!("{error:#}"), "an adaptation was lost");
            }
            adapter.set_progress(None);
            adapter.wake();
        }));
        Ok(())
    }

    #[cfg(feature = "adapt")]
    fn set_progress(&self, progress: Option<Progress>) {
        let mut slot = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = progress;
    }

    /// Stops what runs and lets another server learn.
    async fn end(&self, turns: Turns) {
        #[cfg(feature = "adapt")]
        if let Some(running) = turns.running {
            self.learner.stop();
            let _ = running.await;
        }
        if turns.holds
            && let Err(error) = self.store.release(&self.server).await
        {
            tracing::warn!(%error, "cannot give up the lease; it ends by itself");
        }
    }
}

/// What the task remembers from one turn to the next.
#[derive(Debug, Default)]
struct Turns {
    holds: bool,
    #[cfg(feature = "adapt")]
    running: Option<JoinHandle<()>>,
    /// Whether the journal may have running adaptations that no server works on: the lease is new, one has
    /// ended here and may have failed to say so, or its beginning failed.
    #[cfg(feature = "adapt")]
    may_be_orphans: bool,
}
