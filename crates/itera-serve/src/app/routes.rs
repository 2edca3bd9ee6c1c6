//! Every path, said once: the handler, what it needs, and by its attribute its place in the OpenAPI document.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router, extract::DefaultBodyLimit, http::StatusCode, middleware::from_fn_with_state,
};
use serde_json::json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, ResponseBuilder,
        extensions::Extensions,
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
    adapt, approval, chat, completions, experiments, feedback, health, hours, infer, layers,
    metrics, models, page, score, sessions, tokens,
};
use crate::problem::{Code, ProblemBody};

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
        (Need::Operate, routes!(feedback::exclude)),
        (Need::Operate, routes!(adapt::rollback)),
        (
            Need::Operate,
            routes!(experiments::begin, experiments::list),
        ),
        (Need::Operate, routes!(experiments::show)),
        (Need::Operate, routes!(experiments::stop)),
        (Need::Operate, routes!(approval::approve)),
        (Need::Operate, routes!(approval::reject)),
        (Need::Operate, routes!(approval::pause)),
        (Need::Operate, routes!(approval::resume)),
        (Need::Read, routes!(models::models)),
        (Need::Read, routes!(models::model)),
        (Need::Operate, routes!(models::unload)),
        (Need::Read, routes!(adapt::status)),
        (Need::Read, routes!(hours::quality)),
        (Need::Scrape, routes!(metrics::metrics)),
        (Need::Scrape, routes!(metrics::stats)),
        (Need::Probe, routes!(health::health)),
        (Need::Probe, routes!(health::v1_health)),
        (Need::Probe, routes!(health::ready)),
        (Need::Page, routes!(page::index)),
        (Need::Page, routes!(page::docs)),
        (Need::Page, routes!(openapi)),
    ]
}

/// Learning and reading a file take as long as they take.
fn untimed() -> Vec<(Need, Route)> {
    vec![
        (Need::Operate, routes!(adapt::adapt)),
        (Need::Operate, routes!(models::load)),
    ]
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

/// Statuses of problems that only requests which do more than read have.
const OF_WORK: [u16; 5] = [409, 413, 415, 422, 504];

/// The OpenAPI document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let routes = timed().into_iter().chain(untimed());
    let add = |all: OpenApiRouter<Arc<App>>, (_, route)| all.routes(route);
    let all = routes.fold(OpenApiRouter::with_openapi(Document::openapi()), add);
    let mut document = all.into_openapi();
    for item in document.paths.paths.values_mut() {
        if let Some(read) = &mut item.get {
            add_problems(read, |status| !OF_WORK.contains(&status));
        }
        for work in item.post.iter_mut().chain(&mut item.delete) {
            add_problems(work, |_| true);
        }
    }
    let codes = Code::ALL.iter().map(|code| {
        json!({"code": code.name(), "status": code.status().as_u16(), "meaning": code.meaning()})
    });
    let codes: Vec<_> = codes.collect();
    document.extensions = Some(Extensions::from_iter([("x-problems", codes)]));
    document
}

/// Tells of an operation what codes its problems may have.
fn add_problems(operation: &mut Operation, may_have: impl Fn(u16) -> bool) {
    let mut codes: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in Code::ALL {
        let status = code.status();
        if status != StatusCode::METHOD_NOT_ALLOWED && may_have(status.as_u16()) {
            codes.entry(status.as_u16()).or_default().push(code.name());
        }
    }
    for (status, codes) in codes {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody")));
        let response = ResponseBuilder::new()
            .description(format!("A problem: {}", codes.join(", ")))
            .content("application/problem+json", body.build());
        let responses = &mut operation.responses.responses;
        responses.insert(status.to_string(), response.build().into());
    }
}

/// The OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "The document")))]
async fn openapi() -> Json<utoipa::openapi::OpenApi> {
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
