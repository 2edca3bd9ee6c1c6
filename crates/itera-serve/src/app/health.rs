//! `GET /health` and `GET /ready`: neither waits for generation, adaptation or the database.

use std::sync::{Arc, atomic::Ordering};

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::problem::{Code, Problem};

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
    /// `ok`, `failing` as long as the last look or the last transaction failed, or `none`. Text is written either
    /// way, and feedback refused while it fails.
    database: &'static str,
    /// Whether the active version could not be served, so that another one is; the log says why.
    behind: bool,
}

/// Whether the server runs.
#[utoipa::path(
    get,
    path = "/health",
    responses((status = 200, description = "It does", body = HealthResponse))
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> Json<HealthResponse> {
    let first = app.models.first();
    Json(HealthResponse {
        status: "ok",
        model: first.base.name.to_string(),
        weights_version: first.weights().version.to_string(),
        learns: app.adapter.learns(),
        uptime_seconds: app.metrics.uptime().as_secs_f64(),
        database: match &app.store {
            None => "none",
            Some(store) if store.is_healthy() => "ok",
            Some(_) => "failing",
        },
        behind: app.adapter.is_behind(),
    })
}

/// Whether the server runs, where clients of the OpenAI interface look for it.
#[utoipa::path(
    get,
    path = "/v1/health",
    responses((status = 200, description = "It does", body = HealthResponse))
)]
pub(super) async fn v1_health(app: State<Arc<App>>) -> Json<HealthResponse> {
    health(app).await
}

/// Whether requests should be sent here: until the server is told to end. A full queue or a database that fails does
/// not change that, since another server would be no better off.
#[utoipa::path(
    get,
    path = "/ready",
    responses((status = 200, description = "They should", body = HealthResponse))
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<HealthResponse>, Problem> {
    if app.ending.load(Ordering::Relaxed) {
        return Err(
            Problem::new(Code::Ending, "the server is about to end; ask another one")
                .retry_after(1),
        );
    }
    Ok(health(State(app)).await)
}
