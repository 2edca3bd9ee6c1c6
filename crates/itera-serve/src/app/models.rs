//! `GET /v1/models`, as OpenAI's clients expect it, and for operators `POST /models/load` and `/models/unload`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use itera_core::checkpoint::Precision;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use crate::{
    audit::audit,
    client::Client,
    models::{ChangeError, Served},
    problem::{Body, Code, Problem},
    weights::{Base, Variant},
};

/// The models that requests may name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ModelsResponse {
    /// `list`.
    object: &'static str,
    data: Vec<ModelBody>,
}

/// A model at a precision.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ModelBody {
    /// What `model` of a request names.
    id: String,
    /// `model`.
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    precision: String,
    /// Digest of the weights.
    weights_version: String,
}

impl ModelBody {
    fn new(id: String, variant: &Variant) -> Self {
        Self {
            id,
            object: "model",
            created: 0,
            owned_by: "itera",
            precision: variant.precision.to_string(),
            weights_version: variant.version.to_string(),
        }
    }
}

impl ModelsResponse {
    fn new(models: &[Arc<Served>]) -> Self {
        let names = models.iter().flat_map(|model| {
            let default = ModelBody::new(model.base.name.to_string(), &model.at_default());
            let weights = model.weights();
            let each = weights.variants.iter();
            let each = each.map(|variant| ModelBody::new(variant.id(), variant));
            [default].into_iter().chain(each).collect::<Vec<_>>()
        });
        Self {
            object: "list",
            data: names.collect(),
        }
    }
}

/// The models that requests may name, the default first.
#[utoipa::path(
    get,
    path = "/v1/models",
    responses((status = 200, description = "The models", body = ModelsResponse))
)]
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<ModelsResponse> {
    Json(ModelsResponse::new(&app.models.all()))
}

/// One model, by a name of the list.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    params(("id" = String, Path, description = "Its name")),
    responses((status = 200, description = "The model", body = ModelBody))
)]
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ModelBody>, Problem> {
    let variant = app.variant(Some(&id))?;
    Ok(Json(ModelBody::new(id, &variant)))
}

/// A checkpoint to serve.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"checkpoint": "nano-tinystories"}))]
pub(super) struct LoadRequest {
    /// Its name or path on the server, as with `--checkpoint`.
    checkpoint: String,
    /// Precision of requests that name none: fp32, int8 or int4 [default: int8, or what the file has].
    precision: Option<String>,
}

/// Serve another model, or one of the same name anew.
#[utoipa::path(
    post,
    path = "/models/load",
    request_body = LoadRequest,
    responses((status = 200, description = "The names of the model", body = ModelsResponse))
)]
pub(super) async fn load(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<LoadRequest>,
) -> Result<Json<ModelsResponse>, Problem> {
    let LoadRequest {
        checkpoint,
        precision,
    } = request;
    let precision: Option<Precision> = precision
        .map(|name| name.parse())
        .transpose()
        .map_err(|error| Problem::field("precision", format!("{error}")))?;
    let source = checkpoint.clone();
    let base = tokio::task::spawn_blocking(move || Base::load(&source, precision));
    let base = base.await.map_err(Problem::internal)?;
    let base = base.map_err(|error| Problem::field("checkpoint", format!("{error:#}")))?;
    let served = app.models.put(base).map_err(|error| cannot(&error))?;
    audit(&client, "load", &checkpoint);
    Ok(Json(ModelsResponse::new(&[served])))
}

/// A model to serve no longer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"model": "nano-tinystories"}))]
pub(super) struct UnloadRequest {
    /// Its name, without a precision.
    model: String,
}

/// Serve a model no longer. What runs with it is finished.
#[utoipa::path(
    post,
    path = "/models/unload",
    request_body = UnloadRequest,
    responses((status = 200, description = "The models that are left", body = ModelsResponse))
)]
pub(super) async fn unload(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<UnloadRequest>,
) -> Result<Json<ModelsResponse>, Problem> {
    let removed = app.models.remove(&request.model);
    removed.map_err(|error| cannot(&error))?;
    audit(&client, "unload", &request.model);
    Ok(Json(ModelsResponse::new(&app.models.all())))
}

fn cannot(error: &ChangeError) -> Problem {
    let code = match error {
        ChangeError::Unknown => Code::ModelNotFound,
        ChangeError::Bound | ChangeError::First | ChangeError::Full | ChangeError::Ambiguous(_) => {
            Code::ModelStays
        }
    };
    Problem::new(code, error.to_string())
}
