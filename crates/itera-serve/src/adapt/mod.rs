//! New versions of the weights: made by the one server that holds the lease, followed by all.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the task that follows |
//! | `learn` | the lease, adaptations (feature `adapt`) |
//! | `learn/examples` | records of feedback as examples |
//! | `learn/texts` | the guarded and the replayed text, and probes |
//! | `without` | in place of `learn` in a build without the feature |
//!
//! A version is served when the transaction that made it active is on the disk. Whatever ends the
//! server before that leaves the old one.

#[cfg_attr(not(feature = "adapt"), path = "without.rs")]
pub(crate) mod learn;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use itera_core::checkpoint::Checkpoint;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use self::learn::{Learner, Turns};
#[cfg(any(test, feature = "adapt"))]
use crate::store::EntryStatus;
use crate::{
    args::{AdaptArgs, Role},
    listen::is_told,
    models::Served,
    store::{Store, StoreError, limited, random_id},
    weights::Weights,
};

/// How long a server that has died keeps others from learning, in milliseconds.
pub(crate) const LEASE_MS: i64 = 10_000;

/// Pause before a version that cannot be run is tried again.
const PAUSE: Duration = Duration::from_secs(30);

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
    poll: Duration,
    store: Option<Store>,
    /// The model that learns.
    model: Arc<Served>,
    /// None if this server makes no versions.
    pub(crate) learner: Option<Learner>,
    wake: Notify,
    progress: Mutex<Option<Progress>>,
    /// Told when something may have changed.
    changed: watch::Sender<()>,
    /// Whether the active version could not be served the last time that was tried, and when that was.
    unservable: Mutex<Option<(String, Instant)>>,
    is_behind: AtomicBool,
    tally: Mutex<Tally>,
}

/// Bits per byte of the guarded text, as the last adaptation of this server measured them.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(test, feature = "adapt")), allow(dead_code))]
pub(crate) struct Guarded {
    /// By the weights that it left.
    pub(crate) served: f64,
    /// By those of the start.
    pub(crate) base: f64,
}

/// What has become of the adaptations of this server.
#[derive(Debug, Default)]
struct Tally {
    /// How many ended with each status.
    outcomes: BTreeMap<&'static str, u64>,
    guard: Option<Guarded>,
}

impl Adapter {
    pub(crate) fn new(
        args: &AdaptArgs,
        store: Option<Store>,
        model: Arc<Served>,
        learner: Option<Learner>,
    ) -> Arc<Self> {
        Arc::new(Self {
            server: random_id(),
            role: args.role,
            adapt_after: args.adapt_after,
            poll: Duration::from_millis(args.poll_ms),
            store,
            model,
            learner,
            wake: Notify::new(),
            progress: Mutex::default(),
            changed: watch::channel(()).0,
            unservable: Mutex::default(),
            is_behind: AtomicBool::new(false),
            tally: Mutex::default(),
        })
    }

    /// Whether this server may make versions.
    pub(crate) const fn learns(&self) -> bool {
        self.learner.is_some()
    }

    /// Whether the active version could not be served, so that another one is.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }

    /// How many adaptations of this server ended with each status.
    pub(crate) fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        self.tally().outcomes.clone()
    }

    /// The guarded text, as of the last adaptation of this server.
    pub(crate) fn guard(&self) -> Option<Guarded> {
        self.tally().guard
    }

    /// An adaptation of this server has ended, and has measured the guarded text if it came so far.
    #[cfg(any(test, feature = "adapt"))]
    pub(crate) fn note_end(&self, status: EntryStatus, guard: Option<Guarded>) {
        let mut tally = self.tally();
        *tally.outcomes.entry(status.name()).or_default() += 1;
        tally.guard = guard.or(tally.guard);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Told when an adaptation may have begun or ended here.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Serves the active version, if it is another one.
    ///
    /// # Errors
    /// The database's, or a version that cannot be run; the old one is then served on.
    pub(crate) async fn follow(&self) -> anyhow::Result<()> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let active = limited(store.active()).await;
        store.was_read(active.is_ok());
        let active = active?;
        if *self.model.weights().version == *active {
            self.is_behind.store(false, Ordering::Relaxed);
            return Ok(());
        }
        if self.has_failed_lately(&active) {
            return Ok(());
        }
        let loaded = self.load(store, &active).await.and_then(|weights| {
            weights.with_context(|| format!("the active version {active} is not in the database"))
        });
        let weights = loaded.inspect_err(|error| {
            if !error.is::<StoreError>() {
                self.is_behind.store(true, Ordering::Relaxed);
                let mut failed = self
                    .unservable
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *failed = Some((active.clone(), Instant::now()));
            }
        })?;
        self.model.swap(weights);
        self.is_behind.store(false, Ordering::Relaxed);
        tracing::info!(version = active, "serves another version of the weights");
        Ok(())
    }

    fn has_failed_lately(&self, version: &str) -> bool {
        let failed = self
            .unservable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lately = |(known, at): &(String, Instant)| known == version && at.elapsed() < PAUSE;
        failed.as_ref().is_some_and(lately)
    }

    /// A version ready to be served; none if there is no such version.
    ///
    /// # Errors
    /// The database's, or a version that cannot be run.
    pub(crate) async fn load(
        &self,
        store: &Store,
        version: &str,
    ) -> anyhow::Result<Option<Arc<Weights>>> {
        let base = &self.model.base;
        if *base.weights.version == *version {
            return Ok(Some(Arc::clone(&base.weights)));
        }
        let Some(stored) = limited(store.version(version)).await? else {
            return Ok(None);
        };
        let model = Arc::clone(&self.model);
        let weights = tokio::task::spawn_blocking(move || {
            let bytes = stored.checkpoint.context("it has no weights")?;
            let floats = Checkpoint::from_bytes(&bytes)?;
            let quantized = stored.quantized.as_deref().map(Checkpoint::from_bytes);
            model.base.adapted(floats, quantized.transpose()?.as_ref())
        });
        let weights = weights.await?;
        let weights = weights.with_context(|| format!("cannot serve the version {version}"))?;
        Ok(Some(weights))
    }

    /// Follows, and learns if this server may, until it is told to stop.
    pub(crate) fn start(self: &Arc<Self>, mut ending: watch::Receiver<bool>) -> JoinHandle<()> {
        let adapter = Arc::clone(self);
        tokio::spawn(async move {
            if adapter.role == Role::Off || adapter.store.is_none() {
                return is_told(&mut ending).await;
            }
            let mut turns = Turns::default();
            loop {
                if let Err(error) = adapter.turn(&mut turns).await {
                    tracing::warn!(error = format!("{error:#}"), "cannot look for versions");
                }
                adapter.changed.send_replace(());
                tokio::select! {
                    () = is_told(&mut ending) => break,
                    () = adapter.wake.notified() => {}
                    () = tokio::time::sleep(adapter.poll) => {}
                }
            }
            learn::end(&adapter, turns).await;
        })
    }

    async fn turn(self: &Arc<Self>, turns: &mut Turns) -> anyhow::Result<()> {
        self.follow().await?;
        learn::turn(self, turns).await
    }
}
