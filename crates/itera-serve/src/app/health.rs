//! `GET /health` and `GET /ready`: neither waits for generation or adaptation.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::problem::{Problem, ProblemBody};

/// How long the database has to answer before the server counts as not ready.
const PATIENCE: Duration = Duration::from_secs(1);

/// That the server runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct HealthResponse {
    /// `ok`.
    status: &'static str,
    model: String,
    weights_version: String,
    /// Whether this server makes new versions from feedback.
    learns: bool,
    uptime_seconds: f64,
}

/// Whether the server runs.
#[utoipa::path(
    get,
    path = "/health",
    responses((status = 200, description = "It does", body = HealthResponse))
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> Json<HealthResponse> {
    Json(HealthResponse {
        status: "ok",
        model: app.base.name.clone(),
        weights_version: app.engine.weights().version.to_string(),
        learns: app.adapter.learns(),
        uptime_seconds: app.metrics.uptime().as_secs_f64(),
    })
}

/// Whether the server can do its work: the database answers and the queue has room.
#[utoipa::path(
    get,
    path = "/ready",
    responses(
        (status = 200, description = "It can", body = HealthResponse),
        (status = 503, description = "It cannot", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<HealthResponse>, Problem> {
    let not_ready = |code, message: &str| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(1)
    };
    let (waiting, _, _) = app.engine.load();
    if waiting >= app.settings.queue.max(1) {
        return Err(not_ready("queue_full", "the queue is full"));
    }
    match tokio::time::timeout(PATIENCE, app.store.ping()).await {
        Ok(Ok(())) => Ok(health(State(app)).await),
        Ok(Err(error)) => Err(Problem::store(&error)),
        Err(_) => Err(not_ready(
            "store_unavailable",
            "the database does not answer",
        )),
    }
}
