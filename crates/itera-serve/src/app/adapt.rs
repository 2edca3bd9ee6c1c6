//! `POST /adapt`, `GET /adapt/status`, `POST /adapt/rollback`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{App, experiments};
use crate::{
    adapt::learn::Learner,
    args::Role,
    audit::audit,
    client::Client,
    problem::{Body, Code, Problem},
    store::{Counts, Entry, EntryStatus, Store, StoreError, VersionRow, limited, rfc3339},
    weights::Weights,
};

/// How often the journal is looked at where nothing tells that it has changed, and how long a server that learns
/// has to take a request.
const LOOK: Duration = Duration::from_millis(500);
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
    /// `manual`, `automatic`, `canary`, `import`, `rollback` or `rebase`.
    trigger: String,
    /// `requested`, `running`, `candidate`, `canary`, `accepted`, `declined`, `rejected`, `failed`, `interrupted`,
    /// `withdrawn` or `rolled_back`.
    status: &'static str,
    /// Whether a new version is served to all because of it.
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
    /// Whether it waits for an operator.
    candidate: bool,
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
    /// Whether an operator has paused learning.
    paused: bool,
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
    /// Share of the last 100 records that are not negative, of each source as many as count.
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

/// What the database says about learning.
#[derive(Debug)]
pub(crate) struct Learnt {
    counts: Counts,
    active: String,
    lease_holder: Option<String>,
    learning_rate: Option<f64>,
    versions: Vec<VersionRow>,
    journal: Vec<Entry>,
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

/// Learn from the feedback now. Answers when that is done, with the receipt; with `--adapt-approve` the new version is
/// then a candidate. Requests that come before it has
/// begun are one.
#[utoipa::path(
    post,
    path = "/adapt",
    security((), ("token" = [])),
    responses((status = 200, description = "Done; `accepted` tells whether a new version is served", body = AdaptationBody))
)]
pub(super) async fn adapt(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
) -> Result<Json<AdaptationBody>, Problem> {
    let store = app.store()?;
    if !cfg!(feature = "adapt") || app.adapter.role == Role::Off {
        return Err(Problem::new(
            Code::DoesNotLearn,
            if cfg!(feature = "adapt") {
                "this server was started with --role off"
            } else {
                "this server was built without the feature `adapt`; it follows what others learn"
            },
        ));
    }
    let counts = limited(store.counts()).await?;
    if counts.is_paused {
        return Err(Problem::new(
            Code::LearningPaused,
            "an operator has paused learning; POST /adapt/resume lets it go on",
        ));
    }
    if counts.records == 0 {
        return Err(Problem::new(
            Code::NoFeedback,
            "there is no feedback to learn from; send some to /feedback first",
        ));
    }
    if let Some(running) = limited(store.running_experiment()).await? {
        return Err(experiments::running(&running.id));
    }
    let id = limited(store.request()).await?;
    audit(&client, "adapt", &id);
    app.adapter.wake();
    let entry = ended(&app, store, &id).await?;
    app.learnt.forget().await;
    Ok(Json(entry.into()))
}

/// Waits for the end of an adaptation.
async fn ended(app: &App, store: &Store, id: &str) -> Result<Entry, Problem> {
    let asked = Instant::now();
    let mut changes = app.adapter.changes();
    while asked.elapsed() < LONGEST {
        let Some(entry) = limited(store.entry(id)).await? else {
            break;
        };
        if entry.status.is_final() {
            return Ok(entry);
        }
        let is_late = entry.status == EntryStatus::Requested && asked.elapsed() > TAKEN_WITHIN;
        if is_late
            && limited(store.lease_holder()).await?.is_none()
            && limited(store.withdraw(id)).await?
        {
            return Err(
                Problem::new(Code::NobodyLearns, "no server of this database learns now")
                    .retry_after(5),
            );
        }
        let _ = tokio::time::timeout(LOOK, changes.changed()).await;
    }
    Err(Problem::new(
        Code::Timeout,
        "the adaptation takes long and goes on; see /adapt/status",
    ))
}

/// Versions, journal, and what runs: as of a second ago at most.
#[utoipa::path(
    get,
    path = "/adapt/status",
    responses((status = 200, description = "The status", body = StatusResponse))
)]
pub(super) async fn status(State(app): State<Arc<App>>) -> Result<Json<StatusResponse>, Problem> {
    let (store, adapter, first) = (app.store()?, &app.adapter, app.models.first());
    let learner = adapter.learner.as_ref();
    let (settings, rate) = learner.map(Learner::settings).unzip();
    let learnt = app.learnt.get(limited(learnt(store, rate))).await?;
    Ok(Json(StatusResponse {
        learns: adapter.learns(),
        role: match adapter.role {
            Role::Auto => "auto",
            Role::Follower => "follower",
            Role::Off => "off",
        },
        server: adapter.server.clone(),
        lease_holder: learnt.lease_holder.clone(),
        weights_version: first.weights().version.to_string(),
        base_version: first.base.weights.version.to_string(),
        running: adapter.progress().map(|progress| RunningBody {
            steps: progress.steps,
            losses: progress.losses,
        }),
        paused: learnt.counts.is_paused,
        feedback_records: learnt.counts.records,
        new_negatives: learnt.counts.new_negatives,
        adapt_after: adapter.adapt_after,
        recent_accuracy: learnt.counts.recent_accuracy,
        learning_rate: learnt.learning_rate,
        settings,
        texts: learner.map(|learner| learner.texts().to_owned()),
        versions: learnt
            .versions
            .iter()
            .map(|row| version_body(row, &learnt.active))
            .collect(),
        journal: learnt
            .journal
            .iter()
            .cloned()
            .map(AdaptationBody::from)
            .collect(),
        active_version: learnt.active.clone(),
    }))
}

