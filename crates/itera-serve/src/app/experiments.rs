//! `/experiments`: what requests are divided among, and what has come of it.

mod body;

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use itera_core::checkpoint::Precision;

use self::body::{
    ArmRequest, ExperimentBody, ExperimentRequest, ExperimentsResponse, ReportResponse,
};
use super::{
    App,
    generate::{self, in_range},
};
use crate::{
    audit::audit,
    client::Client,
    experiments::Report,
    problem::{Body, Code, Problem},
    store::{ArmSpec, Begun, By, Definition, Experiment, Sampling, limited, random_id},
};

/// Arms of an experiment, and the largest weight of one.
const ARMS: std::ops::RangeInclusive<usize> = 2..=8;
const MAX_WEIGHT: u32 = 10_000;

/// Longest name of an experiment or an arm in bytes.
const MAX_NAME: usize = 64;

/// Divide requests among arms. Those take part that name no model or precision and leave open what the arms say about
/// sampling. One experiment runs at a time, and nothing is learnt meanwhile.
#[utoipa::path(
    post,
    path = "/experiments",
    request_body = ExperimentRequest,
    security((), ("token" = [])),
    responses((status = 201, description = "It runs, on every server of the database", body = ExperimentBody))
)]
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<ExperimentRequest>,
) -> Result<(StatusCode, Json<ExperimentBody>), Problem> {
    let store = app.store()?;
    let id = name("id", request.id)?;
    if !ARMS.contains(&request.arms.len()) {
        let message = format!("`arms` has {}, expected 2 to 8", request.arms.len());
        return Err(Problem::field("arms", message));
    }
    let mut arms: Vec<ArmSpec> = Vec::new();
    for arm in request.arms {
        let arm = spec(&app, arm).await?;
        if arms.iter().any(|other| other.name == arm.name) {
            let message = format!("two arms are called `{}`", arm.name);
            return Err(Problem::field("arms", message));
        }
        arms.push(arm);
    }
    let definition = Definition {
        by: request.by.unwrap_or(By::User),
        salt: random_id(),
        arms,
    };
    match limited(store.begin_experiment(&id, &definition)).await? {
        Begun::Yes => {}
        Begun::NameTaken => {
            let message = format!("there is or was an experiment `{id}`; give another name");
            return Err(Problem::new(Code::ExperimentExists, message));
        }
        Begun::Running(other) => return Err(running(&other)),
    }
    audit(&client, "begin experiment", &id);
    followed(&app).await;
    let experiment = find(&app, &id).await?;
    Ok((StatusCode::CREATED, Json(experiment.into())))
}

/// The latest experiments.
#[utoipa::path(
    get,
    path = "/experiments",
    security((), ("token" = [])),
    responses((status = 200, description = "At most 100, newest first", body = ExperimentsResponse))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
) -> Result<Json<ExperimentsResponse>, Problem> {
    let experiments = limited(app.store()?.experiments()).await?.into_iter();
    let experiments = experiments.map(ExperimentBody::from).collect();
    Ok(Json(ExperimentsResponse { experiments }))
}

/// What has come of an experiment so far.
#[utoipa::path(
    get,
    path = "/experiments/{id}",
    params(("id" = String, Path, description = "Its name")),
    security((), ("token" = [])),
    responses((status = 200, description = "Arms, and how they compare", body = ReportResponse))
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ReportResponse>, Problem> {
    let experiment = find(&app, &id).await?;
    let report = limited(Report::read(app.store()?, &experiment)).await?;
    Ok(Json(ReportResponse::new(experiment, report)))
}

/// End an experiment: all requests are answered as without it. What has come of it stays.
#[utoipa::path(
    post,
    path = "/experiments/{id}/stop",
    params(("id" = String, Path, description = "Its name")),
    security((), ("token" = [])),
    responses((status = 200, description = "It has ended, on every server of the database", body = ExperimentBody))
)]
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Json<ExperimentBody>, Problem> {
    let store = app.store()?;
    let experiment = find(&app, &id).await?;
    if !limited(store.end_experiment(&experiment, "stopped by an operator")).await? {
        let message = format!("the experiment `{id}` has ended already");
        return Err(Problem::new(Code::ExperimentEnded, message));
    }
    audit(&client, "stop experiment", &id);
    followed(&app).await;
    Ok(Json(find(&app, &id).await?.into()))
}

/// Nothing begins while this one runs.
pub(super) fn running(id: &str) -> Problem {
    let message = format!("the experiment `{id}` runs; stop it before, at /experiments/{id}/stop");
    Problem::new(Code::ExperimentRunning, message)
}

/// Serves what the database says now, rather than at the next turn.
async fn followed(app: &App) {
    if let Err(error) = app.experiments.follow().await {
        let error = format!("{error:#}");
        tracing::warn!(error, "cannot follow experiments");
    }
}

async fn find(app: &App, id: &str) -> Result<Experiment, Problem> {
    let found = limited(app.store()?.experiment(id)).await?;
    found.ok_or_else(|| {
        Problem::new(
            Code::UnknownExperiment,
            format!("no experiment has the name {id:?}; GET /experiments lists them"),
        )
    })
}

/// An arm, with everything said that its servers have to agree on.
async fn spec(app: &App, arm: ArmRequest) -> Result<ArmSpec, Problem> {
    let arm_name = name("arms", arm.name)?;
    let weight = in_range("weight", arm.weight.unwrap_or(1), &1, &MAX_WEIGHT)?;
    let all = app.models.all();
    let model = match &arm.model {
        None => &all[0],
        Some(model) => {
            let found = all.iter().find(|served| *served.base.name == **model);
            found.ok_or_else(|| {
                let message = format!("no model is called `{model}`; GET /v1/models lists all");
                Problem::field("model", message)
            })?
        }
    };
    let version = match arm.version {
        None => model.weights().version.to_string(),
        Some(_) if !Arc::ptr_eq(model, &all[0]) => {
            let message = "only the first model has versions; leave `version` or `model` out";
            return Err(Problem::field("version", message));
        }
        Some(named) => app.version(&named).await?,
    };
    let precision: Option<Precision> = arm
        .precision
        .map(|name| name.parse())
        .transpose()
        .map_err(|error| Problem::field("precision", format!("{error}")))?;
    let precision = precision.unwrap_or(model.base.default);
    if !model.base.precisions.contains(&precision) {
        let message = format!("`{}` is not served at {precision}", model.base.name);
        return Err(Problem::field("precision", message));
    }
    if let Some(temperature) = arm.temperature {
        in_range("temperature", temperature, &0.0, &2.0)?;
    }
    generate::top_k(arm.top_k)?;
    generate::top_p(arm.top_p)?;
    Ok(ArmSpec {
        name: arm_name,
        weight,
        model: model.base.name.to_string(),
        version,
        precision: Some(precision),
        sampling: Sampling {
            temperature: arm.temperature,
            top_k: arm.top_k,
            top_p: arm.top_p,
        },
    })
}

/// A name that can stand in a path and in a label.
fn name(param: &'static str, name: String) -> Result<String, Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(name);
    }
    let message =
        format!("{name:?} is no name, expected 1 to {MAX_NAME} letters, digits, `.`, `_` and `-`");
    Err(Problem::field(param, message))
}
