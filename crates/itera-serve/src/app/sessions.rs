//! `/v1/sessions`: texts that go on over many requests, of which the model remembers all in a state of one size.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use hashlink::LruCache;
use itera_core::sampling::SamplingConfig;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    arms::Chosen,
    completions::{Prompts, inputs},
    generate::{self, Log, Plan},
};
use crate::{
    client::{Client, ClientId},
    engine::{Adjustments, Session, Start},
    experiments::{Assigned, filled},
    models::Models,
    problem::{Body, Code, Problem},
    store::{Sampling, now_ms, random_id},
};

/// What the id of a session begins with.
const PREFIX: &str = "sess-";

/// Most versions of weights that nothing but sessions keeps from being forgotten.
const MOST_VERSIONS: usize = 4;

/// The sessions, at most so many bytes of them. Of the client with most of them, the one that was not used for the
/// longest makes room.
#[derive(Debug)]
pub(crate) struct Sessions {
    most_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    sessions: LruCache<String, Entry>,
    bytes: usize,
}

/// A session, and whose it is.
#[derive(Clone, Debug)]
struct Entry {
    owner: ClientId,
    session: Session,
    /// The arm of an experiment that it was begun with, and stays with.
    arm: Option<Assigned>,
    created_ms: i64,
    /// Whether a request is going on with it.
    is_busy: bool,
}

impl Sessions {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            inner: Mutex::new(Inner {
                sessions: LruCache::new_unbounded(),
                bytes: 0,
            }),
        }
    }

    /// How many there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.sessions.len(), inner.bytes)
    }

    /// Keeps a new session; tells its id.
    pub(super) fn open(
        &self,
        owner: ClientId,
        session: Session,
        arm: Option<Assigned>,
        models: &Models,
    ) -> Result<SessionBody, Problem> {
        if session.bytes() > self.most_bytes {
            return Err(Problem::new(
                Code::NoSessions,
                "this server keeps no sessions; its option --session-mb has their megabytes",
            ));
        }
        let id = format!("{PREFIX}{}", random_id());
        let entry = Entry {
            owner,
            session,
            arm,
            created_ms: now_ms(),
            is_busy: false,
        };
        let body = entry.body(&id);
        let mut inner = self.lock();
        inner.bytes += entry.session.bytes();
        inner.sessions.insert(id, entry);
        while inner.bytes > self.most_bytes && !inner.sessions.is_empty() {
            inner.make_room();
        }
        inner.forget_versions(models);
        Ok(body)
    }

    /// A session of this owner, used now.
    fn get(&self, owner: &ClientId, id: &str) -> Result<Entry, Problem> {
        self.lock().of(owner, id).cloned()
    }

    /// The weights of a session of this owner, and the sampling of a request that goes on with it.
    pub(super) fn chosen(
        &self,
        owner: &ClientId,
        id: &str,
        asked: Sampling,
    ) -> Result<Chosen, Problem> {
        let mut inner = self.lock();
        let entry = inner.of(owner, id)?;
        let arm = entry.arm.clone();
        let said = arm.as_ref().map(|assigned| assigned.arm().sampling);
        Ok(Chosen {
            variant: Arc::clone(&entry.session.variant),
            sampling: filled(asked, said.unwrap_or_default()),
            arm,
        })
    }

    /// Forgets a session of this owner.
    fn close(&self, owner: &ClientId, id: &str) -> Result<(), Problem> {
        let mut inner = self.lock();
        inner.of(owner, id)?;
        if let Some(entry) = inner.sessions.remove(id) {
            inner.bytes -= entry.session.bytes();
        }
        Ok(())
    }

    /// A session of this owner to go on with; nobody else does until the lease is dropped.
    ///
    /// # Errors
    /// There is none of this id, or a request is going on with it.
    pub(super) fn lease(
        self: &Arc<Self>,
        owner: &ClientId,
        id: &str,
    ) -> Result<(Session, Lease), Problem> {
        let mut inner = self.lock();
        let entry = inner.of(owner, id)?;
        if entry.is_busy {
            return Err(Problem::new(
                Code::SessionBusy,
                "another request is going on with the session; wait for it, or fork the session before",
            ));
        }
        entry.is_busy = true;
        let lease = Lease {
            sessions: Arc::clone(self),
            id: id.to_owned(),
        };
        Ok((entry.session.clone(), lease))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A session of this owner, used now.
    fn of(&mut self, owner: &ClientId, id: &str) -> Result<&mut Entry, Problem> {
        let entry = self.sessions.get_mut(id);
        let entry = entry.filter(|entry| entry.owner == *owner);
        entry.ok_or_else(no_session)
    }

    /// Forgets the session of the client with most bytes of them that was not used for the longest.
    fn make_room(&mut self) {
        let mut owned: HashMap<&ClientId, usize> = HashMap::new();
        for (_, entry) in &self.sessions {
            *owned.entry(&entry.owner).or_default() += entry.session.bytes();
        }
        let most = owned.values().max().copied();
        // From the one that was not used for the longest.
        let mut entries = self.sessions.iter();
        let found = entries.find(|(_, entry)| owned.get(&entry.owner).copied() == most);
        let id = found.map(|(id, _)| id.clone());
        if let Some(entry) = id.and_then(|id| self.sessions.remove(&id)) {
            self.bytes -= entry.session.bytes();
        }
    }

    /// Forgets the sessions of weights that are served no longer, of all but a few such versions: those that were used
    /// last stay.
    fn forget_versions(&mut self, models: &Models) {
        let mut kept: Vec<Arc<str>> = Vec::new();
        let mut forgotten = Vec::new();
        // From the session that was used last.
        for (id, entry) in self.sessions.iter().rev() {
            let version = &entry.session.variant.version;
            if kept.contains(version) || models.serves(version) {
                continue;
            }
            if kept.len() < MOST_VERSIONS {
                kept.push(Arc::clone(version));
            } else {
                forgotten.push(id.clone());
            }
        }
        for id in forgotten {
            if let Some(entry) = self.sessions.remove(&id) {
                self.bytes -= entry.session.bytes();
            }
        }
    }
}

