//! Who may do what: token, origins, hosts, rate.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;

use super::*;

fn request(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if path == "/infer" {
        "{\"input_text\": \"a\", \"max_length\": 1}"
    } else {
        "{}"
    };
    request.body(Body::from(body)).unwrap()
}

/// What takes the role of the operator, as far as nothing has to be loaded.
const OPERATE: [&str; 9] = [
    "/adapt",
    "/adapt/rollback",
    "/adapt/pause",
    "/adapt/resume",
    "/adapt/x/approve",
    "/adapt/x/reject",
    "/feedback/x/exclude",
    "/experiments",
    "/experiments/x/stop",
];

const TOKEN: &str = "--token 0123456789abcdef";

const WITH_TOKEN: [(&str, &str); 1] = [("authorization", "Bearer 0123456789abcdef")];

/// Whether a request to learn gets as far as its handler, which has nothing to learn from.
async fn is_let_in(app: &Arc<App>, headers: &[(&str, &str)]) -> bool {
    let code = send(app, request("/adapt", headers)).await.code();
    ["no_feedback", "does_not_learn"].contains(&code.as_str())
}

#[tokio::test]
async fn the_token_guards_what_changes_the_model() {
    let Server { app, dir: _dir } = Server::new(TOKEN).await;
    for path in OPERATE {
        for headers in [&[][..], &[("authorization", "Bearer 0123456789abcdeF")]] {
            let reply = send(&app, request(path, headers)).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(reply.headers[header::WWW_AUTHENTICATE], "Bearer");
            assert_eq!(reply.code(), "unauthorized");
        }
        let reply = send(&app, request(path, &WITH_TOKEN)).await;
        assert_ne!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let forget = Request::delete("/feedback/x").body(Body::empty()).unwrap();
    assert_eq!(send(&app, forget).await.code(), "unauthorized");
    // Clients of the OpenAI interface send some word.
    for headers in [&[][..], &[("authorization", "Bearer none")]] {
        let reply = send(&app, request("/infer", headers)).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
    assert_eq!(get(&app, "/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_token_may_guard_everything() {
    let Server { app, dir: _dir } = Server::new(&format!("{TOKEN} --token-for-all")).await;
    let document = get(&app, "/openapi.json").await.json();
    // Every path of the document is either for all or refused: a new one cannot be forgotten.
    let open = [
        "/",
        "/docs",
        "/openapi.json",
        "/health",
        "/v1/health",
        "/ready",
        "/feedback",
    ];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let asked = Request::builder()
                .method(&method)
                .uri(path.replace(['{', '}'], ""));
            let reply = send(&app, asked.body(Body::empty()).unwrap()).await;
            let is_open = reply.status != StatusCode::UNAUTHORIZED;
            assert_eq!(is_open, open.contains(&path.as_str()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_id_gives_the_right_to_rate_its_answer_once() {
    let Server { app, dir: _dir } = Server::new(TOKEN).await;
    let id = answered(&app).await;
    let body = json!({"feedback_id": id, "user_rating": 1});
    assert_eq!(ok(&app, "/feedback", &body).await["status"], "recorded");
    assert_eq!(post(&app, "/feedback", &body).await.code(), "unauthorized");
    let mut again = request("/feedback", &WITH_TOKEN);
    *again.body_mut() = Body::from(body.to_string());
    assert_eq!(send(&app, again).await.json()["status"], "updated");
}

#[tokio::test]
async fn keys_have_roles_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    let key = |name: &str, roles: &str, more: &str| {
        let sha256 = itera_core::digest::sha256_hex(name.as_bytes());
        format!("{{\"name\": \"{name}\", \"sha256\": \"{sha256}\", \"roles\": [{roles}]{more}}}")
    };
    let keys = [
        key("web", "\"infer\"", ", \"requests_per_minute\": 2"),
        key("small", "\"infer\"", ", \"tokens_per_minute\": 10"),
        key("ops", "\"operate\"", ""),
        key("site", "\"feedback\"", ", \"feedback_records\": 2"),
    ];
    std::fs::write(&file, format!("{{\"keys\": [{}]}}", keys.join(", "))).unwrap();
    let line = format!("--token-for-all --keys {}", file.display());
    let Server { app, dir: _dir } = Server::new(&line).await;
    let ask = async |path: &str, key: &str| {
        let bearer = format!("Bearer {key}");
        send(&app, request(path, &[("authorization", &bearer)])).await
    };
    assert_eq!(ask("/infer", "ops").await.code(), "role_missing");
    assert_eq!(ask("/adapt", "web").await.code(), "role_missing");
    assert_ne!(ask("/adapt", "ops").await.code(), "role_missing");
    for path in ["/adapt/pause", "/adapt/x/approve", "/feedback/x/exclude"] {
        assert_eq!(ask(path, "site").await.code(), "role_missing", "{path}");
    }
    for status in [200, 200, 429] {
        assert_eq!(ask("/infer", "web").await.status.as_u16(), status);
    }
    // A request of two tokens at most, five times.
    for status in [200, 200, 200, 200, 200, 429] {
        assert_eq!(ask("/infer", "small").await.status.as_u16(), status);
    }
}

#[tokio::test]
async fn wrong_keys_are_slowed_and_right_ones_are_not() {
    let Server { app, dir: _dir } = Server::new(TOKEN).await;
    let wrong = [("authorization", "Bearer wrong")];
    for _ in 0..10 {
        let reply = send(&app, request("/adapt", &wrong)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
    let reply = send(&app, request("/adapt", &wrong)).await;
    assert_eq!(reply.code(), "rate_limited");
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
    assert!(is_let_in(&app, &WITH_TOKEN).await);
}

#[tokio::test]
async fn without_keys_a_proxy_does_not_change_the_model() {
    let Server { app, dir: _dir } = Server::new("").await;
    for name in ["x-forwarded-for", "forwarded", "via", "x-real-ip"] {
        let headers = [("host", "127.0.0.1:8000"), (name, "203.0.113.9")];
        for path in OPERATE.into_iter().chain(["/feedback"]) {
            let reply = send(&app, request(path, &headers)).await;
            assert_eq!(reply.code(), "forwarded_without_key", "{path} {name}");
        }
        let reply = send(&app, request("/infer", &headers)).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
    let Server { app, dir: _dir } = Server::new(TOKEN).await;
    let headers = [("x-forwarded-for", "203.0.113.9"), WITH_TOKEN[0]];
    assert!(is_let_in(&app, &headers).await);
}

#[tokio::test]
async fn probes_come_by_any_name() {
    let Server { app, dir: _dir } = Server::new("--allowed-host model.test").await;
    for (path, status) in [
        ("/health", 200),
        ("/ready", 200),
        ("/metrics", 200),
        ("/stats", 200),
        ("/", 421),
        ("/adapt/status", 421),
    ] {
        let asked = Request::get(path).header("host", "10.1.2.3:8000");
        let reply = send(&app, asked.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status.as_u16(), status, "{path}");
    }
    // A variable that is set to nothing names none.
    let Server { app, dir: _dir } = Server::new(&format!("{TOKEN} --allowed-host=")).await;
    let reply = send(&app, request("/infer", &[("host", "model.example")])).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_unless_permitted() {
    let strange = [
        ("origin", "https://example.org"),
        ("host", "localhost:8000"),
    ];
    let own = [
        ("origin", "http://localhost:8000"),
        ("host", "localhost:8000"),
    ];
    let Server { app, dir: _dir } = Server::new("").await;
    let reply = send(&app, request("/infer", &strange)).await;
    assert_eq!(reply.code(), "cross_origin");
    assert!(
        !reply
            .headers
            .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    );
    assert_eq!(
        send(&app, request("/infer", &own)).await.status,
        StatusCode::OK
    );
    assert_eq!(
        send(&app, request("/infer", &[("origin", "null")]))
            .await
            .code(),
        "cross_origin"
    );
    for (line, allowed) in [
        ("--cors-origin https://example.org", "https://example.org"),
        ("--cors-any", "*"),
    ] {
        let Server { app, dir: _dir } = Server::new(line).await;
        let reply = send(&app, request("/infer", &strange)).await;
        assert_eq!(reply.status, StatusCode::OK, "{line}");
        assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], allowed);
        let preflight = Request::options("/infer")
            .header(header::ORIGIN, "https://example.org")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
        let reply = send(&app, preflight.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::OK, "{line}");
        assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], allowed);
    }
}

#[tokio::test]
async fn no_page_changes_the_model_without_a_key() {
    let page = [
        ("origin", "https://evil.example"),
        ("host", "localhost:8000"),
    ];
    let Server { app, dir: _dir } = Server::new("--cors-any").await;
    for path in OPERATE.into_iter().chain(["/feedback"]) {
        let reply = send(&app, request(path, &page)).await;
        assert_eq!(reply.code(), "cross_origin", "{path}");
    }
    let Server { app, dir: _dir } = Server::new(&format!("--cors-any {TOKEN}")).await;
    assert!(is_let_in(&app, &[page[0], page[1], WITH_TOKEN[0]]).await);
}

#[tokio::test]
async fn names_that_are_not_the_servers_are_refused() {
    let Server { app, dir: _dir } = Server::new("--allowed-host model.test").await;
    for (host, status) in [
        ("evil.example:8000", 421),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("model.test:80", 200),
        ("notlocalhost", 421),
    ] {
        let reply = send(&app, request("/infer", &[("host", host)])).await;
        assert_eq!(reply.status.as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn each_client_has_its_own_limit() {
    let Server { app, dir: _dir } = Server::new("--rate-limit 3 --trusted-proxy 127.0.0.1").await;
    // One router for all, since the limit lives in it.
    let router = router(Arc::clone(&app));
    let ask = |forwarded: &'static str| {
        let mut request = request("/infer", &[("x-forwarded-for", forwarded)]);
        let peer: SocketAddr = "127.0.0.1:5000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    };
    for _ in 0..3 {
        assert_eq!(ask("192.0.2.1").await.unwrap().status(), StatusCode::OK);
    }
    let refused = ask("192.0.2.1").await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait = refused.headers()[header::RETRY_AFTER].to_str().unwrap();
    assert!((1..=20).contains(&wait.parse::<u64>().unwrap()), "{wait}");
    assert_eq!(ask("192.0.2.2").await.unwrap().status(), StatusCode::OK);
    // What only reads is not limited: the page asks every other second.
    for _ in 0..10 {
        assert_eq!(get(&app, "/metrics").await.status, StatusCode::OK);
    }
}
