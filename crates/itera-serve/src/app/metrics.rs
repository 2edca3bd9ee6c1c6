//! `GET /metrics` for Prometheus, and `GET /stats`, the same as JSON for people and pages.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App, arms,
    quality::{QualityBody, quality_body, quality_metrics},
};
use crate::{
    metrics::{Endpoint, Histogram, Metrics, Wanted, prometheus::Text},
    problem::Code,
    store::{Counts, EntryStatus, Store},
};

/// How long the database has to answer before its figures are left out.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the server measures of itself since its start.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct MetricsResponse {
    uptime_seconds: f64,
    requests: RequestsBody,
    /// Of generations, from the request's arrival to the end of the text.
    latency_ms: Option<LatencyBody>,
    /// Of generations, from the request's arrival to the first token.
    first_token_ms: Option<LatencyBody>,
    /// Generations per second over the last minute.
    requests_per_s: f64,
    /// Tokens written per second over the last minute.
    tokens_per_s: f64,
    tokens_generated: u64,
    prompt_tokens: u64,
    /// CPU time of this process over the last minute; 100 is one core.
    cpu_percent: f64,
    /// Null where the system does not tell.
    memory_bytes: Option<u64>,
    queue: QueueBody,
    model: ModelMetrics,
    adaptive: AdaptiveBody,
    quality: QualityBody,
}

/// Answered requests.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct RequestsBody {
    total: u64,
    /// Answers of 400 and above.
    failed: u64,
    infer: u64,
    completions: u64,
    score: u64,
    feedback: u64,
    adapt: u64,
}

/// Durations, within 3 %.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct LatencyBody {
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

/// Work at this moment.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct QueueBody {
    waiting: usize,
    running: usize,
    slots: usize,
}

/// What is served.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ModelMetrics {
    name: String,
    parameters: u64,
    precision: String,
    kernel: String,
    weights_version: String,
    base_version: String,
}

/// What is learnt.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct AdaptiveBody {
    learns: bool,
    /// Whether an adaptation runs on this server.
    running: bool,
    adapt_after: u32,
    /// Feedback that this server has stored since its start.
    feedback_received: u64,
    /// Null if the database does not answer at once, as the next two.
    feedback_records: Option<i64>,
    new_negatives: Option<i64>,
    recent_accuracy: Option<f64>,
}

/// What the server measures of itself: text for Prometheus, or with `Accept: application/json` what `GET /stats` gives.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "The figures",
        content((String = "text/plain"), (MetricsResponse = "application/json"))))
)]
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    if accept.is_some_and(wants_json) {
        return stats(State(app)).await.into_response();
    }
    let counts = counts(&app).await;
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, text(&app, counts)).into_response()
}

/// What the server measures of itself, as JSON.
#[utoipa::path(
    get,
    path = "/stats",
    responses((status = 200, description = "The figures", body = MetricsResponse))
)]
pub(super) async fn stats(State(app): State<Arc<App>>) -> Json<MetricsResponse> {
    let counts = counts(&app).await;
    Json(body(&app, counts))
}

/// Whether JSON comes before text in an `Accept` header.
fn wants_json(accept: &str) -> bool {
    let kinds = accept
        .split(',')
        .map(|kind| kind.split(';').next().unwrap_or(kind).trim());
    let mut known = kinds.filter(|kind| {
        matches!(
            *kind,
            "text/plain" | "application/openmetrics-text" | "application/json" | "*/*"
        )
    });
    known.next() == Some("application/json")
}

async fn counts(app: &App) -> Option<Counts> {
    let store = app.store.as_ref()?;
    let counts = tokio::time::timeout(PATIENCE, app.counts.get(store.counts())).await;
    counts.ok()?.ok()
}

