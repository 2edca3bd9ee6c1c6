//! `POST /feedback`: what somebody says about an answer.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{App, completions::ID_PREFIX, generate::in_range};
use crate::{
    problem::{Body, Problem, ProblemBody},
    store::{Feedback, Stored},
};

/// Longest comment in bytes.
const MAX_COMMENT_BYTES: usize = 4096;

/// A verdict on an answer: at least one of rating, correctness and correction.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
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

/// Rate or correct an answer. A second verdict on an answer takes the place of the first.
#[utoipa::path(
    post,
    path = "/feedback",
    request_body = FeedbackRequest,
    security((), ("token" = [])),
    responses(
        (status = 200, description = "Stored", body = FeedbackResponse),
        (status = 400, description = "No JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "The token is missing", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "A web page of another origin", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No answer has this id", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not declared as JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "A value is missing or out of its range", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The database cannot be used; nothing was stored", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn feedback(
    State(app): State<Arc<App>>,
    Body(request): Body<FeedbackRequest>,
) -> Result<Json<FeedbackResponse>, Problem> {
    let feedback = check(&app, request)?;
    let (id, is_negative) = (feedback.id.clone(), feedback.is_negative());
    let outcome = app.store.rate(feedback).await?;
    let Some(stored) = outcome.stored else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_feedback_id",
            format!(
                "no answer has the id {id:?}; ids are in the answers of /infer and /v1/completions"
            ),
        ));
    };
    app.metrics.count_feedback();
    let adapt_after = app.adapter.adapt_after;
    let reached = adapt_after > 0 && outcome.new_negatives >= i64::from(adapt_after);
    if reached {
        app.adapter.wake();
    }
    Ok(Json(FeedbackResponse {
        status: match stored {
            Stored::Recorded => "recorded",
            Stored::Updated => "updated",
        },
        feedback_id: id,
        adaptation_triggered: reached && is_negative && app.adapter.learns(),
        new_negatives: outcome.new_negatives,
        adapt_after,
    }))
}

/// Checks every field.
fn check(app: &App, request: FeedbackRequest) -> Result<Feedback, Problem> {
    let id = request.feedback_id;
    let id = id.strip_prefix(ID_PREFIX).unwrap_or(&id).to_owned();
    if id.is_empty() || id.len() > 128 || id.contains('\0') {
        let message = "`feedback_id` is no id: expected 1 to 128 characters";
        return Err(Problem::field("feedback_id", message));
    }
    let rating = request
        .user_rating
        .map(|rating| in_range("user_rating", rating, &1, &5))
        .transpose()?;
    if let Some(correction) = &request.correction {
        let most = app.settings.max_prompt_bytes;
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
    })
}
