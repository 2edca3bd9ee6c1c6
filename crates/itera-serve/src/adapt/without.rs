//! A build that does not learn: it follows the versions that others make.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::Value;

use super::Adapter;
use crate::{args::AdaptArgs, weights::Base};

/// There is none.
#[derive(Debug)]
pub(crate) enum Learner {}

/// Nothing is remembered from one turn to the next.
#[derive(Debug, Default)]
pub(super) struct Turns {}

impl Learner {
    /// None.
    ///
    /// # Errors
    /// Something says how to learn.
    pub(crate) fn load(args: &AdaptArgs, _: &Base) -> anyhow::Result<Option<Self>> {
        let texts = [
            args.guard.is_some(),
            args.replay.is_some(),
            args.adapt_probes.is_some(),
        ];
        let given = args.adapt_settings.is_some() || texts.contains(&true) || args.adapt_approve;
        ensure!(
            !given,
            "this build does not learn, so that --adapt-settings, --adapt-approve, --adapt-probes, --guard and \
             --replay mean nothing; leave them out, or build itera-serve with its default features"
        );
        Ok(None)
    }

    pub(crate) const fn settings(&self) -> (Value, f64) {
        match *self {}
    }

    pub(crate) const fn texts(&self) -> &str {
        match *self {}
    }
}

#[expect(clippy::unused_async, reason = "as in the build that learns")]
pub(super) async fn turn(_: &Arc<Adapter>, _: &mut Turns) -> anyhow::Result<()> {
    Ok(())
}

#[expect(clippy::unused_async, reason = "as in the build that learns")]
pub(super) async fn end(_: &Arc<Adapter>, _: Turns) {}
