//! Who may do what. A route is made with what it [`Need`]s; without that it is none.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::App;
use crate::{
    client::{Client, client_of},
    keys::{Key, Right},
    options::Origins,
    problem::{Code, Problem},
};

/// What a request needs to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: probes come by any name of the server.
    Probe,
    /// As a probe, but with `--token-for-all` a key.
    Scrape,
    /// A known name of the server: pages and documents.
    Page,
    /// As a page, but with `--token-for-all` a key.
    Read,
    /// Generation: with `--token-for-all` a key that may infer.
    Infer,
    /// Feedback: the handler tells what may be done without a key that may give it.
    Rate,
    /// A key that may give feedback, if there are keys.
    Forget,
    /// A key that may operate, if there are keys.
    Operate,
}

impl Need {
    /// The right that a key must give; none if any key will do.
    const fn right(self) -> Option<Right> {
        match self {
            Self::Infer => Some(Right::Infer),
            Self::Rate | Self::Forget => Some(Right::Feedback),
            Self::Operate => Some(Right::Operate),
            Self::Probe | Self::Scrape | Self::Page | Self::Read => None,
        }
    }

    /// Whether a key must be shown, on a server with keys.
    const fn asks_for_key(self, token_for_all: bool) -> bool {
        match self {
            Self::Probe | Self::Page | Self::Rate => false,
            Self::Scrape | Self::Read | Self::Infer => token_for_all,
            Self::Forget | Self::Operate => true,
        }
    }

    /// Whether it changes what the model learns from, or the model.
    const fn changes(self) -> bool {
        matches!(self, Self::Rate | Self::Forget | Self::Operate)
    }

    /// Whether it counts for the rate limit, and is refused to pages of other origins.
    const fn is_work(self) -> bool {
        self.changes() || matches!(self, Self::Infer)
    }

    const fn takes_any_host(self) -> bool {
        matches!(self, Self::Probe | Self::Scrape)
    }
}

/// Refuses what may not be done; tells the handler who asks.
pub(super) async fn check(
    State((app, need)): State<(Arc<App>, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    match client(&app, need, &request) {
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn client(app: &App, need: Need, request: &Request) -> Result<Client, Problem> {
    let (settings, headers) = (&app.settings, request.headers());
    if !need.takes_any_host() && !host_is_ours(app, headers) {
        return Err(Problem::new(
            Code::UnknownHost,
            "the request is addressed to a name that is not this server's; see --allowed-host",
        ));
    }
    if need.is_work() && !origin_may(app, need, headers) {
        return Err(Problem::new(
            Code::CrossOrigin,
            "a web page of another origin may not do this; see --cors-origin",
        ));
    }
    if need.changes() && settings.keys.are_none() && is_forwarded(headers) {
        return Err(Problem::new(
            Code::ForwardedWithoutKey,
            "the request comes through a proxy, and a server without keys lets only its own machine do this; \
             see --token and --keys",
        ));
    }
    let address = client_of(&settings.args.limits.trusted_proxy, request);
    let key = key(app, need, address, headers)?;
    let client = Client { address, key };
    if need.is_work() {
        app.limits.request(&client)?;
    }
    Ok(client)
}

/// The key of a request, if it has a right one.
fn key(
    app: &App,
    need: Need,
    address: IpAddr,
    headers: &HeaderMap,
) -> Result<Option<Arc<Key>>, Problem> {
    let settings = &app.settings;
    let shown = bearer(headers);
    let key = shown.and_then(|shown| settings.keys.find(shown));
    let may = |key: &Arc<Key>| need.right().is_none_or(|right| key.may(right));
    if settings.keys.are_none() || !need.asks_for_key(settings.args.access.token_for_all) {
        // Clients of the OpenAI interface send some word where no key is needed.
        return Ok(key.filter(may));
    }
    match key {
        Some(key) if may(&key) => Ok(Some(key)),
        Some(key) => Err(Problem::new(
            Code::RoleMissing,
            format!("the key `{}` does not have the role for this", key.name),
        )),
        None => {
            if shown.is_some() {
                app.limits.wrong_key(address)?;
                tracing::warn!(client = %address, "a wrong key");
            }
            Err(unauthorized())
        }
    }
}

/// A key is missing, or is not one.
pub(super) fn unauthorized() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "this needs the header `Authorization: Bearer KEY` with a key of the server",
    )
}

/// A server without keys is for this machine. A name that resolves to it may belong to a web page, which would
/// then have the same origin; so only known names are served.
fn host_is_ours(app: &App, headers: &HeaderMap) -> bool {
    let allowed = &app.settings.args.access.allowed_host;
    if !app.settings.keys.are_none() && allowed.is_empty() {
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
    is_local || name.eq_ignore_ascii_case("localhost") || allowed.iter().any(known)
}

/// `host` of `host:port`; the brackets of IPv6 stay.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether the origin of a request is the server's own or a permitted one. Every page may use a server with
/// `--cors-any`, but what changes the model takes a key then, which a page does not have by itself.
fn origin_may(app: &App, need: Need, headers: &HeaderMap) -> bool {
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
        Origins::Any if !need.changes() || !app.settings.keys.are_none() => true,
        Origins::These(list) if list.contains(origin) => true,
        _ => own().unwrap_or(false),
    }
}

/// Whether a proxy says that it has passed the request on.
fn is_forwarded(headers: &HeaderMap) -> bool {
    let names = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
        "forwarded",
        "via",
    ];
    names.into_iter().any(|name| headers.contains_key(name))
}

/// What `Authorization: Bearer` shows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, shown) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| shown.trim())
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
    fn a_key_is_what_bearer_shows() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(with("Bearer secret").as_deref(), Some("secret"));
        assert_eq!(with("bearer  secret").as_deref(), Some("secret"));
        assert_eq!(with("Basic secret"), None);
        assert_eq!(with("secret"), None);
    }
}
