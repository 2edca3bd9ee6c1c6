//! `POST /feedback`: what somebody says about an answer; `POST /feedback/{id}/exclude`: that it is not learnt;
//! `DELETE /feedback/{id}`: that it is forgotten.
//!
//! The id of an answer is drawn and known to whoever has got the answer, so it gives the right to rate it once.
//! Another verdict takes a key.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App, access::unauthorized, arms, chat::CHAT_PREFIX, completions::ID_PREFIX, generate::in_range,
    online,
};
use crate::{
    audit::audit,
    client::{Client, network},
    metrics::Wanted,
    problem::{Body, Code, Problem},
    source::MOST_OF_VISITOR,
    store::{Feedback, Forgotten, Source, Store, Stored, Which, limited},
};

/// Longest comment in bytes.
const MAX_COMMENT_BYTES: usize = 4096;

/// A verdict on an answer: at least one of rating, correctness and correction.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"feedback_id": "ID OF AN ANSWER", "user_rating": 2, "correction": " there was a dog."}))]
pub(super) struct FeedbackRequest {
    /// The `feedback_id` of an answer of `/infer`, or the `id` of a completion.
    #[schema(min_length = 1, max_length = 128)]
    feedback_id: String,
    /// 1 (bad) to 5 (good).
    #[schema(minimum = 1, maximum = 5)]
    user_rating: Option<i64>,
    /// Whether the answer is right.
    correctness: Option<bool>,
    /// What should have been written in place of the answer.
    #[schema(min_length = 1)]
    correction: Option<String>,
    /// Anything else; the model does not learn from it.
    #[schema(max_length = 4096)]
    comments: Option<String>,
}

/// What became of it. When this is sent, the feedback is on the disk.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct FeedbackResponse {
    /// `recorded`, or `updated` if there was feedback on this answer before.
    status: &'static str,
    feedback_id: String,
    /// Whether an adaptation follows.
    adaptation_triggered: bool,
    /// Negative records that no adaptation has seen.
    new_negatives: i64,
    /// How many of them trigger an adaptation; 0 if none do.
    adapt_after: u32,
}

/// What is not to be learnt.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"whole_source": true}))]
pub(super) struct ExcludeRequest {
    /// Whether it is set aside; false takes that back [default: true].
    excluded: Option<bool>,
    /// Whether that holds for all feedback so far of whoever gave this: a key, or a network [default: false].
    whole_source: Option<bool>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct ExcludedResponse {
    excluded: bool,
    /// How many records that is.
    records: u64,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct ForgottenResponse {
    /// Always 1: the answer with its prompt.
    answers: u64,
    feedback: u64,
}

/// Rate or correct an answer. A second verdict on an answer takes the place of the first; on a server with keys it
/// takes one.
#[utoipa::path(
    post,
    path = "/feedback",
    request_body = FeedbackRequest,
    security((), ("token" = [])),
    responses((status = 200, description = "Stored", body = FeedbackResponse))
)]
pub(super) async fn feedback(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<FeedbackRequest>,
) -> Result<Json<FeedbackResponse>, Problem> {
    let store = app.store()?;
    // Whoever has a key, or reaches a server without, is known.
    let is_known = client.key.is_some() || app.settings.keys.are_none();
    let feedback = Feedback {
        replaces: is_known,
        source: Some(source(store, &client, is_known)),
        ..check(&app, request)?
    };
    let (id, is_negative) = (feedback.id.clone(), feedback.is_negative());
    let wanted = online::wanted(&feedback);
    let outcome = store.rate(feedback).await?;
    let status = match outcome.stored {
        Some(Stored::Recorded) => {
            arms::observe(&app, id.clone(), Some(is_negative), wanted);
            if let Some(kind) = wanted {
                online::observe(&app, id.clone(), kind);
            }
            "recorded"
        }
        Some(Stored::Updated { corrects }) => {
            if corrects {
                arms::observe(&app, id.clone(), None, wanted);
                online::observe(&app, id.clone(), Wanted::Corrected);
            }
            "updated"
        }
        Some(Stored::Kept) => return Err(unauthorized()),
        None => return Err(unknown_id(&id)),
    };
    audit(&client, "feedback", &id);
    app.metrics.count_feedback(is_negative);
    app.counts.forget().await;
    let adapt_after = app.adapter.adapt_after;
    let reached = adapt_after > 0 && outcome.new_negatives >= i64::from(adapt_after);
    if reached {
        app.adapter.wake();
    }
    Ok(Json(FeedbackResponse {
        status,
        feedback_id: id,
        adaptation_triggered: reached && is_negative && app.adapter.learns(),
        new_negatives: outcome.new_negatives,
        adapt_after,
    }))
}

