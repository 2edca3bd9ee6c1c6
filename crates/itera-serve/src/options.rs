//! The command line, checked: nothing below meets a contradictory value.

use std::{fs, net::SocketAddr, num::NonZero, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use axum::http::HeaderValue;

use crate::{
    adapt::LEASE_MS,
    args::{AccessArgs, LimitArgs, Role, ServeArgs},
    client::Proxies,
    keys::Keys,
};

/// Beyond these a value is a slip of the finger.
const MAX_WORKERS: usize = 256;
const MAX_SLOTS: usize = 1024;
const MAX_QUEUE: usize = 100_000;
const MAX_CONNECTIONS: usize = 100_000;
const MAX_BODY_BYTES: usize = 64 << 20;
const MAX_SECONDS: u64 = 3600;
const MAX_POLL_MS: u64 = 60_000;

/// The lease lasts some of them: a server that learns would lose it between two.
const MAX_POLL_MS_OF_LEARNER: u64 = LEASE_MS as u64 / 3;

/// Shortest token: guessing it takes longer than anybody has.
const MIN_TOKEN: usize = 16;

/// How the server is to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    pub(crate) connections: usize,
    pub(crate) poll: Duration,
    /// From the word to end until connections are no longer taken.
    pub(crate) drain: Duration,
    pub(crate) keep_answers: u32,
    /// None for ever.
    pub(crate) keep_days: Option<NonZero<u32>>,
    /// What requests are held against.
    pub(crate) settings: Settings,
}

/// What requests are held against.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) queue: usize,
    /// Requests per minute and client; none for no limit.
    pub(crate) rate_limit: Option<NonZero<u32>>,
    pub(crate) trusted_proxies: Proxies,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_prompt_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) keys: Arc<Keys>,
    pub(crate) token_for_all: bool,
    pub(crate) origins: Origins,
    pub(crate) allowed_hosts: Vec<String>,
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

impl Options {
    /// Checks every argument.
    ///
    /// # Errors
    /// The first that cannot be, with its remedy.
    pub(crate) fn new(args: &ServeArgs) -> anyhow::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let workers = args.engine.workers.unwrap_or(cores);
        in_range("--workers", workers, 1, MAX_WORKERS)?;
        in_range("--slots", args.engine.slots, 1, MAX_SLOTS)?;
        in_range("--queue", args.engine.queue, 0, MAX_QUEUE)?;
        let most = if args.adapt.role == Role::Auto {
            MAX_POLL_MS_OF_LEARNER
        } else {
            MAX_POLL_MS
        };
        in_range("--poll-ms", args.adapt.poll_ms, 10, most)?;
        let settings = settings(&args.limits, &args.access, args.engine.queue)?;
        let local = args.host.is_loopback();
        ensure!(
            local || !settings.keys.are_none(),
            "`--host {}` is reached from other machines, and without a token anybody there could change \
             the model; give `--token TOKEN` (or ITERA_TOKEN) or `--keys FILE`, or listen on 127.0.0.1",
            args.host
        );
        Ok(Self {
            address: SocketAddr::new(args.host, args.port),
            workers,
            slots: args.engine.slots,
            connections: args.limits.max_connections,
            poll: Duration::from_millis(args.adapt.poll_ms),
            drain: Duration::from_secs(args.limits.drain_seconds),
            keep_answers: args.limits.keep_answers,
            keep_days: NonZero::new(args.limits.keep_days),
            settings,
        })
    }
}

fn settings(limits: &LimitArgs, access: &AccessArgs, queue: usize) -> anyhow::Result<Settings> {
    in_range(
        "--max-body-bytes",
        limits.max_body_bytes,
        1024,
        MAX_BODY_BYTES,
    )?;
    in_range(
        "--max-prompt-bytes",
        limits.max_prompt_bytes,
        1,
        MAX_BODY_BYTES,
    )?;
    in_range("--timeout-seconds", limits.timeout_seconds, 1, MAX_SECONDS)?;
    in_range("--drain-seconds", limits.drain_seconds, 0, MAX_SECONDS)?;
    in_range(
        "--max-connections",
        limits.max_connections,
        1,
        MAX_CONNECTIONS,
    )?;
    let keys = Keys::new(access.keys.clone(), token(access)?.as_deref())?;
    ensure!(
        !access.token_for_all || !keys.are_none(),
        "`--token-for-all` asks for keys, and there are none; give `--token TOKEN` or `--keys FILE`"
    );
    let origins = if access.cors_any {
        Origins::Any
    } else if access.cors_origin.is_empty() {
        Origins::Own
    } else {
        Origins::These(
            access
                .cors_origin
                .iter()
                .map(|o| origin(o))
                .collect::<Result<_, _>>()?,
        )
    };
    Ok(Settings {
        queue,
        rate_limit: NonZero::new(limits.rate_limit),
        trusted_proxies: Proxies(limits.trusted_proxy.clone()),
        max_body_bytes: limits.max_body_bytes,
        max_prompt_bytes: limits.max_prompt_bytes,
        timeout: Duration::from_secs(limits.timeout_seconds),
        keys: Arc::new(keys),
        token_for_all: access.token_for_all,
        origins,
        // A variable that is set to nothing names none.
        allowed_hosts: access
            .allowed_host
            .iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect(),
    })
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

fn in_range<T: PartialOrd + std::fmt::Display + Copy>(
    option: &str,
    value: T,
    low: T,
    high: T,
) -> anyhow::Result<()> {
    let holds = value >= low && value <= high;
    ensure!(holds, "`{option}` is {value}, expected {low} to {high}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::Args;

    fn options(line: &str) -> anyhow::Result<Options> {
        let words = ["itera-serve"].into_iter().chain(line.split_whitespace());
        Options::new(&Args::try_parse_from(words)?.serve)
    }

    fn refusal(line: &str) -> String {
        format!("{:#}", options(line).unwrap_err())
    }

    #[test]
    fn the_defaults_are_those_of_the_documents() {
        let options = options("").unwrap();
        assert_eq!(options.address.to_string(), "127.0.0.1:8000");
        assert_eq!(options.settings.rate_limit.map(NonZero::get), Some(100));
        assert_eq!(options.settings.origins, Origins::Own);
        assert!(options.settings.keys.are_none());
    }

    #[test]
    fn a_public_address_needs_a_token() {
        assert!(refusal("--host 0.0.0.0").contains("--token"));
        assert!(refusal("--host ::").contains("--token"));
        assert!(options("--host 0.0.0.0 --token 0123456789abcdef").is_ok());
        assert!(options("--host ::1").is_ok());
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
