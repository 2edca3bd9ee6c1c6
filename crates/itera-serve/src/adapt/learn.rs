//! One adaptation: records of feedback become examples, a thread learns from them, and the result is
//! stored and served. The lease is held while there is something to learn, so that an idle server writes nothing.

mod examples;
pub(crate) mod texts;

use std::{
    ops::ControlFlow,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use itera_core::checkpoint::{Checkpoint, Precision};
use itera_learn::adapt::{
    self as learning, AdaptConfig, Adaptation, Material, Probe, recent_accuracy_rate,
};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};

use self::{examples::examples, texts::Texts};
use super::{Adapter, Guarded, LEASE_MS, Progress};
use crate::{
    args::AdaptArgs,
    probes,
    store::{Entry, EntryStatus, FinishError, Rated, Store, StoredVersion, limited},
    weights::{Base, Weights},
};

/// A lease is renewed at half of its life.
const RENEW: Duration = Duration::from_millis(LEASE_MS as u64 / 2);

/// Longest that the database may take for one turn.
const TURN: Duration = Duration::from_secs(20);

/// What every adaptation of this server shares.
#[derive(Debug)]
pub(crate) struct Learner {
    config: AdaptConfig,
    texts: Arc<Texts>,
    /// Most records of one adaptation.
    most_records: u32,
    /// Whether an operator decides what is served.
    asks_first: bool,
    keep_versions: u32,
    /// Whether what is learnt gets a part of the traffic before it gets all.
    canary: bool,
    stopped: Arc<AtomicBool>,
}

/// What the task remembers from one turn to the next.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When the lease was taken or renewed, while this server has it.
    lease: Option<Instant>,
    running: Option<JoinHandle<()>>,
    /// Whether the journal may have running adaptations that no server works on: the lease is new, one has
    /// ended here and may have failed to say so, or its beginning failed.
    may_be_orphans: bool,
}

impl Learner {
    /// The settings, checked, and the texts, read.
    ///
    /// # Errors
    /// What is wrong with an argument, or with a text.
    pub(crate) fn load(args: &AdaptArgs, base: &Base) -> anyhow::Result<Option<Self>> {
        let config = settings(args.adapt_settings.as_deref(), base.default)?;
        let checkpoint = &base.weights.checkpoint;
        let (guard, replay) = (args.guard.as_deref(), args.replay.as_deref());
        let probes = match &args.adapt_probes {
            Some(file) => probes::read(checkpoint, file)?,
            None => Vec::new(),
        };
        let probes = probes.into_iter();
        let probes = probes
            .map(|[prompt, text]| Probe { prompt, text })
            .collect();
        let texts = Texts::load(checkpoint, guard, replay, probes)?;
        ensure!(
            args.adapt_records > 0,
            "`--adapt-records` is 0, expected at least 1"
        );
        Ok(Some(Self {
            config,
            texts: Arc::new(texts),
            most_records: args.adapt_records,
            asks_first: args.adapt_approve,
            keep_versions: args.keep_versions,
            canary: args.canary,
            stopped: Arc::default(),
        }))
    }

    /// The settings as JSON, and the learning rate that the first adaptation has.
    pub(crate) fn settings(&self) -> (Value, f64) {
        let settings = serde_json::to_value(&self.config).unwrap_or_default();
        (settings, self.config.learning_rate)
    }

    /// What is guarded and replayed.
    pub(crate) fn texts(&self) -> &str {
        &self.texts.description
    }
}

/// Takes or keeps the lease while there is something to learn, and begins an adaptation if none runs.
pub(super) async fn turn(adapter: &Arc<Adapter>, turns: &mut Turns) -> anyhow::Result<()> {
    let (Some(store), Some(_)) = (&adapter.store, &adapter.learner) else {
        return Ok(());
    };
    let turn = tokio::time::timeout(TURN, take_turn(adapter, store, turns));
    turn.await.context("the database does not answer")?
}

async fn take_turn(adapter: &Arc<Adapter>, store: &Store, turns: &mut Turns) -> anyhow::Result<()> {
    if turns.running.is_none() && !store.has_work(adapter.adapt_after).await? {
        if turns.lease.take().is_some() {
            store.release(&adapter.server).await?;
        }
        return Ok(());
    }
    if turns.lease.is_none_or(|at| at.elapsed() > RENEW) {
        let holds = store.lease(&adapter.server, LEASE_MS).await?;
        turns.may_be_orphans |= holds && turns.lease.is_none();
        turns.lease = holds.then(Instant::now);
    }
    if turns.lease.is_some() {
        learn(adapter, store, turns).await?;
    }
    Ok(())
}

