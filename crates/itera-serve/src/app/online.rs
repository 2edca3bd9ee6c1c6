//! How well the model predicts what people accept and what they correct, before it learns from it.

use std::sync::Arc;

use super::App;
use crate::{
    metrics::Wanted,
    store::{Feedback, Rated, limited},
    weights::Variant,
};

/// Scores the text of a verdict by the weights that are served now and by those of the start. The client does not
/// wait for that.
pub(super) fn observe(app: &Arc<App>, id: String, kind: Wanted) {
    let (app, model) = (Arc::clone(app), app.models.first());
    let served = model.at_default();
    let base = Arc::clone(model.base.weights.variant(model.base.default));
    tokio::spawn(async move {
        let Some(store) = &app.store else { return };
        // It takes its turn with requests for scores, and is left out where they wait.
        let Ok(seat) = Arc::clone(&app.scoring).try_acquire_owned() else {
            return;
        };
        // One that is forgotten meanwhile, or cannot be read, is not counted.
        let Ok(Some(rated)) = limited(store.rated(&id)).await else {
            return;
        };
        let Rated {
            feedback, answer, ..
        } = rated;
        let text = feedback.correction.unwrap_or(answer.output);
        let score = move || {
            let nats = |variant: &Variant| nats(variant, &answer.prompt, &text);
            Some((text.len(), nats(&served)?, nats(&base)?))
        };
        let scored = tokio::task::spawn_blocking(score).await;
        drop(seat);
        if let Ok(Some((bytes, served, base))) = scored {
            app.metrics.count_online(kind, bytes, served, base);
        }
    });
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
    let (tokenizer, model) = (&variant.tokenizer, &variant.model);
    let prompt = tokenizer.encode(prompt.as_bytes()).ok()?;
    let text = tokenizer.encode(text.as_bytes()).ok()?;
    let all: Vec<u32> = prompt.iter().chain(&text).copied().collect();
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let each = model.score(&mut state, &mut work, tokenizer.end_of_text(), &all);
    Some(each[prompt.len()..].iter().sum())
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
