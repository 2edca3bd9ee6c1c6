//! `POST /adapt/{id}/approve` and `/reject`: what becomes of a candidate; `POST /adapt/pause` and `/resume`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    adapt::{AdaptationBody, load},
    experiments,
};
use crate::{
    audit::audit,
    client::Client,
    problem::{Code, Problem},
    store::{Approval, Entry, EntryStatus, Store, limited},
};

/// Whether learning is paused.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct PausedResponse {
    paused: bool,
}

/// Serve a candidate, by every server of the database; by one with `--canary`, to a part of the traffic first.
#[utoipa::path(
    post,
    path = "/adapt/{id}/approve",
    params(("id" = String, Path, description = "The `id` of the adaptation in the journal")),
    security((), ("token" = [])),
    responses((status = 200, description = "It is served, or a canary by its `status`", body = AdaptationBody))
)]
pub(super) async fn approve(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Json<AdaptationBody>, Problem> {
    let store = app.store()?;
    let candidate = candidate(store, &id).await?;
    let version = candidate.to_version.ok_or_else(no_candidate)?;
    let weights = load(&app, store, &version).await?;
    let as_canary = app.settings.args.adapt.canary;
    match limited(store.approve(&id, as_canary)).await? {
        Approval::Served => app.models.first().swap(weights),
        Approval::Canary => {}
        Approval::Running(other) => return Err(experiments::running(&other)),
        Approval::None => return Err(no_candidate()),
        Approval::Superseded => {
            return Err(Problem::new(
                Code::Superseded,
                "another version is served than the one that the candidate was learnt from; reject it, or roll \
                 back to that",
            ));
        }
    }
    look_again(&app).await;
    audit(&client, "approve", &id);
    let entry = limited(store.entry(&id)).await?.ok_or_else(no_candidate)?;
    Ok(Json(entry.into()))
}

/// Do not serve a candidate. Its weights are forgotten, and what it alone has learnt is not learnt again unless it is
/// rated anew.
#[utoipa::path(
    post,
    path = "/adapt/{id}/reject",
    params(("id" = String, Path, description = "The `id` of the adaptation in the journal")),
    security((), ("token" = [])),
    responses((status = 200, description = "It is not served", body = AdaptationBody))
)]
pub(super) async fn reject(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Json<AdaptationBody>, Problem> {
    let store = app.store()?;
    let entry = limited(store.decline(&id))
        .await?
        .ok_or_else(no_candidate)?;
    look_again(&app).await;
    audit(&client, "reject", &id);
    Ok(Json(entry.into()))
}

/// Pause learning, by every server of the database, until it is resumed. What runs comes to nothing; rolling back and
/// approving stay possible.
#[utoipa::path(
    post,
    path = "/adapt/pause",
    security((), ("token" = [])),
    responses((status = 200, description = "Nothing is learnt", body = PausedResponse))
)]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
) -> Result<Json<PausedResponse>, Problem> {
    set_paused(&app, &client, true).await
}

/// Let learning go on.
#[utoipa::path(
    post,
    path = "/adapt/resume",
    security((), ("token" = [])),
    responses((status = 200, description = "Learning goes on", body = PausedResponse))
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
) -> Result<Json<PausedResponse>, Problem> {
    set_paused(&app, &client, false).await
}

async fn set_paused(
    app: &App,
    client: &Client,
    paused: bool,
) -> Result<Json<PausedResponse>, Problem> {
    let store = app.store()?;
    limited(store.set_paused(paused)).await?;
    look_again(app).await;
    audit(client, if paused { "pause" } else { "resume" }, "learning");
    Ok(Json(PausedResponse { paused }))
}

/// Makes this server see at once what an operator has decided.
async fn look_again(app: &App) {
    app.adapter.wake();
    app.learnt.forget().await;
    app.counts.forget().await;
}

/// The entry of a candidate.
async fn candidate(store: &Store, id: &str) -> Result<Entry, Problem> {
    let entry = limited(store.entry(id)).await?;
    let waits = |entry: &Entry| entry.status == EntryStatus::Candidate;
    entry.filter(waits).ok_or_else(no_candidate)
}

fn no_candidate() -> Problem {
    Problem::new(
        Code::NoCandidate,
        "no candidate has this id: it was approved, rejected or withdrawn before; see /adapt/status",
    )
}
