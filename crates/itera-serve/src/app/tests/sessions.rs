//! `/v1/sessions`, and completions that name one.

use std::collections::BTreeMap;

use super::*;

/// Sends a request without a body.
async fn send_empty(app: &Arc<App>, method: Method, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(path);
    send(app, request.body(Body::empty()).unwrap()).await
}

async fn open(app: &Arc<App>, body: Value) -> Value {
    let reply = post(app, "/v1/sessions", &body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    reply.json()
}

async fn fork(app: &Arc<App>, id: &str) -> Value {
    let reply = send_empty(app, Method::POST, &format!("/v1/sessions/{id}/fork")).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    reply.json()
}

fn id(session: &Value) -> &str {
    session["id"].as_str().unwrap()
}

/// A greedy answer of five letters.
fn letters(prompt: &str) -> Value {
    let bias: BTreeMap<String, i32> = (b'a'..=b'z')
        .map(|letter| (letter.to_string(), 100))
        .collect();
    json!({"prompt": prompt, "max_tokens": 5, "temperature": 0, "logprobs": 3, "logit_bias": bias})
}

/// What a session is asked for.
fn asks(session: &Value, prompt: &str) -> Value {
    let mut body = letters(prompt);
    body["session"] = session["id"].clone();
    body
}

/// An answer by its text and the probabilities of its tokens.
fn answer(reply: &Value) -> (String, Value) {
    let choice = &reply["choices"][0];
    let text = choice["text"].as_str().unwrap().to_owned();
    (text, choice["logprobs"]["token_logprobs"].clone())
}

#[tokio::test]
async fn a_session_goes_on_as_if_all_was_read_anew() {
    let Server { app, dir: _dir } = Server::new("").await;
    let session = open(&app, json!({"prompt": "Once upon"})).await;
    let mut text = "Once upon".to_owned();
    for added in [" a time", "", " and then"] {
        let going_on = ok(&app, "/v1/completions", &asks(&session, added)).await;
        text.push_str(added);
        let anew = ok(&app, "/v1/completions", &letters(&text)).await;
        assert_eq!(answer(&going_on), answer(&anew), "{text}");
        assert_eq!(going_on["usage"]["prompt_tokens"], added.len());
        assert_eq!(going_on["choices"][0]["feedback_id"], Value::Null);
        text.push_str(&answer(&anew).0);
    }
    let path = format!("/v1/sessions/{}", id(&session));
    let now = get(&app, &path).await.json();
    // A token of this model is a byte.
    assert_eq!(now["tokens"], 9 + 7 + 9 + 3 * 5);
    assert_eq!(
        now["weights_version"],
        *app.models.first().base.weights.version
    );
    let metrics = get(&app, "/metrics").await.text();
    assert!(metrics.contains("\nitera_sessions 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_fork_leaves_the_other_where_it_stands() {
    let Server { app, dir: _dir } = Server::new("").await;
    let first = open(&app, json!({"prompt": "ab", "model": "int8"})).await;
    let second = fork(&app, id(&first)).await;
    assert_eq!(
        (&second["tokens"], &second["precision"]),
        (&json!(2), &json!("int8"))
    );
    let one = ok(&app, "/v1/completions", &asks(&first, "c")).await;
    ok(&app, "/v1/completions", &asks(&first, "d")).await;
    let other = ok(&app, "/v1/completions", &asks(&second, "c")).await;
    assert_eq!(answer(&one), answer(&other));
    let path = format!("/v1/sessions/{}", id(&first));
    assert_eq!(
        send_empty(&app, Method::DELETE, &path).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(get(&app, &path).await.code(), "session_not_found");
    ok(&app, "/v1/completions", &asks(&second, "c")).await;
}

#[tokio::test]
async fn a_stream_moves_the_session_too() {
    let Server { app, dir: _dir } = Server::new("").await;
    let session = open(&app, json!({})).await;
    assert_eq!(session["tokens"], 0);
    let mut body = asks(&session, "a");
    body["stream"] = json!(true);
    let stream = post(&app, "/v1/completions", &body).await;
    assert!(
        stream.text().ends_with("data: [DONE]\n\n"),
        "{}",
        stream.text()
    );
    let now = get(&app, &format!("/v1/sessions/{}", id(&session)))
        .await
        .json();
    assert_eq!(now["tokens"], 6);
}

#[tokio::test]
async fn a_session_belongs_to_who_began_it_and_to_one_request_at_a_time() {
    let Server { app, dir: _dir } = Server::new("").await;
    let session = open(&app, json!({"prompt": "ab"})).await;
    let entry = app.sessions.size();
    assert_eq!(entry.0, 1);
    let owner = crate::client::ClientId::Network("127.0.0.1".parse().unwrap());
    let (_, lease) = app.sessions.lease(&owner, id(&session)).unwrap();
    let busy = post(&app, "/v1/completions", &asks(&session, "c")).await;
    assert_eq!(
        (busy.status, busy.code()),
        (StatusCode::CONFLICT, "session_busy".to_owned())
    );
    drop(lease);
    ok(&app, "/v1/completions", &asks(&session, "c")).await;
    let other = crate::client::ClientId::Network("10.0.0.1".parse().unwrap());
    assert!(app.sessions.lease(&other, id(&session)).is_err());
}

#[tokio::test]
async fn the_oldest_sessions_make_room() {
    let Server { app, dir: _dir } = Server::new("--session-mb 1 --rate-limit 0").await;
    let mut sessions = vec![open(&app, json!({"prompt": "ab"})).await];
    let bytes = sessions[0]["bytes"].as_u64().unwrap() as usize;
    while app.sessions.size().0 == sessions.len() {
        sessions.push(open(&app, json!({"prompt": "ab"})).await);
    }
    let (left, held) = app.sessions.size();
    assert!(left == sessions.len() - 1 && held == left * bytes && held <= 1_000_000);
    let code = |session: &Value| {
        let path = format!("/v1/sessions/{}", id(session));
        let app = Arc::clone(&app);
        async move { get(&app, &path).await.status }
    };
    assert_eq!(code(&sessions[0]).await, StatusCode::NOT_FOUND);
    assert_eq!(code(&sessions[1]).await, StatusCode::OK);
}

#[tokio::test]
async fn a_client_with_many_sessions_makes_room_for_others() {
    let Server { app, dir: _dir } = Server::new("--session-mb 1 --rate-limit 0").await;
    let first = open(&app, json!({"prompt": "ab"})).await;
    let [me, other] = ["127.0.0.1", "10.0.0.1"]
        .map(|address| crate::client::ClientId::Network(address.parse().unwrap()));
    let (session, lease) = app.sessions.lease(&me, id(&first)).unwrap();
    drop(lease);
    let body = app
        .sessions
        .open(other.clone(), session.clone(), None, &app.models)
        .unwrap();
    let theirs = serde_json::to_value(body).unwrap();
    let mut opened = 2;
    while app.sessions.size().0 == opened {
        app.sessions
            .open(me.clone(), session.clone(), None, &app.models)
            .unwrap();
        opened += 1;
    }
    assert!(app.sessions.lease(&other, id(&theirs)).is_ok());
    assert!(app.sessions.lease(&me, id(&first)).is_err());
}

#[tokio::test]
async fn what_no_session_can_do_is_named() {
    let Server { app, dir: _dir } = Server::new("").await;
    let session = open(&app, json!({"prompt": "ab", "model": "int8"})).await;
    for (field, value, code) in [
        ("n", json!(2), "invalid_value"),
        ("prompt", json!(["a", "b"]), "invalid_value"),
        ("echo", json!(true), "invalid_value"),
        ("model", json!("fp32"), "invalid_value"),
        ("session", json!("sess-other"), "session_not_found"),
    ] {
        let mut body = asks(&session, "c");
        body[field] = value;
        let reply = post(&app, "/v1/completions", &body).await;
        assert_eq!(reply.code(), code, "{field}: {}", reply.text());
    }
    for (body, code) in [
        (json!({"prompt": ["a", "b"]}), "invalid_value"),
        (json!({"model": "other"}), "model_not_found"),
        (json!({"text": "a"}), "invalid_value"),
    ] {
        assert_eq!(
            post(&app, "/v1/sessions", &body).await.code(),
            code,
            "{body}"
        );
    }
    // Nothing of that has moved it, and it is free.
    let now = get(&app, &format!("/v1/sessions/{}", id(&session)))
        .await
        .json();
    assert_eq!(now["tokens"], 2);
    ok(&app, "/v1/completions", &asks(&session, "c")).await;
    let Server { app, dir: _dir } = Server::new("--session-mb 0").await;
    let reply = post(&app, "/v1/sessions", &json!({})).await;
    assert_eq!(
        (reply.status, reply.code()),
        (StatusCode::NOT_IMPLEMENTED, "no_sessions".to_owned())
    );
}