/// Begins an adaptation if there is reason to and none runs.
async fn learn(adapter: &Arc<Adapter>, store: &Store, turns: &mut Turns) -> anyhow::Result<()> {
    let running = turns.running.as_ref();
    if running.is_some_and(|task| !task.is_finished()) {
        return Ok(());
    }
    // One that has ended may have failed to say so, while the database was away.
    turns.may_be_orphans |= turns.running.take().is_some();
    if turns.may_be_orphans {
        let interrupted = store.interrupted(EntryStatus::Interrupted).await?;
        if interrupted > 0 {
            tracing::warn!(interrupted, "an adaptation did not come to its end");
        }
    }
    // If this fails the entry may be there, and nobody works on it.
    turns.may_be_orphans = true;
    let claimed = store.claim(&adapter.server, adapter.adapt_after).await?;
    turns.may_be_orphans = false;
    let Some(entry) = claimed else {
        return Ok(());
    };
    let adapter = Arc::clone(adapter);
    turns.running = Some(tokio::spawn(async move {
        if let Err(error) = adapt(&adapter, &entry).await {
            tracing::error!(error = format!("{error:#}"), "an adaptation was lost");
        }
        set_progress(&adapter, None);
        adapter.wake();
    }));
    Ok(())
}

/// Stops what runs and lets another server learn.
pub(super) async fn end(adapter: &Arc<Adapter>, turns: Turns) {
    let (Some(store), Some(learner)) = (&adapter.store, &adapter.learner) else {
        return;
    };
    if let Some(running) = turns.running {
        learner.stopped.store(true, Ordering::Relaxed);
        let _ = running.await;
    }
    if turns.lease.is_some()
        && let Err(error) = limited(store.release(&adapter.server)).await
    {
        tracing::warn!(%error, "cannot give up the lease; it ends by itself");
    }
}

fn set_progress(adapter: &Adapter, progress: Option<Progress>) {
    let slot = adapter.progress.lock();
    *slot.unwrap_or_else(PoisonError::into_inner) = progress;
}

/// Settings from JSON of those that differ from the defaults, for weights served at `precision`.
///
/// # Errors
/// Unknown names, wrong types, values out of range.
pub(crate) fn settings(json: Option<&str>, precision: Precision) -> anyhow::Result<AdaptConfig> {
    let mut config: AdaptConfig = match json {
        Some(json) => serde_json::from_str(json)
            .context("`--adapt-settings` is not a JSON object of settings")?,
        None => AdaptConfig::default(),
    };
    config.quantize = precision.max_integer().map(|_| precision);
    config.validate().context("in `--adapt-settings`")?;
    Ok(config)
}

/// Learns for an entry of the journal, and ends the entry whatever comes of it, unless the database is away:
/// then the entry counts as interrupted when that is back.
async fn adapt(adapter: &Arc<Adapter>, entry: &Entry) -> anyhow::Result<()> {
    let (Some(store), Some(learner)) = (&adapter.store, &adapter.learner) else {
        return Ok(());
    };
    tracing::info!(adaptation = entry.id, trigger = entry.trigger, "learns");
    let Err(error) = attempt(adapter, store, learner, entry).await else {
        return Ok(());
    };
    let is_paused = matches!(error.downcast_ref(), Some(FinishError::Paused));
    if is_paused || learner.stopped.load(Ordering::Relaxed) {
        tracing::info!(error = format!("{error:#}"), "stopped learning");
        // Without the lease, what runs is another server's.
        if limited(store.lease(&adapter.server, LEASE_MS)).await? {
            limited(store.interrupted(EntryStatus::Withdrawn)).await?;
        }
        return Ok(());
    }
    let message = format!("{error:#}");
    tracing::error!(adaptation = entry.id, error = message, "could not learn");
    let (server, failed) = (&adapter.server, EntryStatus::Failed);
    let ended = store.finish(entry, server, failed, &message, None, None, None);
    tokio::time::timeout(TURN, ended).await??;
    adapter.note_end(failed, None);
    Ok(())
}

/// What a thread has learnt: a receipt, and if it is accepted weights to store and to serve.
struct Learnt {
    adaptation: Adaptation,
    version: Option<(StoredVersion, Arc<Weights>)>,
}