async fn learnt(store: &Store, rate: Option<f64>) -> Result<Arc<Learnt>, StoreError> {
    let learning_rate = match rate {
        Some(rate) => store.learning_rate(rate).await?,
        None => None,
    };
    Ok(Arc::new(Learnt {
        counts: store.counts().await?,
        active: store.active().await?,
        lease_holder: store.lease_holder().await?,
        learning_rate,
        versions: store.versions().await?,
        journal: store.journal(JOURNAL).await?,
    }))
}

fn version_body(row: &VersionRow, active: &str) -> VersionBody {
    VersionBody {
        active: row.version == active,
        version: row.version.clone(),
        created_at: rfc3339(row.created_ms),
        parent: row.parent.clone(),
        adaptation: row.adaptation.clone(),
        candidate: row.is_candidate,
    }
}

/// Serve an older version again.
#[utoipa::path(
    post,
    path = "/adapt/rollback",
    request_body = RollbackRequest,
    security((), ("token" = [])),
    responses((status = 200, description = "It is served, by every server of the database", body = AdaptationBody))
)]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<RollbackRequest>,
) -> Result<Json<AdaptationBody>, Problem> {
    let store = app.store()?;
    let active = limited(store.active()).await?;
    let target = target(store, request.version, &active).await?;
    if target == active {
        return Err(Problem::new(
            Code::AlreadyActive,
            "this version is active already",
        ));
    }
    let weights = load(&app, store, &target).await?;
    let entry = limited(store.roll_back(&active, &target)).await?;
    let entry = entry.ok_or_else(unknown_version)?;
    app.models.first().swap(weights);
    app.adapter.wake();
    app.learnt.forget().await;
    audit(&client, "rollback", &target);
    Ok(Json(entry.into()))
}

/// A version ready to be served.
pub(super) async fn load(app: &App, store: &Store, version: &str) -> Result<Arc<Weights>, Problem> {
    let weights = app.adapter.load(store, version).await;
    let weights = weights.map_err(|error| {
        let is_store = error.downcast_ref::<StoreError>();
        is_store.map_or_else(|| Problem::internal(format!("{error:#}")), Problem::store)
    })?;
    weights.ok_or_else(unknown_version)
}

/// The version that a request means.
async fn target(store: &Store, named: Option<String>, active: &str) -> Result<String, Problem> {
    let versions = limited(store.versions()).await?;
    let Some(named) = named else {
        return before(&versions, active).ok_or_else(|| {
            Problem::new(
                Code::NothingBefore,
                "the active version is the first; there is none before it",
            )
        });
    };
    meant(&versions, &named)
}

/// The one version of this name.
fn meant(versions: &[VersionRow], named: &str) -> Result<String, Problem> {
    let is_meant = |row: &&VersionRow| {
        row.version == named || (named.len() >= SHORTEST_NAME && row.version.starts_with(named))
    };
    let mut meant = versions.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(row), None) if row.is_candidate => Err(Problem::new(
            Code::NotApproved,
            "this version waits for an operator; POST /adapt/{id}/approve serves it",
        )),
        (Some(row), None) => Ok(row.version.clone()),
        _ => Err(unknown_version()),
    }
}

impl App {
    /// The version of the first model that a name means.
    ///
    /// # Errors
    /// There is none, or more than one, or the database's.
    pub(super) async fn version(&self, named: &str) -> Result<String, Problem> {
        meant(&limited(self.store()?.versions()).await?, named)
    }
}

/// The parent of the active version, or if that is not kept the latest version that is older. `versions` are the
/// newest first.
fn before(versions: &[VersionRow], active: &str) -> Option<String> {
    let at = versions.iter().position(|row| row.version == active)?;
    let parent = versions[at].parent.as_ref()?;
    let kept = versions.iter().find(|row| row.version == *parent);
    let older = kept.or_else(|| versions.get(at + 1))?;
    Some(older.version.clone())
}

fn unknown_version() -> Problem {
    Problem::new(
        Code::UnknownVersion,
        "no version, or more than one, has this name; see /adapt/status",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_without_a_name_finds_what_is_kept() {
        let row = |version: &str, parent: Option<&str>| VersionRow {
            version: version.to_owned(),
            created_ms: 0,
            parent: parent.map(str::to_owned),
            adaptation: None,
            is_candidate: false,
        };
        let kept = [row("d", Some("c")), row("c", Some("b")), row("base", None)];
        assert_eq!(before(&kept, "d").as_deref(), Some("c"));
        assert_eq!(
            before(&kept, "c").as_deref(),
            Some("base"),
            "b was forgotten"
        );
        assert_eq!(before(&kept, "base"), None);
    }
}