fn body(app: &App, counts: Option<Counts>) -> MetricsResponse {
    let metrics = &app.metrics;
    let of = |endpoint| (2..=5).map(|class| metrics.answers(endpoint, class)).sum();
    let (total, failed) = metrics.totals();
    let rates = metrics.rates();
    let (waiting, running, slots) = app.engine.load();
    let first = app.models.first();
    let variant = first.at_default();
    MetricsResponse {
        uptime_seconds: metrics.uptime().as_secs_f64(),
        requests: RequestsBody {
            total,
            failed,
            infer: of(Endpoint::Infer),
            completions: of(Endpoint::Completions),
            score: of(Endpoint::Score),
            feedback: of(Endpoint::Feedback),
            adapt: of(Endpoint::Adapt),
        },
        latency_ms: latency(&metrics.latency),
        first_token_ms: latency(&metrics.first_token),
        requests_per_s: rates.generations_per_s,
        tokens_per_s: rates.tokens_per_s,
        tokens_generated: metrics.tokens(),
        prompt_tokens: metrics.prompt_tokens(),
        cpu_percent: rates.cpu_percent,
        memory_bytes: Metrics::resident_bytes(),
        queue: QueueBody {
            waiting,
            running,
            slots,
        },
        model: ModelMetrics {
            name: variant.name.to_string(),
            parameters: first.base.info.params,
            precision: variant.precision.to_string(),
            kernel: variant.model.kernel().name().to_owned(),
            weights_version: variant.version.to_string(),
            base_version: first.base.weights.version.to_string(),
        },
        quality: quality_body(&app.quality),
        adaptive: AdaptiveBody {
            learns: app.adapter.learns(),
            running: app.adapter.progress().is_some(),
            adapt_after: app.adapter.adapt_after,
            feedback_received: metrics.feedback_records(),
            feedback_records: counts.map(|counts| counts.records),
            new_negatives: counts.map(|counts| counts.new_negatives),
            recent_accuracy: counts.and_then(|counts| counts.recent_accuracy),
        },
    }
}

fn latency(histogram: &Histogram) -> Option<LatencyBody> {
    histogram.quantiles().map(|quantiles| LatencyBody {
        mean: quantiles.mean * 1e3,
        p50: quantiles.p50 * 1e3,
        p95: quantiles.p95 * 1e3,
        p99: quantiles.p99 * 1e3,
    })
}

fn text(app: &App, counts: Option<Counts>) -> String {
    let mut text = Text::default();
    count_metrics(app, &mut text);
    feedback_metrics(app, &mut text);
    arms::metrics(app, &mut text);
    gauge_metrics(app, counts, &mut text);
    quality_metrics(app, &mut text);
    text.head(
        "itera_weights_info",
        "gauge",
        "The weights that are served, by model.",
    );
    for model in app.models.all() {
        let variant = model.at_default();
        let labels = [
            ("model", &*variant.name),
            ("version", &variant.version),
            ("precision", variant.precision.name()),
        ];
        text.value("itera_weights_info", &labels, 1.0);
    }
    text.into_string()
}

/// What only grows.
fn count_metrics(app: &App, text: &mut Text) {
    let metrics = &app.metrics;
    text.head("itera_requests_total", "counter", "Answered requests.");
    for endpoint in Endpoint::ALL {
        for class in 2..=5 {
            let status = format!("{class}xx");
            let labels = [("endpoint", endpoint.name()), ("status", &status)];
            let value = metrics.answers(endpoint, class) as f64;
            text.value("itera_requests_total", &labels, value);
        }
    }
    let mut one = |name, help, value| text.one(name, "counter", help, value);
    let (written, read) = (metrics.tokens() as f64, metrics.prompt_tokens() as f64);
    one("itera_generated_tokens_total", "Tokens written.", written);
    one("itera_prompt_tokens_total", "Tokens of prompts read.", read);
    let scored = metrics.scored_tokens() as f64;
    one(
        "itera_scored_tokens_total",
        "Tokens of texts scored.",
        scored,
    );
    let feedback = metrics.feedback_records() as f64;
    one("itera_feedback_total", "Feedback stored.", feedback);
    let negative = metrics.negative_feedback() as f64;
    let help = "Negative feedback stored.";
    one("itera_negative_feedback_total", help, negative);
    let panics = metrics.panics() as f64;
    one(
        "itera_panics_total",
        "Faults of threads and handlers.",
        panics,
    );
    let cancelled = metrics.cancelled() as f64;
    one(
        "itera_cancelled_total",
        "Generations whose client has gone.",
        cancelled,
    );
    let errors = app.store.as_ref().map_or(0, Store::errors) as f64;
    let help = "Looks and transactions that the database failed.";
    one("itera_database_errors_total", help, errors);
    let lost = app.store.as_ref().map_or(0, Store::lost) as f64;
    let help = "Answers that are not stored and so cannot be rated.";
    one("itera_answers_lost_total", help, lost);
    if let Some(seconds) = Metrics::cpu_seconds() {
        let help = "CPU time of all threads.";
        one("process_cpu_seconds_total", help, seconds);
    }
    text.head(
        "itera_problems_total",
        "counter",
        "Answers that are problems, by their code.",
    );
    for code in Code::ALL {
        let labels = [("code", code.name())];
        let count = metrics.problems(*code) as f64;
        text.value("itera_problems_total", &labels, count);
    }
    let (latency, first) = (&metrics.latency, &metrics.first_token);
    let (queue, token) = (&metrics.queue, &metrics.token);
    text.histogram("itera_queue_seconds", "Time until a slot is free.", queue);
    text.histogram(
        "itera_token_seconds",
        "Time of a token after the first.",
        token,
    );
    text.histogram("itera_request_seconds", "Duration of generations.", latency);
    text.histogram(
        "itera_first_token_seconds",
        "Time to the first token.",
        first,
    );
}

