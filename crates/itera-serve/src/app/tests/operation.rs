//! Limits, health, metrics, documents.

use super::*;

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let server = Server::stuck("--queue 1 --timeout-seconds 1").await;
    let app = Arc::clone(&server.app);
    let body = json!({"input_text": "a"});
    let (first, second) = tokio::join!(post(&app, "/infer", &body), async {
        // After the first has taken the only place.
        while app.engine.load().0 == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(get(&app, "/health").await.status, StatusCode::OK);
        assert_eq!(get(&app, "/ready").await.status, StatusCode::OK);
        post(&app, "/infer", &body).await
    });
    assert_eq!(second.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.code(), "queue_full");
    assert_eq!(second.headers[header::RETRY_AFTER], "1");
    // Nobody writes, so the first is given up after its second.
    assert_eq!(first.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(first.code(), "timeout");
}

#[tokio::test]
async fn a_server_that_is_to_end_says_so_first() {
    let Server { app, dir: _dir } = Server::new("").await;
    assert_eq!(get(&app, "/ready").await.status, StatusCode::OK);
    app.ending.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(get(&app, "/ready").await.code(), "ending");
    assert_eq!(get(&app, "/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn requests_have_names_of_their_own_or_of_their_clients() {
    let Server { app, dir: _dir } = Server::new("").await;
    let named = |id: &'static str| {
        let request = Request::get("/health").header("x-request-id", id);
        send(&app, request.body(Body::empty()).unwrap())
    };
    assert_eq!(named("abc-1").await.headers["x-request-id"], "abc-1");
    for odd in ["a b", ""] {
        let id = named(odd).await.headers["x-request-id"].clone();
        assert_eq!(id.len(), 32, "{id:?}");
    }
}

#[tokio::test]
async fn a_handler_that_fails_is_answered_and_counted() {
    async fn fails() {
        panic!("as a test wants it");
    }
    let Server { app, dir: _dir } = Server::new("").await;
    let routes = axum::Router::new().route("/fails", axum::routing::get(fails));
    let routes = crate::app::layers::around(routes, &app).with_state(Arc::clone(&app));
    let request = Request::get("/fails").body(Body::empty()).unwrap();
    let response = routes.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(app.metrics.panics(), 1);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let Server { app, dir: _dir } = Server::new("").await;
    let before = get(&app, "/stats").await.json();
    assert_eq!(before["latency_ms"], Value::Null);
    let id = answered(&app).await;
    ok(
        &app,
        "/feedback",
        &json!({"feedback_id": id, "user_rating": 2}),
    )
    .await;
    post(&app, "/infer", &json!({})).await;
    let metrics = get(&app, "/stats").await.json();
    assert_eq!(metrics["requests"]["infer"], 2);
    assert_eq!(metrics["requests"]["failed"], 1);
    assert_eq!(metrics["requests"]["feedback"], 1);
    assert!(metrics["latency_ms"]["p99"].as_f64().unwrap() > 0.0);
    assert!(metrics["first_token_ms"]["p50"].as_f64().unwrap() > 0.0);
    assert_eq!(metrics["model"]["name"], "small");
    assert_eq!(metrics["model"]["precision"], "int8");
    assert_eq!(metrics["adaptive"]["feedback_records"], 1);
    assert_eq!(metrics["adaptive"]["new_negatives"], 1);
    assert_eq!(metrics["adaptive"]["recent_accuracy"], 0.0);
    assert_eq!(metrics["queue"]["slots"], 32);
    if cfg!(target_os = "linux") {
        assert!(metrics["memory_bytes"].as_u64().unwrap() > 1 << 20);
    }
}

#[tokio::test]
async fn prometheus_gets_its_form() {
    let Server { app, dir: _dir } = Server::new("").await;
    answered(&app).await;
    let asked = Request::get("/metrics").header(header::ACCEPT, "text/plain;version=0.0.4");
    let asked = send(&app, asked.body(Body::empty()).unwrap()).await;
    for reply in [asked, get(&app, "/metrics").await] {
        let kind = reply.headers[header::CONTENT_TYPE].to_str().unwrap();
        assert!(kind.starts_with("text/plain"), "{kind}");
        let text = reply.text();
        let wanted = "itera_requests_total{endpoint=\"infer\",status=\"2xx\"} 1\n";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("itera_request_seconds_count 1\n"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_have_a_problem_body() {
    let Server { app, dir: _dir } = Server::new("").await;
    assert_eq!(get(&app, "/nothing").await.code(), "not_found");
    let reply = get(&app, "/infer").await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(reply.headers[header::ALLOW], "POST");
    assert_eq!(reply.code(), "method_not_allowed");
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere() {
    let Server { app, dir: _dir } = Server::new("").await;
    for path in ["/", "/docs"] {
        let reply = get(&app, path).await;
        let policy = reply.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.contains("default-src 'none'"));
        let text = reply.text();
        assert!(text.starts_with("<!doctype html>"));
        let outside = text.match_indices("http").filter(|(at, _)| {
            let rest = &text[*at..];
            !rest.starts_with("http://www.w3.org/2000/svg")
        });
        assert_eq!(outside.count(), 0, "{path}");
    }
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let Server { app, dir: _dir } = Server::new("").await;
    let asked = Request::get("/").header(header::ACCEPT_ENCODING, "gzip");
    let reply = send(&app, asked.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.headers[header::CONTENT_ENCODING], "gzip");
    assert_eq!(&reply.body[..2], [0x1f, 0x8b]);
    // Not a stream, whose pieces would wait in the compressor.
    let stream = Request::post("/v1/completions")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT_ENCODING, "gzip")
        .body(Body::from("{\"prompt\": \"a\", \"stream\": true}"));
    let reply = send(&app, stream.unwrap()).await;
    assert!(!reply.headers.contains_key(header::CONTENT_ENCODING));
}

#[tokio::test]
async fn the_document_names_every_endpoint() {
    let Server { app, dir: _dir } = Server::new("").await;
    let document = get(&app, "/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let names: Vec<_> = paths.keys().map(String::as_str).collect();
    let refusals = &paths["/infer"]["post"]["responses"];
    assert!(
        refusals["429"]["content"]["application/problem+json"].is_object(),
        "{refusals}"
    );
    for path in [
        "/infer",
        "/feedback",
        "/metrics",
        "/stats",
        "/v1/chat/completions",
        "/v1/score",
        "/tokenize",
        "/detokenize",
        "/tokenizer_info",
        "/adapt",
        "/adapt/status",
        "/adapt/rollback",
        "/experiments",
        "/experiments/{id}",
        "/experiments/{id}/stop",
        "/adapt/{id}/approve",
        "/adapt/{id}/reject",
        "/adapt/pause",
        "/adapt/resume",
        "/feedback/{id}/exclude",
        "/health",
        "/ready",
        "/v1/completions",
        "/v1/models",
        "/models/load",
        "/models/unload",
        "/v1/sessions",
    ] {
        assert!(names.contains(&path), "{path} of {names:?}");
    }
    assert_eq!(
        serde_json::to_value(super::super::document()).unwrap(),
        document
    );
    let codes = document["x-problems"].as_array().unwrap();
    let busy = codes
        .iter()
        .find(|row| row["code"] == "queue_full")
        .unwrap();
    assert_eq!(busy["status"], 503);
    let described = refusals["503"]["description"].as_str().unwrap();
    assert!(described.contains("queue_full"), "{described}");
}

#[tokio::test]
async fn the_examples_of_the_document_can_be_sent() {
    let Server { app, dir: _dir } = Server::new("").await;
    let document = get(&app, "/openapi.json").await.json();
    let mut sent = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let body = &methods["post"]["requestBody"]["content"]["application/json"]["schema"];
        let Some(name) = body["$ref"]
            .as_str()
            .and_then(|name| name.rsplit('/').next())
        else {
            continue;
        };
        let example = &document["components"]["schemas"][name]["example"];
        if !example.is_object() {
            continue;
        }
        let reply = post(&app, path, example).await;
        // There is no answer of that id, and paths come in the order of their names: nano is loaded before.
        let code = if path.starts_with("/feedback") {
            404
        } else {
            200
        };
        let makes = ["/v1/sessions", "/experiments"].contains(&path.as_str());
        let code = if makes { 201 } else { code };
        assert_eq!(reply.status.as_u16(), code, "{path}: {}", reply.text());
        sent.push(path.as_str());
    }
    assert!(sent.len() >= 10, "{sent:?}");
}

#[tokio::test]
async fn problems_are_counted_by_code_and_waiting_by_time() {
    let Server { app, dir: _dir } = Server::new("").await;
    ok(
        &app,
        "/infer",
        &json!({"input_text": "ab", "max_length": 4}),
    )
    .await;
    post(
        &app,
        "/infer",
        &json!({"input_text": "ab", "max_length": 0}),
    )
    .await;
    get(&app, "/nothing").await;
    let metrics = get(&app, "/metrics").await.text();
    for line in [
        "itera_problems_total{code=\"invalid_value\"} 1",
        "itera_problems_total{code=\"not_found\"} 1",
        "itera_queue_seconds_count 1",
        "itera_token_seconds_count 1",
        "itera_cancelled_total 0",
    ] {
        assert!(
            metrics.contains(&format!("\n{line}\n")),
            "{line}: {metrics}"
        );
    }
}

#[tokio::test]
async fn prompts_are_looked_at_for_drift() {
    let Server { app, dir: _dir } = Server::new("").await;
    let infer = json!({"input_text": "ab cd", "max_length": 1});
    let stream = json!({"prompt": "ab cd", "max_tokens": 1, "stream": true});
    for (path, body, expected) in [("/infer", infer, 1), ("/v1/completions", stream, 2)] {
        let seen = async || {
            let stats = get(&app, "/stats").await.json();
            stats["quality"]["drift"]["prompts"].as_u64().unwrap()
        };
        while seen().await < expected {
            post(&app, path, &body).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    let metrics = get(&app, "/metrics").await.text();
    assert!(
        metrics.contains("\nitera_drift_alarms_total 0\n"),
        "{metrics}"
    );
    assert!(metrics.contains("\nitera_drift_score 0\n"), "{metrics}");
}

#[tokio::test]
async fn differences_have_an_interval_when_there_are_enough() {
    let Server { app, dir: _dir } = Server::new("").await;
    let version = Arc::clone(&app.models.first().weights().version);
    let kind = crate::metrics::Wanted::Corrected;
    for number in 0..29 {
        app.quality
            .note(&version, kind, f64::from(number % 3) - 2.0);
    }
    let stats = get(&app, "/stats").await.json();
    let row = &stats["quality"]["differences"][0];
    assert_eq!(
        (&row["texts"], &row["mean"]),
        (&json!(29), &Value::Null),
        "{row}"
    );
    let name = "itera_online_difference_bits_per_byte{kind=\"corrected\",bound=\"high\"} -";
    assert!(!get(&app, "/metrics").await.text().contains(name));
    app.quality.note(&version, kind, -2.0);
    let row = get(&app, "/stats").await.json()["quality"]["differences"][0].clone();
    let [low, mean, high] = ["low", "mean", "high"].map(|name| row[name].as_f64().unwrap());
    assert!(low < mean && mean < high && high < 0.0, "{row}");
    assert!(get(&app, "/metrics").await.text().contains(name));
}
