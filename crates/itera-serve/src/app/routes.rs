//! Every path, said once: the handler, what it needs, and by its attribute its place in the OpenAPI document.

use std::sync::Arc;

use axum::{Json, Router, extract::DefaultBodyLimit, middleware::from_fn_with_state};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use super::{
    App,
    access::{self, Need},
    adapt, chat, completions, feedback, health, infer, layers, metrics, page, score, sessions,
    tokens,
};
use crate::problem::ProblemBody;

type Route = UtoipaMethodRouter<Arc<App>>;

/// All paths. Those whose answer is not bounded in time say so in the second list.
fn timed() -> Vec<(Need, Route)> {
    vec![
        (Need::Infer, routes!(infer::infer)),
        (Need::Infer, routes!(completions::completions)),
        (Need::Infer, routes!(chat::chat_completions)),
        (Need::Infer, routes!(sessions::open)),
        (Need::Infer, routes!(sessions::show, sessions::close)),
        (Need::Infer, routes!(sessions::fork)),
        (Need::Infer, routes!(score::score)),
        (Need::Infer, routes!(tokens::tokenize)),
        (Need::Infer, routes!(tokens::detokenize)),
        (Need::Read, routes!(tokens::tokenizer_info)),
        (Need::Rate, routes!(feedback::feedback)),
        (Need::Forget, routes!(feedback::forget)),
        (Need::Operate, routes!(adapt::rollback)),
        (Need::Read, routes!(completions::models)),
        (Need::Read, routes!(completions::model)),
        (Need::Read, routes!(adapt::status)),
        (Need::Scrape, routes!(metrics::metrics)),
        (Need::Scrape, routes!(metrics::stats)),
        (Need::Probe, routes!(health::health)),
        (Need::Probe, routes!(health::v1_health)),
        (Need::Probe, routes!(health::ready)),
        (Need::Page, routes!(page::index)),
        (Need::Page, routes!(page::docs)),
        (Need::Page, routes!(json)),
    ]
}

/// Learning takes as long as it takes.
fn untimed() -> Vec<(Need, Route)> {
    vec![(Need::Operate, routes!(adapt::adapt))]
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "itera-serve",
        description = "A small language model that generates text and learns from feedback under guard."
    ),
    components(schemas(ProblemBody)),
    modifiers(&Token)
)]
struct Document;

/// The key that a server may ask for.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        if let Some(components) = &mut document.components {
            components.add_security_scheme("token", SecurityScheme::Http(scheme));
        }
    }
}

/// What any request may be told, and those that do more than read.
const PROBLEMS: [(u16, &str); 8] = [
    (401, "A key is missing, or is not one"),
    (
        403,
        "The key lacks the role, or a web page of another origin asks",
    ),
    (404, "There is nothing of this name"),
    (
        421,
        "The request is addressed to a name that is not this server's",
    ),
    (429, "Too many requests, or too many wrong keys"),
    (500, "The server failed; its log says why"),
    (501, "This server has no database, or does not learn"),
    (
        503,
        "Too much waits, or the database cannot be used; nothing was stored",
    ),
];
const PROBLEMS_OF_WORK: [(u16, &str); 6] = [
    (400, "No JSON, or a parameter that is not supported"),
    (409, "It cannot be done now"),
    (413, "The body is too large"),
    (415, "Not declared as JSON"),
    (
        422,
        "A value is missing or out of its range, or the request asks for too much",
    ),
    (504, "It took too long"),
];

/// The OpenAPI document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let routes = timed().into_iter().chain(untimed());
    let add = |all: OpenApiRouter<Arc<App>>, (_, route)| all.routes(route);
    let all = routes.fold(OpenApiRouter::with_openapi(Document::openapi()), add);
    let mut document = all.into_openapi();
    for item in document.paths.paths.values_mut() {
        if let Some(read) = &mut item.get {
            add_problems(read, &[&PROBLEMS]);
        }
        for work in item.post.iter_mut().chain(&mut item.delete) {
            add_problems(work, &[&PROBLEMS, &PROBLEMS_OF_WORK]);
        }
    }
    document
}

fn add_problems(operation: &mut Operation, lists: &[&[(u16, &str)]]) {
    for (status, description) in lists.iter().copied().flatten() {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody")));
        let response = ResponseBuilder::new()
            .description(*description)
            .content("application/problem+json", body.build());
        let responses = &mut operation.responses.responses;
        responses.insert(status.to_string(), response.build().into());
    }
}

/// The OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "The document")))]
async fn json() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}

/// The whole interface.
pub(crate) fn router(app: Arc<App>) -> Router {
    let guard = |(need, (schemas, paths, methods)): (Need, Route)| -> Route {
        let check = from_fn_with_state((Arc::clone(&app), need), access::check);
        (schemas, paths, methods.layer(check))
    };
    let add = |all: OpenApiRouter<Arc<App>>, route| all.routes(guard(route));
    let timed = timed().into_iter().fold(OpenApiRouter::new(), add);
    let all = timed.layer(layers::timeout(&app.settings));
    let all = untimed().into_iter().fold(all, add);
    let (routes, _) = all.split_for_parts();
    let routes = routes
        .layer(layers::body_size(&app.settings))
        // The one limit is that of the settings; axum has one of its own.
        .layer(DefaultBodyLimit::disable());
    layers::around(routes, &app).with_state(app)
}
