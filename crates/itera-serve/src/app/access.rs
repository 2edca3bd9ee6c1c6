//! Who may do what: the token, and that no web page of another origin uses a server that its visitor
//! happens to run.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

use super::App;
use crate::{options::Origins, problem::Problem};

/// Paths that change the model or what it learns from.
const CHANGING: [&str; 3] = ["/feedback", "/adapt", "/adapt/rollback"];

/// Paths that are open even if all else needs the token: they tell nothing of a session.
const PUBLIC: [&str; 6] = [
    "/",
    "/docs",
    "/openapi.json",
    "/health",
    "/v1/health",
    "/ready",
];

/// Refuses what may not be done.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match refusal(&app, &request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(app: &App, request: &Request) -> Option<Problem> {
    let headers = request.headers();
    if !host_is_ours(app, headers) {
        return Some(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown_host",
            "the request is addressed to a name that is not this server's; see --allowed-host",
        ));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !origin_may(app, headers) {
        return Some(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_origin",
            "a web page of another origin may not do this; see --cors-origin",
        ));
    }
    let path = request.uri().path();
    let settings = &app.settings;
    let guarded = CHANGING.contains(&path) || (settings.token_for_all && !PUBLIC.contains(&path));
    if let Some(token) = settings.token.as_deref().filter(|_| guarded)
        && !has_token(headers, token)
    {
        return Some(Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this needs the header `Authorization: Bearer TOKEN` with the token of the server",
        ));
    }
    None
}

/// A server without a token is for this machine. A name that resolves to it may belong to a web page,
/// which would then have the same origin; so only known names are served.
fn host_is_ours(app: &App, headers: &HeaderMap) -> bool {
    let settings = &app.settings;
    if settings.token.is_some() && settings.allowed_hosts.is_empty() {
        return true;
    }
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = without_port(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = bare
        .parse()
        .is_ok_and(|address: IpAddr| address.is_loopback());
    let known = |allowed: &String| allowed.eq_ignore_ascii_case(name);
    is_local || name.eq_ignore_ascii_case("localhost") || settings.allowed_hosts.iter().any(known)
}

/// `host` of `host:port`; the brackets of IPv6 stay.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether the origin of a request that changes something is the server's own or a permitted one.
fn origin_may(app: &App, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let own = || {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let origin = origin.to_str().ok()?;
        let (_, authority) = origin.split_once("://")?;
        Some(authority.eq_ignore_ascii_case(host))
    };
    match &app.settings.origins {
        Origins::Any => true,
        Origins::These(list) if list.contains(origin) => true,
        _ => own().unwrap_or(false),
    }
}

/// Compares digests, so that the time it takes tells nothing of the token.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let value = headers.get(header::AUTHORIZATION);
    let Some(given) = value.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let Some((scheme, given)) = given.split_once(' ') else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && Sha256::digest(given.trim()) == Sha256::digest(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_taken_off() {
        assert_eq!(without_port("localhost:8000"), "localhost");
        assert_eq!(without_port("localhost"), "localhost");
        assert_eq!(without_port("[::1]:8000"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
    }

    #[test]
    fn a_token_is_the_whole_of_it() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            has_token(&headers, "secret")
        };
        assert!(with("Bearer secret") && with("bearer secret"));
        assert!(!with("Bearer secre") && !with("Bearer secrets") && !with("Basic secret"));
        assert!(!with("secret") && !has_token(&HeaderMap::new(), "secret"));
    }
}
