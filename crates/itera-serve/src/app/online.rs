//! How well the model predicts what people accept and what they correct, before it learns from it, and what they
//! prompt it with.

use std::{sync::Arc, time::Duration};

use itera_core::model::bits_per_byte;
use tokio::sync::OwnedSemaphorePermit;

use super::{App, generate::Plan};
use crate::{
    engine::{Prompt, Start},
    metrics::Wanted,
    quality::drift::Seen,
    store::{Feedback, Rated, limited},
    weights::Variant,
};

/// Most bytes and tokens of a prompt that drift is told by.
const LOOKED_AT: usize = 1024;

/// How long a text that people want waits for its turn to be scored.
const PATIENCE: Duration = Duration::from_secs(30);

/// A turn to score, among requests for scores.
///
/// # Errors
/// None has come for long.
pub(super) async fn seat(app: &App) -> anyhow::Result<OwnedSemaphorePermit> {
    let seat = Arc::clone(&app.scoring).acquire_owned();
    Ok(tokio::time::timeout(PATIENCE, seat).await??)
}

/// Scores the text of a verdict by the weights that are served now and by those of the start. The client does not
/// wait for that.
pub(super) fn observe(app: &Arc<App>, id: String, kind: Wanted) {
    let (app, model) = (Arc::clone(app), app.models.first());
    let served = model.at_default();
    let version = Arc::clone(&served.version);
    let base = Arc::clone(model.base.weights.variant(model.base.default));
    tokio::spawn(async move {
        let Some(store) = &app.store else { return };
        let Ok(seat) = seat(&app).await else {
            return tracing::warn!(
                "a text that people want is not scored: requests for scores take too long"
            );
        };
        // One that is forgotten meanwhile, or cannot be read, is not counted.
        let Ok(Some(rated)) = limited(store.rated(&id)).await else {
            return;
        };
        let Rated {
            feedback, answer, ..
        } = rated;
        // Another text has taken its place, and has a turn of its own.
        if wanted(&feedback) != Some(kind) {
            return;
        }
        let text = feedback.correction.unwrap_or(answer.output);
        let score = move || {
            let nats = |variant: &Variant| nats(variant, &answer.prompt, &text);
            Some((text.len(), nats(&served)?, nats(&base)?))
        };
        let scored = tokio::task::spawn_blocking(score).await;
        drop(seat);
        if let Ok(Some((bytes, served, base))) = scored {
            app.metrics.count_online(kind, bytes, served, base);
            let difference = bits_per_byte(served - base, bytes as f64);
            app.quality.note(&version, kind, difference);
        }
    });
}

/// Looks now and then at the prompt of a new text for the first model: how likely it is by the weights of the start,
/// which stay the same.
pub(super) fn watch(app: &App, plan: &Plan, prompt: &Prompt) {
    let model = app.models.first();
    let is_of_first = plan.variant.name == model.base.name;
    if !is_of_first || matches!(plan.start, Start::Session(_)) || !app.quality.looks() {
        return;
    }
    let Ok(seat) = Arc::clone(&app.scoring).try_acquire_owned() else {
        return;
    };
    let base = Arc::clone(model.base.weights.variant(model.base.default));
    let (quality, store) = (Arc::clone(&app.quality), app.store.clone());
    let prompt = beginning(prompt);
    tokio::spawn(async move {
        let scored = tokio::task::spawn_blocking(move || {
            let (tokens, bytes) = prompt.tokens(&base)?;
            (bytes > 0).then(|| bits_per_byte(base.nats(&tokens).iter().sum(), bytes as f64))
        });
        let scored = scored.await;
        drop(seat);
        let Ok(Some(bits_per_byte)) = scored else {
            return;
        };
        match quality.prompt(bits_per_byte) {
            Seen::Nothing => {}
            Seen::Reference(values) => {
                if let Some(store) = store
                    && let Err(error) = limited(store.keep_reference(&values)).await
                {
                    tracing::warn!(%error, "cannot keep the prompts that drift is told by");
                }
            }
            Seen::Alarm(change) => tracing::warn!(
                change = change.name(),
                "prompts are no longer like those of the reference window; those that follow are the new one"
            ),
        }
    });
}

/// The beginning of a prompt.
enum Beginning {
    Text(String),
    Tokens(Vec<u32>),
}

fn beginning(prompt: &Prompt) -> Beginning {
    match prompt {
        Prompt::Text(text) => {
            Beginning::Text(text[..text.floor_char_boundary(LOOKED_AT)].to_owned())
        }
        Prompt::Tokens(tokens) => Beginning::Tokens(tokens[..tokens.len().min(LOOKED_AT)].to_vec()),
    }
}

impl Beginning {
    /// Its tokens, and how many bytes they stand for; none if the tokenizer does not take it.
    fn tokens(self, variant: &Variant) -> Option<(Vec<u32>, usize)> {
        let tokenizer = &variant.tokenizer;
        match self {
            Self::Text(text) => Some((tokenizer.encode(text.as_bytes()).ok()?, text.len())),
            Self::Tokens(tokens) => {
                let bytes = tokenizer.decode(&tokens).len();
                Some((tokens, bytes))
            }
        }
    }
}

/// Whether a verdict tells a text that is wanted: its correction, or an answer that it found good.
pub(super) fn wanted(feedback: &Feedback) -> Option<Wanted> {
    if feedback.correction.is_some() {
        return Some(Wanted::Corrected);
    }
    feedback.is_positive().then_some(Wanted::Accepted)
}

/// Negative log-likelihood of a text behind a prompt, in nats; none if the tokenizer does not take them.
pub(super) fn nats(variant: &Variant, prompt: &str, text: &str) -> Option<f64> {
    let tokenizer = &variant.tokenizer;
    let prompt = tokenizer.encode(prompt.as_bytes()).ok()?;
    let text = tokenizer.encode(text.as_bytes()).ok()?;
    let all: Vec<u32> = prompt.iter().chain(&text).copied().collect();
    Some(variant.nats(&all)[prompt.len()..].iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::base;

    #[test]
    fn a_text_is_scored_behind_its_prompt() {
        let base = base();
        let variant = base.weights.variant(base.default);
        let score = |prompt, text| nats(variant, prompt, text).unwrap();
        let together = score("", "ab") + score("ab", "cd");
        assert!((together - score("", "abcd")).abs() < 1e-9);
        assert!(score("ab", "").abs() < 1e-12);
    }
}
