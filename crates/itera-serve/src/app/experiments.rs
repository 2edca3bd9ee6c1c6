//! `/experiments`: what requests are divided among, and what has come of it.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use itera_core::checkpoint::Precision;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    generate::{self, in_range},
};
use crate::{
    audit::audit,
    client::Client,
    experiments::{ArmReport, Compared, Comparison, Interval, Report},
    metrics::Wanted,
    problem::{Body, Code, Problem},
    store::{ArmSpec, Begun, By, Definition, Experiment, Sampling, limited, random_id, rfc3339},
};

/// Arms of an experiment, and the largest weight of one.
const ARMS: std::ops::RangeInclusive<usize> = 2..=8;
const MAX_WEIGHT: u32 = 10_000;

/// Longest name of an experiment or an arm in bytes.
const MAX_NAME: usize = 64;

/// What to divide requests among.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "cooler", "by": "user", "arms": [
    {"name": "now"}, {"name": "cooler", "temperature": 0.6}]}))]
pub(super) struct ExperimentRequest {
    /// Its name, of which there was none before: letters, digits, `.`, `_` and `-`.
    #[schema(min_length = 1, max_length = 64)]
    id: String,
    /// Who stays with an arm: `user` and `key` of a request, or nobody, with `request` [default: `user`]. A request
    /// without a user, or a key, is divided by itself.
    by: Option<By>,
    /// Two to eight. The others are compared with the first.
    arms: Vec<ArmRequest>,
}

/// A way to answer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArmRequest {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// Its share is this over the sum of all [default: 1].
    #[schema(minimum = 1, maximum = 10_000)]
    weight: Option<u32>,
    /// A name of a model, without a precision [default: the first].
    model: Option<String>,
    /// A version of the first model, or its first 8 characters or more [default: the one that is served now].
    version: Option<String>,
    /// fp32, int8 or int4 [default: the model's].
    precision: Option<String>,
    /// For requests that give none, as the next two.
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    #[schema(minimum = 1, maximum = 65_536)]
    top_k: Option<u32>,
    #[schema(exclusive_minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
}

/// An experiment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ExperimentBody {
    id: String,
    /// `comparison`, or `canary` of one that the server has begun with what it has learnt.
    kind: &'static str,
    running: bool,
    started_at: String,
    ended_at: Option<String>,
    /// Why it has ended.
    message: Option<String>,
    by: By,
    arms: Vec<ArmBody>,
}

/// An arm.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ArmBody {
    name: String,
    weight: u32,
    model: String,
    version: String,
    /// Null for that of the request.
    precision: Option<String>,
    temperature: Option<f64>,
    top_k: Option<u32>,
    top_p: Option<f64>,
}

/// The latest experiments, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ExperimentsResponse {
    experiments: Vec<ExperimentBody>,
}

/// An experiment with what all servers have seen of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ReportResponse {
    #[serde(flatten)]
    experiment: ExperimentBody,
    results: Vec<ArmResults>,
    sample_ratio: SampleRatio,
    /// Every arm but the first with the first.
    comparisons: Vec<ComparisonBody>,
}

/// What has come of an arm.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ArmResults {
    arm: String,
    /// Users, keys or requests that it has answered.
    units: f64,
    answers: f64,
    /// Rated answers over answers: only they tell anything about quality.
    rated_share: Option<f64>,
    /// Negative answers over rated ones, with Wilson's interval of 95 % for answers that do not depend on each other.
    negative_share: Option<IntervalBody>,
    /// Texts that people accept or give as corrections, all scored by every arm.
    accepted: TextsBody,
    corrected: TextsBody,
    /// Of the latest 2,000 answers.
    latency_ms: Option<TimesBody>,
}

/// Texts scored by an arm.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct TextsBody {
    texts: f64,
    bits_per_byte: Option<f64>,
}

/// Durations of answers.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct TimesBody {
    p50: f64,
    p99: f64,
}

/// An estimate with its limits.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct IntervalBody {
    estimate: f64,
    low: f64,
    high: f64,
}