/// What comes of feedback.
fn feedback_metrics(app: &App, text: &mut Text) {
    let metrics = &app.metrics;
    text.head(
        "itera_online_bytes_total",
        "counter",
        "Bytes of texts that people want, at their first verdict.",
    );
    for kind in Wanted::ALL {
        let bytes = metrics.online(kind).bytes as f64;
        text.value("itera_online_bytes_total", &[("kind", kind.name())], bytes);
    }
    text.head(
        "itera_online_nats_total",
        "counter",
        "Negative log-likelihood of these texts before they were learnt from, by weights.",
    );
    for kind in Wanted::ALL {
        let online = metrics.online(kind);
        for (weights, nats) in [("served", online.served_nats), ("base", online.base_nats)] {
            let labels = [("kind", kind.name()), ("weights", weights)];
            text.value("itera_online_nats_total", &labels, nats);
        }
    }
    text.head(
        "itera_adaptations_total",
        "counter",
        "Adaptations that ended on this server.",
    );
    let outcomes = app.adapter.outcomes();
    for status in [
        EntryStatus::Canary,
        EntryStatus::Accepted,
        EntryStatus::Candidate,
        EntryStatus::Rejected,
        EntryStatus::Failed,
    ] {
        let count = outcomes.get(status.name()).copied().unwrap_or_default();
        text.value(
            "itera_adaptations_total",
            &[("outcome", status.name())],
            count as f64,
        );
    }
}

/// What is so at this moment.
fn gauge_metrics(app: &App, counts: Option<Counts>, text: &mut Text) {
    let mut one = |name, help, value| text.one(name, "gauge", help, value);
    let (waiting, running, slots) = app.engine.load();
    one(
        "itera_queue_waiting",
        "Requests that wait for a slot.",
        waiting as f64,
    );
    one(
        "itera_slots_used",
        "Requests that are being written.",
        running as f64,
    );
    one(
        "itera_slots",
        "Requests that can be written side by side.",
        slots as f64,
    );
    let (sessions, bytes) = app.sessions.size();
    one("itera_sessions", "Sessions that are kept.", sessions as f64);
    one("itera_session_bytes", "What they take.", bytes as f64);
    let uptime = app.metrics.uptime().as_secs_f64();
    one("itera_uptime_seconds", "Time since the start.", uptime);
    let adapting = app.adapter.progress().is_some();
    one(
        "itera_adapting",
        "1 while this server learns.",
        f64::from(u8::from(adapting)),
    );
    if let Some(guard) = app.adapter.guard() {
        let help =
            "Of the guarded text, in bits per byte, after the last adaptation of this server.";
        one("itera_guard_loss", help, guard.served);
        let help = "The same by the weights of the start.";
        one("itera_guard_base_loss", help, guard.base);
    }
    let adapt_after = f64::from(app.adapter.adapt_after);
    let help = "Negative feedback that triggers an adaptation; 0 if none does.";
    one("itera_adapt_after", help, adapt_after);
    if let Some(store) = &app.store {
        one(
            "itera_database_up",
            "1 while the database is read and written.",
            f64::from(u8::from(store.is_healthy())),
        );
    }
    if let Some(bytes) = Metrics::resident_bytes() {
        one(
            "process_resident_memory_bytes",
            "Resident memory.",
            bytes as f64,
        );
    }
    if let Some(counts) = counts {
        let (records, fresh) = (counts.records as f64, counts.new_negatives as f64);
        one(
            "itera_feedback_records",
            "Feedback in the database.",
            records,
        );
        one(
            "itera_new_negatives",
            "Negative feedback not learnt from, as far as it counts.",
            fresh,
        );
        one(
            "itera_adapt_candidates",
            "Candidates that wait for an operator.",
            counts.candidates as f64,
        );
        one(
            "itera_adapt_paused",
            "1 while an operator has paused learning.",
            f64::from(u8::from(counts.is_paused)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_json_gets_it_and_scrapers_get_text() {
        assert!(wants_json("application/json"));
        assert!(wants_json("application/json, text/plain, */*"));
        assert!(!wants_json("*/*"));
        assert!(!wants_json("text/plain"));
        assert!(!wants_json(
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1"
        ));
    }
}
