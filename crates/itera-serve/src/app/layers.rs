//! What every request passes on its way in and out.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
};
use tower_governor::{
    GovernorError, GovernorLayer, governor::GovernorConfigBuilder, key_extractor::KeyExtractor,
};
use tower_http::{
    compression::CompressionLayer,
    cors::{AllowOrigin, Any, CorsLayer},
    limit::RequestBodyLimitLayer,
    timeout::TimeoutLayer,
};

use super::{App, access, client};
use crate::{
    metrics::Endpoint,
    options::{Origins, Settings},
    problem::{Problem, complete},
};

/// Seconds in which the requests of the rate limit may be made.
const RATE_WINDOW: Duration = Duration::from_mins(1);

/// The layers around all routes, the outermost last.
pub(super) fn around(routes: Router<Arc<App>>, app: &Arc<App>) -> Router<Arc<App>> {
    let routes = routes
        .layer(from_fn_with_state(Arc::clone(app), access::check))
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
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, settings.timeout)
}

/// Refuses bodies that are too large, whether they say so or not.
pub(super) fn body_size(settings: &Settings) -> RequestBodyLimitLayer {
    RequestBodyLimitLayer::new(settings.max_body_bytes)
}

/// Requests per minute for each client address.
pub(super) fn rate(routes: Router<Arc<App>>, settings: &Settings) -> Router<Arc<App>> {
    let Some(limit) = settings.rate_limit else {
        return routes;
    };
    let config = GovernorConfigBuilder::default()
        .period(RATE_WINDOW / limit.get())
        .burst_size(limit.get())
        .key_extractor(ClientAddress {
            trusted: settings.trusted_proxies.clone().into(),
        })
        .finish();
    // A period and a burst above zero are always a configuration.
    let Some(config) = config else {
        return routes;
    };
    let limiter = Arc::clone(config.limiter());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(RATE_WINDOW).await;
            limiter.retain_recent();
        }
    });
    routes.layer(GovernorLayer::new(config).error_handler(refuse))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer hands its errors over so"
)]
fn refuse(error: GovernorError) -> Response {
    let wait_s = match error {
        GovernorError::TooManyRequests { wait_time, .. } => wait_time.max(1),
        _ => 1,
    };
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        format!("too many requests from this address; try again in {wait_s} s"),
    )
    .retry_after(wait_s)
    .into_response()
}

/// Tells clients apart.
#[derive(Clone, Debug)]
pub(super) struct ClientAddress {
    trusted: Arc<[IpAddr]>,
}

impl KeyExtractor for ClientAddress {
    type Key = IpAddr;

    fn extract<T>(&self, request: &Request<T>) -> Result<IpAddr, GovernorError> {
        let address = client::address(request, &self.trusted);
        Ok(client::network(address))
    }
}

/// What web pages of other origins may do; none for nothing.
fn cors(origins: &Origins) -> Option<CorsLayer> {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION]);
    match origins {
        Origins::Own => None,
        Origins::These(list) => Some(layer.allow_origin(AllowOrigin::list(list.clone()))),
        Origins::Any => Some(layer.allow_origin(Any)),
    }
}

/// Nothing of this server is to be guessed at, framed, or loaded from elsewhere.
async fn safe_headers(mut response: Response) -> Response {
    const HEADERS: [(&str, &str); 3] = [
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

/// Counts and logs every answer.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let endpoint = Endpoint::of(request.uri().path());
    let logged = tracing::enabled!(tracing::Level::DEBUG)
        .then(|| (request.method().clone(), request.uri().path().to_owned()));
    let began = Instant::now();
    let response = next.run(request).await;
    app.metrics.count_answer(endpoint, response.status());
    if let Some((method, path)) = logged {
        let ms = began.elapsed().as_secs_f64() * 1e3;
        tracing::debug!(%method, path, status = response.status().as_u16(), ms, "answered");
    }
    response
}