/// Whether units are divided as the weights say (chi-square).
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct SampleRatio {
    /// How probable a division is that is as far from the weights; null while nothing is divided.
    p: Option<f64>,
    /// False below 0.001: something but chance decides who is counted, and no verdict is given.
    holds: bool,
}

/// An arm against the first.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ComparisonBody {
    arm: String,
    control: String,
    negative_share: ComparedBody,
    /// Of texts that were accepted. An arm likes best what it has written itself, so trust corrections.
    accepted_bits_per_byte: ComparedBody,
    corrected_bits_per_byte: ComparedBody,
}

/// How an arm differs from the first in a figure that is to be low.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ComparedBody {
    /// `better` or `worse`, which for 95 % of experiments are right at every time of looking together; `undecided`;
    /// `too_few` units for an interval, 50 of each arm; `withheld`, as the division is not what the weights say.
    verdict: &'static str,
    /// The figure of the arm less that of the first, with limits that hold at every time of looking.
    difference: Option<IntervalBody>,
}

impl From<Interval> for IntervalBody {
    fn from(interval: Interval) -> Self {
        Self {
            estimate: interval.estimate,
            low: interval.low,
            high: interval.high,
        }
    }
}

impl From<Compared> for ComparedBody {
    fn from(compared: Compared) -> Self {
        Self {
            verdict: compared.verdict(),
            difference: compared.interval().map(IntervalBody::from),
        }
    }
}

impl From<Experiment> for ExperimentBody {
    fn from(experiment: Experiment) -> Self {
        let arms = experiment.definition.arms.into_iter();
        Self {
            id: experiment.id,
            kind: experiment.kind.name(),
            running: experiment.ended_ms.is_none(),
            started_at: rfc3339(experiment.started_ms),
            ended_at: experiment.ended_ms.map(rfc3339),
            message: experiment.message,
            by: experiment.definition.by,
            arms: arms.map(ArmBody::from).collect(),
        }
    }
}

impl From<ArmSpec> for ArmBody {
    fn from(arm: ArmSpec) -> Self {
        Self {
            name: arm.name,
            weight: arm.weight,
            model: arm.model,
            version: arm.version,
            precision: arm.precision.map(|precision| precision.to_string()),
            temperature: arm.sampling.temperature,
            top_k: arm.sampling.top_k,
            top_p: arm.sampling.top_p,
        }
    }
}

impl From<ArmReport> for ArmResults {
    fn from(arm: ArmReport) -> Self {
        let texts = |kind: Wanted| {
            let (texts, bits_per_byte) = arm.texts[kind as usize];
            TextsBody {
                texts,
                bits_per_byte,
            }
        };
        Self {
            units: arm.units,
            answers: arm.answers,
            rated_share: (arm.answers > 0.0).then(|| arm.rated / arm.answers),
            negative_share: arm.negative_share.map(IntervalBody::from),
            accepted: texts(Wanted::Accepted),
            corrected: texts(Wanted::Corrected),
            latency_ms: arm.latency_ms.map(|[p50, p99]| TimesBody { p50, p99 }),
            arm: arm.name,
        }
    }
}

impl From<Comparison> for ComparisonBody {
    fn from(comparison: Comparison) -> Self {
        let [accepted, corrected] = comparison.bits_per_byte.map(ComparedBody::from);
        Self {
            arm: comparison.arm,
            control: comparison.control,
            negative_share: comparison.negative_share.into(),
            accepted_bits_per_byte: accepted,
            corrected_bits_per_byte: corrected,
        }
    }
}

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
    Ok(Json(ReportResponse {
        sample_ratio: SampleRatio {
            p: report.sample_ratio_p,
            holds: report.division_holds(),
        },
        experiment: experiment.into(),
        results: report.arms.into_iter().map(ArmResults::from).collect(),
        comparisons: report
            .comparisons
            .into_iter()
            .map(ComparisonBody::from)
            .collect(),
    }))
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
