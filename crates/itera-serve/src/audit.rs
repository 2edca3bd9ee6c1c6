//! Who rated, adapted, rolled back and deleted: events of the log that go to a file of their own where one is given.

use std::{fs::OpenOptions, path::Path, sync::Mutex};

use anyhow::Context as _;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::Targets, fmt, registry::LookupSpan};

use crate::client::Client;

/// Name of these events in the log.
pub(crate) const TARGET: &str = "itera_serve::audit";

/// Notes what a client has done, and to what.
pub(crate) fn audit(client: &Client, action: &str, subject: &str) {
    let (address, key) = (client.address, client.key_name());
    tracing::info!(target: TARGET, action, subject, client = %address, key, "audit");
}

/// Writes them to a file as JSON lines, after those that are there.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
    file: &Path,
) -> anyhow::Result<impl Layer<S>> {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    let opened = opened.with_context(|| format!("cannot write `{}`", file.display()))?;
    let lines = fmt::layer().json().flatten_event(true).with_target(false);
    Ok(lines
        .with_writer(Mutex::new(opened))
        .with_filter(Targets::new().with_target(TARGET, tracing::Level::INFO)))
}
