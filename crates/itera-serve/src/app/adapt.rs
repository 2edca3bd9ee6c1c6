//! `POST /adapt`, `GET /adapt/status`, `POST /adapt/rollback`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::App;
use crate::{
    args::Role,
    problem::{Body, Problem, ProblemBody},
    store::{Entry, EntryStatus, StoreError, VersionRow, rfc3339},
};

/// How often the journal is looked at, and how long a server that learns has to take a request.
const LOOK: Duration = Duration::from_millis(50);
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// Longest adaptation that a client waits for; it goes on without it.
const LONGEST: Duration = Duration::from_mins(10);

/// Lines of the journal in a status.
const JOURNAL: u32 = 50;

/// Shortest beginning of a version that names it.
const SHORTEST_NAME: usize = 8;

/// A line of the journal.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AdaptationBody {
    id: String,
    /// `manual`, `automatic` or `rollback`.
    trigger: String,
    /// `requested`, `running`, `accepted`, `rejected`, `failed`, `interrupted`, `withdrawn` or
    /// `rolled_back`.
    status: &'static str,
    /// Whether a new version is served because of it.
    accepted: bool,
    /// Why it ended so.
    message: Option<String>,
    requested_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    /// The server that did it.
    server: Option<String>,
    from_version: Option<String>,
    to_version: Option<String>,
    /// Records used, steps, learning rate, parameters changed, L2 and largest change, feedback loss and
    /// guard bits per byte before and after, versions, seconds; null if it did not come so far.
    receipt: Option<Value>,
}

impl From<Entry> for AdaptationBody {
    fn from(entry: Entry) -> Self {
        Self {
            accepted: entry.status == EntryStatus::Accepted,
            status: entry.status.name(),
            id: entry.id,
            trigger: entry.trigger,
            message: entry.message,
            requested_at: rfc3339(entry.requested_ms),
            started_at: entry.started_ms.map(rfc3339),
            ended_at: entry.ended_ms.map(rfc3339),
            server: entry.server,
            from_version: entry.from_version,
            to_version: entry.to_version,
            receipt: entry
                .receipt
                .and_then(|json| serde_json::from_str(&json).ok()),
        }
    }
}

/// A version of the weights.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct VersionBody {
    version: String,
    created_at: String,
    parent: Option<String>,
    /// The adaptation that made it; null of the first.
    adaptation: Option<String>,
    active: bool,
}

/// What the server has learnt, and how.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct StatusResponse {
    /// Whether this server makes new versions.
    learns: bool,
    /// `auto`, `follower` or `off`.
    role: &'static str,
    /// Name of this server, new at every start.
    server: String,
    /// The server that learns now, if one does.
    lease_holder: Option<String>,
    /// Served by this server now.
    weights_version: String,
    /// Active in the database.
    active_version: String,
    base_version: String,
    /// What the running adaptation has come to; null if none runs here.
    running: Option<RunningBody>,
    feedback_records: i64,
    new_negatives: i64,
    adapt_after: u32,
    /// Share of the last 100 records that are not negative.
    recent_accuracy: Option<f64>,
    /// Of the next adaptation, before it is moved by the accuracy; null as long as none was made.
    learning_rate: Option<f64>,
    /// Settings of the adaptation; null in a build that does not learn.
    settings: Option<Value>,
    /// The guarded and the replayed text.
    texts: Option<String>,
    /// Newest first.
    versions: Vec<VersionBody>,
    /// Newest first.
    journal: Vec<AdaptationBody>,
}

/// A running adaptation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RunningBody {
    steps: usize,
    /// Loss of each step so far, in nats.
    losses: Vec<f32>,
}

/// Which version to serve again.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackRequest {
    /// A version, or its first 8 characters or more [default: the one before the active one].
    #[schema(min_length = 8, max_length = 64)]
    version: Option<String>,
}

/// Learn from the feedback now. Answers when that is done, with the receipt.
#[utoipa::path(
    post,
    path = "/adapt",
    security((), ("token" = [])),
    responses(
        (status = 200, description = "Done; `accepted` tells whether a new version is served", body = AdaptationBody),
        (status = 401, description = "The token is missing", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "A web page of another origin", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "There is no feedback", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = ProblemBody, content_type = "application/problem+json"),
        (status = 501, description = "This server does not learn", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "No server that learns has taken it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "It takes longer than ten minutes, and goes on", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn adapt(State(app): State<Arc<App>>) -> Result<Json<AdaptationBody>, Problem> {
    if !cfg!(feature = "adapt") || app.adapter.role == Role::Off {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "does_not_learn",
            if cfg!(feature = "adapt") {
                "this server was started with --role off"
            } else {
                "this server was built without the feature `adapt`; it follows what others learn"
            },
        ));
    }
    if app.store.counts().await?.records == 0 {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "no_feedback",
            "there is no feedback to learn from; send some to /feedback first",
        ));
    }
    let id = app.store.request("manual").await?;
    app.adapter.wake();
    let asked = Instant::now();
    while asked.elapsed() < LONGEST {
        let Some(entry) = app.store.entry(&id).await? else {
            break;
        };
        if entry.status.is_final() {
            return Ok(Json(entry.into()));
        }
        let is_late = entry.status == EntryStatus::Requested && asked.elapsed() > TAKEN_WITHIN;
        if is_late && app.store.lease_holder().await?.is_none() && app.store.withdraw(&id).await? {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "nobody_learns",
                "no server of this database learns now",
            )
            .retry_after(5));
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout",
        "the adaptation takes long and goes on; see /adapt/status",
    ))
}