/// A session that a request goes on with. Dropped without [`Self::moves_to`], it leaves the session as it was.
#[derive(Debug)]
pub(super) struct Lease {
    sessions: Arc<Sessions>,
    id: String,
}

impl Lease {
    /// The session stands there now, unless it was forgotten meanwhile.
    pub(super) fn moves_to(&self, session: Session) {
        let mut inner = self.sessions.lock();
        let new = session.bytes();
        if let Some(entry) = inner.sessions.get_mut(&self.id) {
            let old = std::mem::replace(&mut entry.session, session).bytes();
            inner.bytes = inner.bytes - old + new;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inner = self.sessions.lock();
        if let Some(entry) = inner.sessions.peek_mut(&self.id) {
            entry.is_busy = false;
        }
    }
}

fn no_session() -> Problem {
    Problem::new(
        Code::SessionNotFound,
        "no such session of this client; it may have made room for others, so begin a new one",
    )
}

/// How a text begins.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"prompt": "Once upon a time"}))]
pub(super) struct SessionRequest {
    /// The beginning, a text or a list of tokens [default: nothing].
    prompt: Option<Prompts>,
    /// A name of `GET /v1/models` [default: the first].
    model: Option<String>,
}

/// A text that goes on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SessionBody {
    /// What `session` of a completion names.
    id: String,
    /// `session`.
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    /// The name of the model.
    model: String,
    /// Precision of the weights.
    precision: String,
    /// Digest of the weights, which stay those that the session began with.
    weights_version: String,
    /// Tokens of the text.
    tokens: usize,
    /// What it takes in memory.
    bytes: usize,
}

impl Entry {
    fn body(&self, id: &str) -> SessionBody {
        SessionBody {
            id: id.to_owned(),
            object: "session",
            created: self.created_ms / 1000,
            model: self.session.variant.name.to_string(),
            precision: self.session.variant.precision.to_string(),
            weights_version: self.session.variant.version.to_string(),
            tokens: self.session.tokens,
            bytes: self.session.bytes(),
        }
    }
}

/// Begin a text that goes on: completions that name the session add to it.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    request_body = SessionRequest,
    responses((status = 201, description = "The session", body = SessionBody))
)]
pub(super) async fn open(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<SessionRequest>,
) -> Result<(StatusCode, Json<SessionBody>), Problem> {
    let Chosen { variant, arm, .. } =
        app.choose(&client, request.model.as_deref(), None, Sampling::default())?;
    let prompt = request.prompt.unwrap_or(Prompts::Text(String::new()));
    let mut inputs = inputs(&app, &variant.tokenizer, prompt, 1, 0)?;
    let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
        return Err(Problem::field(
            "prompt",
            "`prompt` has several texts, expected one",
        ));
    };
    let plan = Plan {
        start: Start::NewSession,
        variant,
        sampling: SamplingConfig::default(),
        adjustments: Adjustments::default(),
        max_tokens: 0,
        stop: Vec::new(),
        echo: false,
        tells_start: false,
        logprobs: None,
        log: Log::none(),
        arm,
    };
    let _charge = app.limits.admit(&client, plan.work([input.len()]))?;
    let completion = generate::run(&app, &client, &plan, input.prompt()).await?;
    let session = completion
        .session
        .ok_or_else(|| Problem::internal("no session was kept"))?;
    let body = app
        .sessions
        .open(client.id(), *session, plan.arm, &app.models)?;
    Ok((StatusCode::CREATED, Json(body)))
}

/// Where a session stands.
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The session", body = SessionBody))
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Json<SessionBody>, Problem> {
    let entry = app.sessions.get(&client.id(), &id)?;
    Ok(Json(entry.body(&id)))
}

/// Begin another session where this one stands.
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}/fork",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 201, description = "The new session", body = SessionBody))
)]
pub(super) async fn fork(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<SessionBody>), Problem> {
    let Entry { session, arm, .. } = app.sessions.get(&client.id(), &id)?;
    let body = app.sessions.open(client.id(), session, arm, &app.models)?;
    Ok((StatusCode::CREATED, Json(body)))
}

/// Forget a session.
#[utoipa::path(
    delete,
    path = "/v1/sessions/{id}",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 204, description = "It is forgotten"))
)]
pub(super) async fn close(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.sessions.close(&client.id(), &id)?;
    Ok(StatusCode::NO_CONTENT)
}
