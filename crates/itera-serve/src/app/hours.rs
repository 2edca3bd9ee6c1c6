//! `GET /quality`: how the answers of the last days were, hour by hour, over all servers of the database.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use itera_core::model::bits_per_byte;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use crate::{
    problem::{Problem, ProblemBody},
    store::{HourSums, KEPT_HOURS, StoreError, limited, rfc3339},
};

const MOST_DAYS: i64 = KEPT_HOURS / 24;

/// How far back.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QualityRequest {
    /// Days up to now.
    #[serde(default = "thirty")]
    days: i64,
}

const fn thirty() -> i64 {
    30
}

/// The hours in which something happened, the oldest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct QualityResponse {
    hours: Vec<HourBody>,
}

/// An hour.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct HourBody {
    /// Its start.
    hour: String,
    /// Requests to write or to score that were answered.
    requests: f64,
    /// Those of them that were answered with 5xx.
    errors: f64,
    /// Texts written.
    answers: f64,
    /// Tokens of these.
    tokens: f64,
    /// From the arrival of a request to the end of its text; null in an hour without one.
    mean_latency_ms: Option<f64>,
    feedback: f64,
    negative: f64,
    /// Bytes of corrections, at the first verdict on an answer.
    corrected_bytes: f64,
    /// Of these, before they were learnt from, by the weights that were served; null in an hour without corrections.
    corrected_bits_per_byte_served: Option<f64>,
    /// The same by the weights of the start.
    corrected_bits_per_byte_base: Option<f64>,
    /// Times that prompts were no longer like those of the reference window.
    drift_alarms: f64,
}

impl From<(i64, HourSums)> for HourBody {
    fn from((start_ms, sums): (i64, HourSums)) -> Self {
        let ratio = |part: f64, of: f64| (of > 0.0).then(|| part / of);
        let bytes = sums.corrected_bytes;
        let bits_per_byte = |nats: f64| (bytes > 0.0).then(|| bits_per_byte(nats, bytes));
        Self {
            hour: rfc3339(start_ms),
            requests: sums.requests,
            errors: sums.errors,
            answers: sums.answers,
            tokens: sums.tokens,
            mean_latency_ms: ratio(1e3 * sums.answer_seconds, sums.answers),
            feedback: sums.feedback,
            negative: sums.negative,
            corrected_bytes: sums.corrected_bytes,
            corrected_bits_per_byte_served: bits_per_byte(sums.corrected_nats_served),
            corrected_bits_per_byte_base: bits_per_byte(sums.corrected_nats_base),
            drift_alarms: sums.drift_alarms,
        }
    }
}

/// How the answers of the last days were, hour by hour, over all servers of the database. The last minute is still to
/// come.
#[utoipa::path(
    get,
    path = "/quality",
    params(("days" = Option<i64>, Query, description = "Days up to now; 30 if none are given", minimum = 1, maximum = 400)),
    responses(
        (status = 200, description = "The hours", body = QualityResponse),
        (status = 422, description = "A problem: invalid_value", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn quality(
    State(app): State<Arc<App>>,
    request: Result<Query<QualityRequest>, QueryRejection>,
) -> Result<Json<QualityResponse>, Problem> {
    let days = request.map_or(0, |Query(request)| request.days);
    if !(1..=MOST_DAYS).contains(&days) {
        let message = format!("`/quality?days=N` takes a number of days from 1 to {MOST_DAYS}");
        return Err(Problem::field("days", message));
    }
    let hours = limited(app.store()?.sums(days * 24)).await?;
    let hours = hours.into_iter().map(HourBody::from).collect();
    Ok(Json(QualityResponse { hours }))
}

/// Adds what this server has counted since the last time to the sums of the hour.
///
/// # Errors
/// The database's; what was counted is added the next time. If it did not answer in time it may be added twice.
pub(crate) async fn keep(app: &App) -> Result<(), StoreError> {
    let Some(store) = &app.store else {
        return Ok(());
    };
    let mut kept = app.kept.lock().await;
    let counted = HourSums {
        drift_alarms: app.quality.drift().alarms() as f64,
        ..app.metrics.sums()
    };
    let new = counted.since(*kept);
    // An idle server leaves the disk alone.
    if new != HourSums::default() {
        limited(store.add_sums(new)).await?;
        *kept = counted;
    }
    Ok(())
}
