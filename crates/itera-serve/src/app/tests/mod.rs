//! The whole interface through the router, without a socket.

mod access;
mod adapt;
#[cfg(feature = "adapt")]
mod canary;
mod chat;
mod completions;
mod deployment;
mod experiments;
mod feedback;
mod hours;
mod infer;
mod models;
mod monitoring;
mod operation;
mod random_bodies;
mod score;
mod sessions;

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{App, router};
use crate::fixture::Server;

/// An answer as a client sees it.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The code of a problem; every refusal must have the same body.
    fn code(&self) -> String {
        let body = self.json();
        let kind = &self.headers[header::CONTENT_TYPE];
        assert_eq!(kind, "application/problem+json", "{body}");
        assert_eq!(body["status"], self.status.as_u16(), "{body}");
        let (code, message) = (body["code"].as_str().unwrap(), &body["message"]);
        assert_eq!(body["type"], format!("urn:itera:problem:{code}"));
        assert!(
            message.as_str().is_some_and(|message| message.len() > 10),
            "{body}"
        );
        assert_eq!(body["error"]["message"], *message);
        assert_eq!(body["error"]["code"], code);
        code.to_owned()
    }
}

/// Sends a request through the router.
async fn send(app: &Arc<App>, request: Request<Body>) -> Reply {
    let response = router(Arc::clone(app)).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Reply {
        status: parts.status,
        headers: parts.headers,
        body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
    }
}

async fn get(app: &Arc<App>, path: &str) -> Reply {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post(app: &Arc<App>, path: &str, body: &Value) -> Reply {
    post_bytes(app, path, body.to_string().into_bytes()).await
}

async fn post_bytes(app: &Arc<App>, path: &str, body: Vec<u8>) -> Reply {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json");
    send(app, request.body(Body::from(body)).unwrap()).await
}

/// A request that must succeed.
async fn ok(app: &Arc<App>, path: &str, body: &Value) -> Value {
    let reply = post(app, path, body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()
}

/// How many tokens were read and written.
fn tokens_of(usage: &Value) -> [u64; 2] {
    ["prompt_tokens", "completion_tokens"].map(|name| usage[name].as_u64().unwrap())
}

/// Writes something and gives the id for feedback.
async fn answered(app: &Arc<App>) -> String {
    let body = json!({"input_text": "ab", "max_length": 4});
    let id = ok(app, "/infer", &body).await["feedback_id"].clone();
    id.as_str().unwrap().to_owned()
}
