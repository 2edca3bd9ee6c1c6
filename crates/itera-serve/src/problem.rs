//! What a client is told when something is wrong: one body for every endpoint.
//!
//! The body is a problem document (RFC 9457) with a stable `code`, and has the `error` object that
//! clients of the OpenAI interface read.

mod code;

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

pub(crate) use self::code::Code;
use crate::store::StoreError;

/// Why a request was not done.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// Usually that of the code.
    status: StatusCode,
    code: Code,
    message: String,
    param: Option<&'static str>,
    retry_after_s: Option<u64>,
}

/// The body of every answer of 400 and above.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// `urn:itera:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// Words for the status.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong, for programs: the same words for ever.
    code: String,
    /// What is wrong, and what to do about it, for people.
    message: String,
    /// The same for clients of the OpenAI interface.
    error: ErrorObject,
}

/// The error as OpenAI's clients expect it.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorObject {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field at fault, if it is one.
    param: Option<&'static str>,
    code: String,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            code,
            message: message.into(),
            param: None,
            retry_after_s: None,
        }
    }

    /// A field has a value that it cannot have.
    pub(crate) fn field(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param),
            ..Self::new(Code::InvalidValue, message)
        }
    }

    /// Too much work waits already.
    pub(crate) fn busy() -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(
                Code::QueueFull,
                "all slots are taken and the queue is full; try again in a second",
            )
        }
    }

    /// The database does not answer; nothing was stored.
    pub(crate) fn store(error: &StoreError) -> Self {
        tracing::error!(error = %error, "the database failed");
        Self {
            retry_after_s: Some(5),
            ..Self::new(
                Code::StoreUnavailable,
                "the database cannot be used now, and nothing was stored; try again",
            )
        }
    }

    /// The server stores nothing.
    pub(crate) fn no_database() -> Self {
        Self::new(
            Code::NoDatabase,
            "this server was started with `--database none`: it stores nothing and learns nothing",
        )
    }

    /// A fault of the server, told in full to its log only.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed inside the server");
        Self::new(Code::Internal, "the server failed; its log says why")
    }

    /// Asks for a pause before the next try.
    pub(crate) const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    fn body(&self) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:itera:problem:{}", self.code.name()),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code.name().to_owned(),
            message: self.message.clone(),
            error: ErrorObject {
                message: self.message.clone(),
                kind: if self.status.is_server_error() {
                    "server_error"
                } else {
                    "invalid_request_error"
                },
                param: self.param,
                code: self.code.name().to_owned(),
            },
        }
    }

    /// The body as an event of a stream that has begun.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(&self.body()).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::store(&error)
    }
}

/// A JSON body; what is wrong with one is told as a [`Problem`].
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let rejected = match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => return Ok(Self(value)),
            Err(rejected) => rejected,
        };
        let (status, message) = (rejected.status(), rejected.body_text());
        Err(match (&rejected, status) {
            (_, StatusCode::PAYLOAD_TOO_LARGE) => Problem::new(
                Code::BodyTooLarge,
                "the body is larger than the server permits (--max-body-bytes)",
            ),
            (JsonRejection::JsonDataError(_), _) => Problem::new(Code::InvalidValue, message),
            (JsonRejection::MissingJsonContentType(_), _) => Problem::new(
                Code::NotJson,
                "expected a body of JSON with the header `Content-Type: application/json`",
            ),
            _ => Problem::new(Code::MalformedJson, message),
        })
    }
}

/// Gives a problem body to refusals that came without one: from layers, or for unknown paths.
pub(crate) async fn complete(response: Response) -> Response {
    let status = response.status();
    let has_body = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/"));
    if has_body || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (code, message) = match status {
        StatusCode::NOT_FOUND => (Code::NotFound, "there is nothing at this path; see /docs"),
        StatusCode::METHOD_NOT_ALLOWED => (
            Code::MethodNotAllowed,
            "this path has no such method; see /docs",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => (
            Code::BodyTooLarge,
            "the body is larger than the server permits (--max-body-bytes)",
        ),
        StatusCode::TOO_MANY_REQUESTS => (
            Code::RateLimited,
            "too many requests from this address; wait as long as Retry-After says",
        ),
        StatusCode::GATEWAY_TIMEOUT => (
            Code::Timeout,
            "the request took too long; ask for fewer tokens, or try again",
        ),
        _ if status.is_server_error() => (Code::Internal, "the server failed; its log says why"),
        _ => (Code::Refused, "the request cannot be served"),
    };
    let mut problem = Problem::new(code, message);
    problem.status = status;
    let problem = problem.into_response();
    let (mut parts, _) = response.into_parts();
    let (new, body) = problem.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(new.headers);
    parts.extensions.extend(new.extensions);
    Response::from_parts(parts, body)
}
