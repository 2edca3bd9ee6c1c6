//! The HTTP interface: `router(app)` is all of it, with or without a socket.
//!
//! | method and path | file |
//! |---|---|
//! | `POST /infer` | `infer` |
//! | `POST /v1/completions`, `GET /v1/models` | `completions`, `stream` |
//! | `POST /feedback` | `feedback` |
//! | `POST /adapt`, `GET /adapt/status`, `POST /adapt/rollback` | `adapt` |
//! | `GET /metrics`, `GET /metrics/prometheus` | `metrics` |
//! | `GET /health`, `GET /ready` | `health` |
//! | `GET /`, `GET /docs`, `GET /openapi.json` | `page`, `openapi` |
//!
//! Around them, in `layers`: problem bodies, CORS, compression, access, rate, size and time limits.

mod access;
mod adapt;
mod client;
mod completions;
mod feedback;
mod generate;
mod health;
mod infer;
mod layers;
mod metrics;
mod openapi;
mod page;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use itera_core::checkpoint::Precision;

pub(crate) use self::openapi::document;
use crate::{
    adapt::Adapter, engine::Engine, metrics::Metrics, options::Settings, store::Store,
    weights::Base,
};

/// Everything that a request may need.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) base: Arc<Base>,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) settings: Settings,
}

impl App {
    /// The precision that a request means by a name: none, that of the model, a precision, or both.
    fn precision(&self, name: Option<&str>) -> Option<Precision> {
        let Some(name) = name else {
            return Some(self.base.default);
        };
        if name == self.base.name {
            return Some(self.base.default);
        }
        let precision = match name.strip_prefix(self.base.name.as_str()) {
            Some(rest) => rest.strip_prefix(['.', '-'])?,
            None => name,
        };
        let mut precisions = self.base.precisions.iter().copied();
        precisions.find(|known| known.name() == precision)
    }

    /// Names that requests may give, for error messages.
    fn known_models(&self) -> String {
        let names = self.base.precisions.iter().map(ToString::to_string);
        format!(
            "{}, {}",
            self.base.name,
            names.collect::<Vec<_>>().join(", ")
        )
    }
}

/// The whole interface.
pub(crate) fn router(app: Arc<App>) -> Router {
    let timed = Router::new()
        .route("/infer", post(infer::infer))
        .route("/v1/completions", post(completions::completions))
        .route("/feedback", post(feedback::feedback))
        .route("/adapt/rollback", post(adapt::rollback))
        .layer(layers::timeout(&app.settings));
    let limited = timed
        .route("/adapt", post(adapt::adapt))
        .layer(layers::body_size(&app.settings))
        // The one limit is that of the settings; axum has one of its own.
        .layer(DefaultBodyLimit::disable());
    let limited = layers::rate(limited, &app.settings);
    let open = Router::new()
        .route("/", get(page::index))
        .route("/docs", get(page::docs))
        .route("/openapi.json", get(openapi::json))
        .route("/health", get(health::health))
        .route("/v1/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/metrics/prometheus", get(metrics::prometheus))
        .route("/v1/models", get(completions::models))
        .route("/adapt/status", get(adapt::status));
    layers::around(limited.merge(open), &app).with_state(app)
}
