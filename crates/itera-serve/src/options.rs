//! The command line, checked: nothing below meets a contradictory value.

use std::{fs, time::Duration};

use anyhow::{Context as _, bail, ensure};
use axum::http::HeaderValue;

use crate::{
    adapt::LEASE_MS,
    args::{AccessArgs, Role, ServeArgs},
    keys::Keys,
};

/// The lease lasts some of them: a server that learns would lose it between two.
const MAX_POLL_MS_OF_LEARNER: u64 = LEASE_MS as u64 / 3;

/// Shortest token: guessing it takes longer than anybody has.
const MIN_TOKEN: usize = 16;

/// How the server is to run: the command line, and what had to be read for it.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) args: ServeArgs,
    pub(crate) keys: Keys,
    pub(crate) origins: Origins,
}

/// Web pages of which origins may use the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origins {
    /// Its own.
    Own,
    /// Its own and these.
    These(Vec<HeaderValue>),
    /// All.
    Any,
}

impl Settings {
    /// Checks what one argument alone does not tell.
    ///
    /// # Errors
    /// The first that cannot be, with its remedy.
    pub(crate) fn new(mut args: ServeArgs) -> anyhow::Result<Self> {
        let poll = args.adapt.poll_ms;
        ensure!(
            args.adapt.role != Role::Auto || poll <= MAX_POLL_MS_OF_LEARNER,
            "`--poll-ms` is {poll}, expected at most {MAX_POLL_MS_OF_LEARNER} for a server that learns; give \
             less, or another --role"
        );
        let access = &mut args.access;
        // A variable that is set to nothing names none.
        access.allowed_host.retain(|name| !name.is_empty());
        access.cors_origin.retain(|origin| !origin.is_empty());
        let keys = Keys::new(access.keys.clone(), token(access)?.as_deref())?;
        ensure!(
            !access.token_for_all || !keys.are_none(),
            "`--token-for-all` asks for keys, and there are none; give `--token TOKEN` or `--keys FILE`"
        );
        ensure!(
            args.host.is_loopback() || !keys.are_none(),
            "`--host {}` is reached from other machines, and without a token anybody there could change \
             the model; give `--token TOKEN` (or ITERA_TOKEN) or `--keys FILE`, or listen on 127.0.0.1",
            args.host
        );
        let given = access.cors_origin.iter().map(|given| origin(given));
        let given = given.collect::<Result<Vec<_>, _>>()?;
        let origins = if access.cors_any {
            Origins::Any
        } else if given.is_empty() {
            Origins::Own
        } else {
            Origins::These(given)
        };
        Ok(Self {
            args,
            keys,
            origins,
        })
    }

    /// Longest that a request may take.
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_secs(self.args.limits.timeout_seconds)
    }
}

/// The operator's token, as given or from its file.
fn token(access: &AccessArgs) -> anyhow::Result<Option<String>> {
    let (option, token) = match (&access.token, &access.token_file) {
        (Some(token), _) => ("--token", token.0.clone()),
        (None, Some(file)) => {
            let read = fs::read_to_string(file)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            ("--token-file", read.trim().to_owned())
        }
        (None, None) => return Ok(None),
    };
    let fits = token.len() >= MIN_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(
        fits,
        "the token of `{option}` has fewer than {MIN_TOKEN} characters, or others than ASCII letters, digits \
         and signs; give a random one, for example of `openssl rand -hex 16`"
    );
    Ok(Some(token))
}

/// `https://host` or `https://host:port`, as browsers send it.
fn origin(text: &str) -> anyhow::Result<HeaderValue> {
    let authority = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match authority {
        Some(authority) if !authority.is_empty() && !authority.contains('/') => {
            HeaderValue::from_str(text).with_context(|| format!("`--cors-origin {text}`"))
        }
        _ => bail!(
            "`--cors-origin {text}` is no origin, expected `https://HOST` or `http://HOST:PORT` without a path"
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::Args;

    fn settings(line: &str) -> anyhow::Result<Settings> {
        let words = ["itera-serve"].into_iter().chain(line.split_whitespace());
        Settings::new(Args::try_parse_from(words)?.serve)
    }

    fn refusal(line: &str) -> String {
        format!("{:#}", settings(line).unwrap_err())
    }

    #[test]
    fn the_defaults_are_those_of_the_documents() {
        let settings = settings("").unwrap();
        assert!(settings.args.host.is_loopback());
        assert_eq!(
            (settings.args.port, settings.args.limits.rate_limit),
            (8000, 100)
        );
        assert_eq!(settings.origins, Origins::Own);
        assert!(settings.keys.are_none());
    }

    #[test]
    fn a_public_address_needs_a_token() {
        assert!(refusal("--host 0.0.0.0").contains("--token"));
        assert!(refusal("--host ::").contains("--token"));
        assert!(settings("--host 0.0.0.0 --token 0123456789abcdef").is_ok());
        assert!(settings("--host ::1").is_ok());
        assert!(refusal("--token short").contains("16 characters"));
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (line, name) in [
            ("--workers 0", "--workers"),
            ("--slots 0", "--slots"),
            ("--max-body-bytes 5", "--max-body-bytes"),
            ("--max-prompt-bytes 0", "--max-prompt-bytes"),
            ("--timeout-seconds 0", "--timeout-seconds"),
            ("--poll-ms 1", "--poll-ms"),
            ("--max-connections 0", "--max-connections"),
            ("--token-for-all", "--token-for-all"),
            ("--trusted-proxy 10.0.0.0/40", "--trusted-proxy"),
            ("--cors-origin example.org", "--cors-origin"),
            ("--cors-origin https://example.org/path", "--cors-origin"),
        ] {
            assert!(refusal(line).contains(name), "{line}");
        }
    }
}
