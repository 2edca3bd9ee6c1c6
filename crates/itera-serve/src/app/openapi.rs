//! The OpenAPI document, made from the handlers and the types that they take and give.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{adapt, completions, feedback, health, infer, metrics};
use crate::problem::ProblemBody;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "itera-serve",
        description = "A small language model that generates text and learns from feedback under guard."
    ),
    paths(
        infer::infer,
        completions::completions,
        completions::models,
        feedback::feedback,
        adapt::adapt,
        adapt::status,
        adapt::rollback,
        metrics::metrics,
        metrics::prometheus,
        health::health,
        health::ready,
    ),
    components(schemas(ProblemBody)),
    modifiers(&Token)
)]
struct Document;

/// The bearer token that a server may ask for.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        if let Some(components) = &mut document.components {
            components.add_security_scheme("token", SecurityScheme::Http(scheme));
        }
    }
}

/// The document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// `GET /openapi.json`.
pub(super) async fn json() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
