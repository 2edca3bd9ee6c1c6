//! What an experiment that runs does to requests and verdicts, and what `/metrics` tells of it.

use std::sync::Arc;

use super::{
    App,
    online::{self, nats, seat},
};
use crate::{
    client::Client,
    experiments::{Asked, Assigned, Running, filled},
    metrics::{Wanted, prometheus::Text},
    problem::Problem,
    store::{Rated, Sampling, ScoredText, Store, limited},
    weights::Variant,
};

/// What a request is answered with.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) variant: Arc<Variant>,
    pub(super) sampling: Sampling,
    /// The arm that says so, if the request takes part in an experiment.
    pub(super) arm: Option<Assigned>,
}

impl App {
    /// Weights and sampling of a request: those that it names, or those of its arm.
    ///
    /// # Errors
    /// It names a model that there is not.
    pub(super) fn choose(
        &self,
        client: &Client,
        model: Option<&str>,
        user: Option<&str>,
        sampling: Sampling,
    ) -> Result<Chosen, Problem> {
        let variant = self.variant(model)?;
        let asked = Asked {
            model,
            user,
            key: client.key.as_ref().map(|key| &*key.name),
            sampling,
        };
        let running = self.experiments.running();
        let arm = running.and_then(|running| running.assign(asked, &variant));
        Ok(match arm {
            None => Chosen {
                variant,
                sampling,
                arm: None,
            },
            Some(assigned) => Chosen {
                variant: Arc::clone(assigned.arm().variant(variant.precision)),
                sampling: filled(sampling, assigned.arm().sampling),
                arm: Some(assigned),
            },
        })
    }
}

/// Counts a verdict, if it is the first, for the arm that wrote the answer, and lets every arm score the text that is
/// wanted, if one is. The client does not wait for that.
pub(super) fn observe(app: &Arc<App>, id: String, first: Option<bool>, wanted: Option<Wanted>) {
    let Some(running) = app.experiments.running() else {
        return;
    };
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let Some(store) = &app.store else { return };
        let rated = match limited(store.rated(&id)).await {
            Ok(Some(rated)) => rated,
            // One that is forgotten meanwhile is not counted.
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "a verdict is not counted for its arm"),
        };
        let of = rated.answer.arm.as_ref();
        let of = of.filter(|of| of.experiment == *running.id);
        if let (Some(of), Some(is_negative)) = (of, first)
            && let Some(arm) = running.arms.iter().find(|arm| *arm.name == of.arm)
        {
            arm.tally.count_verdict(is_negative);
        }
        // Another text may have taken its place, and has a turn of its own.
        if let Some(kind) = wanted.filter(|kind| online::wanted(&rated.feedback) == Some(*kind))
            && let Err(error) = score(&app, store, &running, kind, rated).await
        {
            tracing::warn!(
                error = format!("{error:#}"),
                "a text is not scored by the arms"
            );
        }
    });
}

async fn score(
    app: &App,
    store: &Store,
    running: &Arc<Running>,
    kind: Wanted,
    rated: Rated,
) -> anyhow::Result<()> {
    let seat = seat(app).await?;
    let Rated {
        feedback, answer, ..
    } = rated;
    let text = feedback.correction.unwrap_or(answer.output);
    let bytes = text.len();
    let (arms, default) = (Arc::clone(running), app.models.first().base.default);
    let scored = tokio::task::spawn_blocking(move || {
        let each = arms.arms.iter().map(|arm| {
            let nats = nats(arm.variant(default), &answer.prompt, &text)?;
            Some((arm.name.to_string(), nats))
        });
        each.collect::<Option<Vec<_>>>()
    });
    let scored = scored.await?;
    drop(seat);
    // A text that one of them cannot read is left out for all.
    let Some(nats) = scored.filter(|_| bytes > 0) else {
        return Ok(());
    };
    for (arm, (_, nats)) in running.arms.iter().zip(&nats) {
        arm.tally.count_scored(kind, bytes, *nats);
    }
    let text = ScoredText {
        unit: answer.arm.map_or_else(|| answer.id.clone(), |of| of.unit),
        answer: answer.id,
        kind: kind.name(),
        bytes,
        nats,
    };
    limited(store.add_scores(&running.id, &text)).await?;
    Ok(())
}

/// The counts of the experiment that runs, or has run last.
pub(super) fn metrics(app: &App, text: &mut Text) {
    let Some(running) = app.experiments.last() else {
        return;
    };
    let arms = || {
        running
            .arms
            .iter()
            .map(|arm| (arm, labels(&running, &arm.name)))
    };
    let name = "itera_arm_failures_total";
    text.head(
        name,
        "counter",
        "Answers of an arm that failed or were given up.",
    );
    for (arm, labels) in arms() {
        text.value(name, &labels, arm.tally.failures() as f64);
    }
    let name = "itera_arm_feedback_total";
    text.head(name, "counter", "First verdicts on answers of an arm.");
    for (arm, [experiment, of]) in arms() {
        for (negative, is_negative) in [("false", false), ("true", true)] {
            let labels = [experiment, of, ("negative", negative)];
            text.value(name, &labels, arm.tally.verdicts(is_negative) as f64);
        }
    }
    let [bytes, nats] = [
        "itera_arm_online_bytes_total",
        "itera_arm_online_nats_total",
    ];
    text.head(
        bytes,
        "counter",
        "Bytes of texts that people want, scored by an arm.",
    );
    for (arm, [experiment, of]) in arms() {
        for kind in Wanted::ALL {
            let labels = [experiment, of, ("kind", kind.name())];
            text.value(bytes, &labels, arm.tally.scored(kind).bytes);
        }
    }
    text.head(
        nats,
        "counter",
        "Negative log-likelihood of these texts by an arm.",
    );
    for (arm, [experiment, of]) in arms() {
        for kind in Wanted::ALL {
            let labels = [experiment, of, ("kind", kind.name())];
            text.value(nats, &labels, arm.tally.scored(kind).nats);
        }
    }
    let name = "itera_arm_seconds";
    text.head(name, "histogram", "Duration of answers of an arm.");
    for (arm, labels) in arms() {
        text.histogram_of(name, &labels, &arm.tally.latency);
    }
}

fn labels<'a>(running: &'a Running, arm: &'a str) -> [(&'static str, &'a str); 2] {
    [("experiment", &running.id), ("arm", arm)]
}
