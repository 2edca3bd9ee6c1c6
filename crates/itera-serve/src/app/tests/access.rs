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

#[tokio::test]
async fn the_token_guards_what_changes_the_model() {
    let Server { app, dir: _dir } = Server::new("--token 0123456789abcdef").await;
    for path in ["/feedback", "/adapt", "/adapt/rollback"] {
        for headers in [&[][..], &[("authorization", "Bearer 0123456789abcdeF")]] {
            let reply = send(&app, request(path, headers)).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(reply.headers[header::WWW_AUTHENTICATE], "Bearer");
            assert_eq!(reply.code(), "unauthorized");
        }
        let with = [("authorization", "Bearer 0123456789abcdef")];
        let reply = send(&app, request(path, &with)).await;
        assert_ne!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(
        send(&app, request("/infer", &[])).await.status,
        StatusCode::OK
    );
    assert_eq!(get(&app, "/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_token_may_guard_everything() {
    let Server { app, dir: _dir } = Server::new("--token 0123456789abcdef --token-for-all").await;
    assert_eq!(
        send(&app, request("/infer", &[])).await.code(),
        "unauthorized"
    );
    assert_eq!(get(&app, "/metrics").await.code(), "unauthorized");
    for path in ["/", "/docs", "/health", "/ready"] {
        assert_eq!(get(&app, path).await.status, StatusCode::OK, "{path}");
    }
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
