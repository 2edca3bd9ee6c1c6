//! Experiments: requests divided among arms (model, version, precision, sampling), and what has come of each arm.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the task that follows the experiment that runs |
//! | `running` | that experiment, as this server serves it |
//! | `assign` | who gets which arm |
//! | `tally` | what this server has counted of an arm |
//! | `stats` | intervals, and the check of the division |
//! | `canary` | whether what has been learnt gets more of the traffic |
//! | `report` | what all servers have seen of an experiment, and how its arms compare |
//!
//! At most one experiment runs, and nothing is learnt while it does: its arms stay what they are.

mod assign;
mod canary;
mod report;
mod running;
mod stats;
mod tally;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwapOption;
use tokio::{sync::watch, task::JoinHandle};

use self::canary::{Decision, Evidence};
pub(crate) use self::{
    report::{ArmReport, Compared, Comparison, Report},
    running::{Asked, Assigned, Running, filled},
    stats::{Interval, Sums},
};
use crate::{
    adapt::Adapter,
    args::Role,
    listen::is_told,
    models::Models,
    store::{Experiment, Store, limited},
    weights::Weights,
};

/// Pause before an experiment whose arms cannot be served is tried again.
const PAUSE: Duration = Duration::from_secs(30);

/// How often a canary is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The experiment that runs, followed in the database.
#[derive(Debug)]
pub(crate) struct Experiments {
    store: Option<Store>,
    models: Arc<Models>,
    adapter: Arc<Adapter>,
    poll: Duration,
    /// The last one that ran here, whose counts are told until another begins.
    last: ArcSwapOption<Running>,
    /// One that could not be served, and when that was tried.
    unservable: Mutex<Option<(String, Instant)>>,
    /// Held by whoever follows: an operator's request does, too.
    following: tokio::sync::Mutex<()>,
}

impl Experiments {
    pub(crate) fn new(
        store: Option<Store>,
        models: Arc<Models>,
        adapter: Arc<Adapter>,
        poll_ms: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            models,
            adapter,
            poll: Duration::from_millis(poll_ms),
            last: ArcSwapOption::empty(),
            unservable: Mutex::default(),
            following: tokio::sync::Mutex::default(),
        })
    }

    /// The experiment that runs.
    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        let last = self.last();
        last.filter(|running| !running.has_ended())
    }

    /// The experiment that runs, or has run last.
    pub(crate) fn last(&self) -> Option<Arc<Running>> {
        self.last.load_full()
    }

    /// Serves the experiment that runs by the database, or none.
    ///
    /// # Errors
    /// The database's, or an arm that cannot be served: then this server divides nothing.
    pub(crate) async fn follow(&self) -> anyhow::Result<()> {
        let takes_part = self.adapter.role != Role::Off;
        let Some(store) = self.store.as_ref().filter(|_| takes_part) else {
            return Ok(());
        };
        let _following = self.following.lock().await;
        let found = limited(store.running_experiment()).await?;
        let here = self.running();
        let same = |id: &str| here.as_ref().is_some_and(|here| *here.id == *id);
        match found {
            Some(experiment) if same(&experiment.id) || self.has_failed_lately(&experiment.id) => {}
            Some(experiment) => {
                self.end();
                let id = experiment.id.clone();
                let running = self.load(store, experiment).await;
                let running = running
                    .inspect_err(|_| self.set_failed(&id))
                    .with_context(|| format!("cannot serve the arms of the experiment {id}"))?;
                self.last.store(Some(Arc::new(running)));
                tracing::info!(experiment = id, "divides requests");
            }
            None => self.end(),
        }
        Ok(())
    }

    /// Gives the candidate of a canary more of the traffic, or none, if there is evidence enough. Every server looks,
    /// and the database lets one of them act.
    ///
    /// # Errors
    /// The database's, or a version that cannot be served.
    pub(crate) async fn look(&self) -> anyhow::Result<()> {
        let running = self.running();
        let running = running.filter(|running| running.is_canary());
        let (Some(store), Some(running)) = (&self.store, running) else {
            return Ok(());
        };
        let Some(experiment) = limited(store.experiment(&running.id)).await? else {
            return Ok(());
        };
        let report = limited(Report::read(store, &experiment)).await?;
        let mut evidence = Evidence::of(&report)?;
        evidence.failures = [1, 0].map(|arm| {
            let tally = &running.arms[arm].tally;
            (tally.failures() as f64, tally.latency.count() as f64)
        });
        let (acted, step, reason) = match evidence.decide() {
            Decision::Wait => return Ok(()),
            Decision::Advance(reason) => (
                store.advance(&experiment, &reason).await?,
                "advances",
                reason,
            ),
            Decision::RollBack(reason) => {
                let ended = store.end_experiment(&experiment, &reason).await?;
                (ended, "is rolled back", reason)
            }
        };
        if acted {
            tracing::info!(canary = experiment.id, reason, "{step}");
        }
        self.adapter.follow().await?;
        self.follow().await
    }

    fn end(&self) {
        if let Some(running) = self.running() {
            running.end();
            tracing::info!(experiment = &*running.id, "divides requests no longer");
        }
    }

    fn has_failed_lately(&self, id: &str) -> bool {
        let failed = self
            .unservable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lately = |(known, at): &(String, Instant)| known == id && at.elapsed() < PAUSE;
        failed.as_ref().is_some_and(lately)
    }

    fn set_failed(&self, id: &str) {
        let mut failed = self
            .unservable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *failed = Some((id.to_owned(), Instant::now()));
    }

    async fn load(&self, store: &Store, experiment: Experiment) -> anyhow::Result<Running> {
        let mut weights = Vec::new();
        for arm in &experiment.definition.arms {
            weights.push(self.weights(store, &arm.model, &arm.version).await?);
        }
        Ok(Running::new(experiment, weights))
    }

    /// A version of a model. Only the first has versions in the database.
    async fn weights(
        &self,
        store: &Store,
        model: &str,
        version: &str,
    ) -> anyhow::Result<Arc<Weights>> {
        let served = self.models.all();
        let served = served.iter().find(|served| *served.base.name == *model);
        let served = served.with_context(|| format!("there is no model {model}; load it"))?;
        let weights = served.weights();
        if *weights.version == *version {
            return Ok(weights);
        }
        ensure!(
            *model == *self.models.first().base.name,
            "the model {model} is not the version {version}"
        );
        let loaded = self.adapter.load(store, version).await?;
        loaded.with_context(|| format!("the version {version} is not in the database"))
    }

    /// Follows until it is told to stop.
    pub(crate) fn start(self: &Arc<Self>, mut ending: watch::Receiver<bool>) -> JoinHandle<()> {
        let experiments = Arc::clone(self);
        tokio::spawn(async move {
            if experiments.store.is_none() {
                return is_told(&mut ending).await;
            }
            let mut looked = Instant::now();
            loop {
                let mut turn = experiments.follow().await;
                if turn.is_ok() && looked.elapsed() > LOOK_EVERY {
                    turn = experiments.look().await;
                    looked = Instant::now();
                }
                if let Err(error) = turn {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "cannot follow experiments");
                }
                tokio::select! {
                    () = is_told(&mut ending) => return,
                    () = tokio::time::sleep(experiments.poll) => {}
                }
            }
        })
    }
}
