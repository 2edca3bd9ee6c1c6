//! What every request passes on its way in and out.

use std::{any::Any as Anything, sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowHeaders, AllowOrigin, Any, CorsLayer},
    limit::RequestBodyLimitLayer,
    timeout::TimeoutLayer,
};
use tracing::Instrument as _;

use super::App;
use crate::{
    metrics::Endpoint,
    options::{Origins, Settings},
    problem::{Code, Problem, complete},
    store::random_id,
};

/// Names a request in the logs of all who see it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name that is taken over from a client.
const MAX_REQUEST_ID: usize = 64;

/// The layers around all routes, the outermost last.
pub(super) fn around(routes: Router<Arc<App>>, app: &Arc<App>) -> Router<Arc<App>> {
    let metrics = Arc::clone(&app.metrics);
    let failed = move |panic: Box<dyn Anything + Send>| {
        metrics.count_panic();
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Problem::internal(text.unwrap_or("a panic")).into_response()
    };
    let routes = routes
        .layer(CatchPanicLayer::custom(failed))
        .layer(CompressionLayer::new());
    let routes = match cors(&app.settings.origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes
        .layer(map_response(complete))
        .layer(map_response(safe_headers))
        .layer(from_fn_with_state(Arc::clone(app), count))
}

/// Gives a request up after a time: its slot is then free within a token.
pub(super) fn timeout(settings: &Settings) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, settings.timeout())
}

/// Refuses bodies that are too large, whether they say so or not.
pub(super) fn body_size(settings: &Settings) -> RequestBodyLimitLayer {
    RequestBodyLimitLayer::new(settings.args.limits.max_body_bytes)
}

/// What web pages of other origins may do; none for nothing.
fn cors(origins: &Origins) -> Option<CorsLayer> {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        // Clients send headers of their own; none of them gives a right but the key.
        .allow_headers(AllowHeaders::mirror_request());
    match origins {
        Origins::Own => None,
        Origins::These(list) => Some(layer.allow_origin(AllowOrigin::list(list.clone()))),
        Origins::Any => Some(layer.allow_origin(Any)),
    }
}

/// Nothing of this server is to be guessed at, framed, or loaded from elsewhere.
async fn safe_headers(mut response: Response) -> Response {
    const HEADERS: [(&str, &str); 4] = [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

/// Counts and logs every answer, and names its request: as the client does, or anew.
async fn count(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let endpoint = Endpoint::of(request.uri().path());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = Instant::now();
    let id = request_id(&request);
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    response.headers_mut().insert(REQUEST_ID, id);
    app.metrics.count_answer(endpoint, response.status());
    if let Some(code) = response.extensions().get::<Code>() {
        app.metrics.count_problem(*code);
    }
    let ms = began.elapsed().as_secs_f64() * 1e3;
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(%method, path, status, ms, "answered"));
    response
}

fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let given = given.filter(|id| {
        let fits = (1..=MAX_REQUEST_ID).contains(&id.len());
        fits && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    // Hexadecimal digits are always a value.
    given.cloned().unwrap_or_else(|| {
        HeaderValue::try_from(random_id()).unwrap_or(HeaderValue::from_static("none"))
    })
}