/// Versions, journal, and what runs.
#[utoipa::path(
    get,
    path = "/adapt/status",
    responses(
        (status = 200, description = "The status", body = StatusResponse),
        (status = 503, description = "The database cannot be used", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn status(State(app): State<Arc<App>>) -> Result<Json<StatusResponse>, Problem> {
    let (store, adapter) = (&app.store, &app.adapter);
    let counts = store.counts().await?;
    let active = store.active().await?;
    let versions = store.versions().await?;
    let journal = store.journal(JOURNAL).await?;
    let (settings, texts) = learning(&app);
    Ok(Json(StatusResponse {
        learns: adapter.learns(),
        role: match adapter.role {
            Role::Auto => "auto",
            Role::Follower => "follower",
            Role::Off => "off",
        },
        server: adapter.server.clone(),
        lease_holder: store.lease_holder().await?,
        weights_version: app.engine.weights().version.to_string(),
        base_version: app.base.weights.version.to_string(),
        running: adapter.progress().map(|progress| RunningBody {
            steps: progress.steps,
            losses: progress.losses,
        }),
        feedback_records: counts.records,
        new_negatives: counts.new_negatives,
        adapt_after: adapter.adapt_after,
        recent_accuracy: counts.recent_accuracy,
        learning_rate: store.learning_rate().await?,
        settings,
        texts,
        versions: versions
            .into_iter()
            .map(|row| version_body(row, &active))
            .collect(),
        journal: journal.into_iter().map(AdaptationBody::from).collect(),
        active_version: active,
    }))
}

fn version_body(row: VersionRow, active: &str) -> VersionBody {
    VersionBody {
        active: row.version == active,
        version: row.version,
        created_at: rfc3339(row.created_ms),
        parent: row.parent,
        adaptation: row.adaptation,
    }
}

#[cfg(feature = "adapt")]
fn learning(app: &App) -> (Option<Value>, Option<String>) {
    let learner = &app.adapter.learner;
    let settings = serde_json::to_value(&learner.config).ok();
    (settings, Some(learner.texts.description.clone()))
}

#[cfg(not(feature = "adapt"))]
const fn learning(_: &App) -> (Option<Value>, Option<String>) {
    (None, None)
}

/// Serve an older version again.
#[utoipa::path(
    post,
    path = "/adapt/rollback",
    request_body = RollbackRequest,
    security((), ("token" = [])),
    responses(
        (status = 200, description = "It is served, by every server of the database", body = AdaptationBody),
        (status = 400, description = "No JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "The token is missing", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "A web page of another origin", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such version", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "There is none before, or it is active already", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not declared as JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "A value of the wrong type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The database cannot be used", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "It took too long", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Body(request): Body<RollbackRequest>,
) -> Result<Json<AdaptationBody>, Problem> {
    let active = app.store.active().await?;
    let target = target(&app, request.version, &active).await?;
    if target == active {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "already_active",
            "this version is active already",
        ));
    }
    let weights = app.adapter.load(&target).await;
    let weights = weights.map_err(|error| {
        let is_store = error.downcast_ref::<StoreError>();
        is_store.map_or_else(|| Problem::internal(format!("{error:#}")), Problem::store)
    })?;
    let weights = weights.ok_or_else(unknown_version)?;
    let entry = app.store.roll_back(&active, &target).await?;
    app.engine.swap(weights);
    app.adapter.wake();
    tracing::info!(from = active, to = target, "rolled back");
    Ok(Json(entry.into()))
}

/// The version that a request means.
async fn target(app: &App, named: Option<String>, active: &str) -> Result<String, Problem> {
    let versions = app.store.versions().await?;
    let Some(named) = named else {
        let parent = versions
            .into_iter()
            .find(|row| row.version == active)
            .and_then(|row| row.parent);
        return parent.ok_or_else(|| {
            Problem::new(
                StatusCode::CONFLICT,
                "nothing_before",
                "the active version is the first; there is none before it",
            )
        });
    };
    let is_meant = |row: &&VersionRow| {
        row.version == named || (named.len() >= SHORTEST_NAME && row.version.starts_with(&named))
    };
    let mut meant = versions.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(row), None) => Ok(row.version.clone()),
        _ => Err(unknown_version()),
    }
}

fn unknown_version() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_version",
        "no version, or more than one, has this name; see /adapt/status",
    )
}