/// Who gives feedback: a key, of which as much counts as the file of keys says, or a network.
fn source(store: &Store, client: &Client, is_known: bool) -> Source {
    match &client.key {
        Some(key) => Source {
            digest: store.user_digest(&format!("key {}", key.name)),
            most: key.feedback_records(),
        },
        None => Source {
            digest: store.user_digest(&format!("visitor {}", network(client.address))),
            most: (!is_known).then_some(MOST_OF_VISITOR),
        },
    }
}

/// Set the feedback on an answer aside, so that no adaptation learns it, or take that back. What a version has learnt
/// from it stays learnt: roll back to an older one if that matters.
#[utoipa::path(
    post,
    path = "/feedback/{id}/exclude",
    params(("id" = String, Path, description = "The `feedback_id` of the answer")),
    request_body = ExcludeRequest,
    security((), ("token" = [])),
    responses((status = 200, description = "It is as asked for", body = ExcludedResponse))
)]
pub(super) async fn exclude(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    Body(request): Body<ExcludeRequest>,
) -> Result<Json<ExcludedResponse>, Problem> {
    let store = app.store()?;
    let id = answer_id(&id)?;
    let excluded = request.excluded.unwrap_or(true);
    let whole_source = request.whole_source.unwrap_or(false);
    let records = limited(store.set_aside(&id, excluded, whole_source)).await?;
    if records == 0 {
        return Err(unknown_id(&id));
    }
    audit(&client, if excluded { "exclude" } else { "include" }, &id);
    app.counts.forget().await;
    Ok(Json(ExcludedResponse { excluded, records }))
}

/// Forget an answer: its prompt, its text and its feedback. What has been learnt from it stays learnt.
#[utoipa::path(
    delete,
    path = "/feedback/{id}",
    params(("id" = String, Path, description = "The `feedback_id` of the answer")),
    security((), ("token" = [])),
    responses((status = 200, description = "It is forgotten", body = ForgottenResponse))
)]
pub(super) async fn forget(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Json<ForgottenResponse>, Problem> {
    let store = app.store()?;
    let id = answer_id(&id)?;
    let Forgotten { answers, feedback } = limited(store.forget(Which::Id(id.clone()))).await?;
    if answers == 0 {
        return Err(unknown_id(&id));
    }
    audit(&client, "forget", &id);
    app.counts.forget().await;
    Ok(Json(ForgottenResponse { answers, feedback }))
}

fn unknown_id(id: &str) -> Problem {
    Problem::new(
        Code::UnknownFeedbackId,
        format!(
            "no answer has the id {id:?}; ids are in the answers of /infer and /v1/completions"
        ),
    )
}

/// The id of an answer, as a completion or an answer of `/infer` gives it.
fn answer_id(id: &str) -> Result<String, Problem> {
    let prefixes = [CHAT_PREFIX, ID_PREFIX];
    let id = prefixes
        .iter()
        .find_map(|prefix| id.strip_prefix(prefix))
        .unwrap_or(id);
    if id.is_empty() || id.len() > 128 || id.contains('\0') {
        let message = "`feedback_id` is no id: expected 1 to 128 characters";
        return Err(Problem::field("feedback_id", message));
    }
    Ok(id.to_owned())
}

/// Checks every field.
fn check(app: &App, request: FeedbackRequest) -> Result<Feedback, Problem> {
    let id = answer_id(&request.feedback_id)?;
    let rating = request
        .user_rating
        .map(|rating| in_range("user_rating", rating, &1, &5))
        .transpose()?;
    if let Some(correction) = &request.correction {
        let most = app.settings.args.limits.max_prompt_bytes;
        if correction.is_empty() || correction.len() > most {
            let message = format!(
                "`correction` has {} bytes, expected 1 to {most}",
                correction.len()
            );
            return Err(Problem::field("correction", message));
        }
    }
    if request
        .comments
        .as_ref()
        .is_some_and(|comments| comments.len() > MAX_COMMENT_BYTES)
    {
        let message = format!("`comments` has more than {MAX_COMMENT_BYTES} bytes");
        return Err(Problem::field("comments", message));
    }
    let says_nothing =
        rating.is_none() && request.correctness.is_none() && request.correction.is_none();
    if says_nothing {
        let message = "give at least one of `user_rating`, `correctness` and `correction`";
        return Err(Problem::field("user_rating", message));
    }
    Ok(Feedback {
        id,
        rating,
        correct: request.correctness,
        correction: request.correction,
        comments: request.comments,
        replaces: false,
        source: None,
    })
}