async fn attempt(
    adapter: &Arc<Adapter>,
    store: &Store,
    learner: &Learner,
    entry: &Entry,
) -> anyhow::Result<()> {
    // Another server may have rolled back since the last look.
    adapter.follow().await?;
    let current = adapter.model.weights();
    if entry.from_version.as_deref() != Some(&*current.version) {
        return Err(FinishError::Superseded.into());
    }
    let records = limited(store.latest(learner.most_records)).await?;
    let accuracy = limited(store.counts()).await?.recent_accuracy;
    let mut config = learner.config.clone();
    let start = config.learning_rate;
    let so_far = limited(store.learning_rate(start)).await?.unwrap_or(start);
    config.learning_rate = recent_accuracy_rate(&config, accuracy.unwrap_or(f64::NAN), so_far);
    let rate = config.learning_rate;

    let learnt = in_thread(adapter, &current, records, config).await?;
    let receipt = serde_json::to_string(&learnt.adaptation.receipt)?;
    let reason = &learnt.adaptation.receipt.reason;
    let status = match &learnt.version {
        Some(_) if learner.asks_first => EntryStatus::Candidate,
        Some(_) if learner.canary => EntryStatus::Canary,
        Some(_) => EntryStatus::Accepted,
        None => EntryStatus::Rejected,
    };
    let measured = &learnt.adaptation.receipt;
    let guard = Guarded {
        served: match status {
            EntryStatus::Accepted => measured.guard_bits_per_byte_after,
            _ => measured.guard_bits_per_byte_before,
        },
        base: measured.guard_bits_per_byte_base,
    };
    let version = learnt.version.as_ref().map(|(version, _)| version);
    let (server, rate) = (&adapter.server, Some((rate, start)));
    let ended = store.finish(entry, server, status, reason, Some(&receipt), version, rate);
    tokio::time::timeout(TURN, ended).await??;
    adapter.note_end(status, Some(guard));
    tracing::info!(
        adaptation = entry.id,
        status = status.name(),
        reason,
        "has learnt"
    );
    if let Some((_, weights)) = learnt.version {
        if status == EntryStatus::Accepted {
            adapter.model.swap(weights);
        }
        // The adaptation is accepted whatever becomes of this.
        if let Err(error) = limited(store.prune_versions(learner.keep_versions)).await {
            tracing::warn!(%error, "cannot forget old versions");
        }
    }
    Ok(())
}

/// Runs the learning on a thread of its own, which gives way to those that answer requests.
async fn in_thread(
    adapter: &Arc<Adapter>,
    current: &Arc<Weights>,
    records: Vec<Rated>,
    config: AdaptConfig,
) -> anyhow::Result<Learnt> {
    let (adapter, current) = (Arc::clone(adapter), Arc::clone(current));
    let (reply, outcome) = oneshot::channel();
    thread::Builder::new()
        .name("learn".to_owned())
        .spawn(move || {
            give_way();
            let _ = reply.send(learn_from(&adapter, &current, &records, &config));
        })
        .context("cannot start the thread that learns")?;
    outcome.await.context("the thread that learns has failed")?
}

fn learn_from(
    adapter: &Adapter,
    current: &Weights,
    records: &[Rated],
    config: &AdaptConfig,
) -> anyhow::Result<Learnt> {
    let learner = adapter
        .learner
        .as_ref()
        .context("this server does not learn")?;
    let examples = examples(records, &current.checkpoint.tokenizer)?;
    let material = Material {
        examples: &examples,
        replay: &learner.texts.replay,
        guard: &learner.texts.guard,
        probes: &learner.texts.probes,
    };
    let mut losses = Vec::new();
    let mut progress = |step: learning::Step| {
        losses.push(step.loss);
        set_progress(
            adapter,
            Some(Progress {
                steps: step.steps,
                losses: losses.clone(),
            }),
        );
        if learner.stopped.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let base = &adapter.model.base;
    let (first, current_checkpoint) = (&base.weights.checkpoint, &current.checkpoint);
    let adaptation = learning::adapt(first, current_checkpoint, material, config, &mut progress)?;
    // Nothing is stored that could not be served.
    let version = if adaptation.receipt.accepted {
        let stored = version(&adaptation, &current.version)?;
        let quantized = adaptation.quantized.as_ref();
        Some((
            stored,
            base.adapted(adaptation.checkpoint.clone(), quantized)?,
        ))
    } else {
        None
    };
    Ok(Learnt {
        adaptation,
        version,
    })
}

/// Lets other threads go first. Where the system does not permit it, learning is merely less polite.
fn give_way() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(19);
}

/// What is stored of a candidate.
fn version(adaptation: &Adaptation, parent: &str) -> anyhow::Result<StoredVersion> {
    let quantized = adaptation.quantized.as_ref().map(Checkpoint::to_bytes);
    Ok(StoredVersion {
        version: adaptation.receipt.weights_version_after.clone(),
        parent: Some(parent.to_owned()),
        checkpoint: Some(adaptation.checkpoint.to_bytes()?),
        quantized: quantized.transpose()?,
    })
}
