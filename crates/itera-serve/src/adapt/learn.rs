//! One adaptation: records of feedback become examples, a thread learns from them, and the result is
//! stored and served.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::Context as _;
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    tokenizer::Tokenizer,
};
use itera_learn::adapt::{
    self as learning, AdaptConfig, Adaptation, Example, Material, Verdict, recent_accuracy_rate,
};
use tokio::sync::oneshot;

use super::{Adapter, LEASE_MS, Progress, texts::Texts};
use crate::store::{Entry, EntryStatus, Rated, StoreError, StoredVersion};

/// What every adaptation of this server shares.
#[derive(Debug)]
pub(crate) struct Learner {
    pub(crate) config: AdaptConfig,
    pub(crate) texts: Arc<Texts>,
    /// Most records of one adaptation.
    pub(crate) most_records: u32,
    stopped: Arc<AtomicBool>,
}

impl Learner {
    pub(crate) fn new(config: AdaptConfig, texts: Texts, most_records: u32) -> Self {
        Self {
            config,
            texts: Arc::new(texts),
            most_records,
            stopped: Arc::default(),
        }
    }

    /// Ends the running adaptation after its step.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
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
pub(super) async fn adapt(adapter: &Arc<Adapter>, entry: &Entry) -> anyhow::Result<()> {
    tracing::info!(adaptation = entry.id, trigger = entry.trigger, "learns");
    match attempt(adapter, entry).await {
        Ok(()) => Ok(()),
        Err(error) if adapter.learner.stopped.load(Ordering::Relaxed) => {
            tracing::info!(error = format!("{error:#}"), "stopped learning");
            // Without the lease, what runs is another server's.
            if adapter.store.lease(&adapter.server, LEASE_MS).await? {
                adapter.store.interrupted().await?;
            }
            Ok(())
        }
        Err(error) => {
            let message = format!("{error:#}");
            tracing::error!(adaptation = entry.id, error = message, "could not learn");
            let failed = EntryStatus::Failed;
            let server = &adapter.server;
            let ended = adapter
                .store
                .finish(entry, server, failed, &message, None, None, None);
            Ok(ended.await?)
        }
    }
}

async fn attempt(adapter: &Arc<Adapter>, entry: &Entry) -> anyhow::Result<()> {
    // Another server may have rolled back since the last look.
    adapter.follow().await?;
    let (learner, current) = (&adapter.learner, adapter.engine.weights());
    if entry.from_version.as_deref() != Some(&*current.version) {
        return Err(StoreError::Superseded.into());
    }
    let records = adapter.store.latest(learner.most_records).await?;
    let examples = examples(&records, &current.checkpoint.tokenizer)?;
    let accuracy = adapter.store.counts().await?.recent_accuracy;
    let rate = adapter.store.learning_rate().await?;
    let mut config = learner.config.clone();
    let so_far = rate.unwrap_or(config.learning_rate);
    config.learning_rate = recent_accuracy_rate(&config, accuracy.unwrap_or(f64::NAN), so_far);
    let rate = config.learning_rate;

    let adaptation = in_thread(adapter, &current.checkpoint, examples, config).await?;
    let receipt = serde_json::to_string(&adaptation.receipt)?;
    let reason = adaptation.receipt.reason.clone();
    let (status, version) = if adaptation.receipt.accepted {
        (
            EntryStatus::Accepted,
            Some(version(&adaptation, &current.version)?),
        )
    } else {
        (EntryStatus::Rejected, None)
    };
    // Nothing is stored that could not be served.
    let weights = match &version {
        Some(_) => Some(
            adapter
                .base
                .adapted(adaptation.checkpoint, adaptation.quantized.as_ref())?,
        ),
        None => None,
    };
    adapter
        .store
        .finish(
            entry,
            &adapter.server,
            status,
            &reason,
            Some(&receipt),
            version.as_ref(),
            Some(rate),
        )
        .await?;
    if let Some(weights) = weights {
        adapter.engine.swap(weights);
        adapter.store.prune_versions(adapter.keep_versions).await?;
    }
    tracing::info!(
        adaptation = entry.id,
        status = status.name(),
        reason,
        "has learnt"
    );
    Ok(())
}

/// Runs the learning on a thread of its own, which gives way to those that answer requests.
async fn in_thread(
    adapter: &Arc<Adapter>,
    current: &Arc<Checkpoint>,
    examples: Vec<Example>,
    config: AdaptConfig,
) -> anyhow::Result<Adaptation> {
    let (adapter, current) = (Arc::clone(adapter), Arc::clone(current));
    let (reply, outcome) = oneshot::channel();
    thread::Builder::new()
        .name("learn".to_owned())
        .spawn(move || {
            give_way();
            let base = &adapter.base.weights.checkpoint;
            let texts = &adapter.learner.texts;
            let material = Material {
                examples: &examples,
                replay: &texts.replay,
                guard: &texts.guard,
            };
            let mut losses = Vec::new();
            let mut progress = |step: learning::Step| {
                losses.push(step.loss);
                adapter.set_progress(Some(Progress {
                    steps: step.steps,
                    losses: losses.clone(),
                }));
                if adapter.learner.stopped.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let learnt = learning::adapt(base, &current, material, &config, &mut progress);
            let _ = reply.send(learnt);
        })
        .context("cannot start the thread that learns")?;
    let learnt = outcome.await.context("the thread that learns has failed")?;
    Ok(learnt?)
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

/// What there is to learn from records; those that say nothing (a rating of 3, say) are left out.
///
/// # Errors
/// The tokenizer does not take a text.
pub(crate) fn examples(records: &[Rated], tokenizer: &Tokenizer) -> anyhow::Result<Vec<Example>> {
    let mut examples = Vec::new();
    for record in records {
        let feedback = &record.feedback;
        let (text, ended, verdict) = match &feedback.correction {
            Some(correction) => (correction, false, Verdict::Corrected),
            None if feedback.is_positive() => (
                &record.answer.output,
                record.answer.ended,
                Verdict::Accepted,
            ),
            None if feedback.is_negative() => (
                &record.answer.output,
                record.answer.ended,
                Verdict::Rejected,
            ),
            None => continue,
        };
        let mut output = tokenizer.encode(text.as_bytes())?;
        if ended {
            output.push(tokenizer.end_of_text());
        }
        if output.is_empty() {
            continue;
        }
        examples.push(Example {
            prompt: tokenizer.encode(record.answer.prompt.as_bytes())?,
            output,
            verdict,
            weight: 1.0,
        });
    }
    Ok(examples)
}
