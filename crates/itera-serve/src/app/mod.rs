//! The HTTP interface: `router(app)` is all of it, with or without a socket.
//!
//! | file | what |
//! |---|---|
//! | `routes` | every path, what it needs, and the OpenAPI document |
//! | `access` | who may do what |
//! | `layers` | around all routes: problem bodies, CORS, compression, limits of size and time |
//! | `infer`, `completions`, `chat`, `stream` | generation; `generate` is what they share |
//! | `sessions` | texts that go on over many requests |
//! | `score`, `tokens` | likelihood of texts, and their tokens |
//! | `feedback` | verdicts on answers |
//! | `adapt` | learning, its status, rollback |
//! | `metrics`, `health`, `page` | for operators and people |

mod access;
mod adapt;
mod cached;
mod chat;
mod completions;
mod feedback;
mod generate;
mod health;
mod infer;
mod layers;
mod metrics;
mod page;
mod routes;
mod score;
mod sessions;
mod stream;
mod tokens;

#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::AtomicBool};

use itera_core::checkpoint::Precision;
use tokio::sync::Semaphore;

pub(crate) use self::{
    cached::Cached,
    routes::{document, router},
    sessions::Sessions,
};
use crate::{
    adapt::Adapter,
    engine::Engine,
    limits::Limits,
    metrics::Metrics,
    options::Settings,
    problem::Problem,
    store::{Counts, Store},
    weights::Base,
};

/// Everything that a request may need.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    /// None with `--database none`.
    pub(crate) store: Option<Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) base: Arc<Base>,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) limits: Limits,
    /// A seat for each thread that may score texts.
    pub(crate) scoring: Arc<Semaphore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) settings: Settings,
    /// Whether the server has been told to end.
    pub(crate) ending: AtomicBool,
    /// What many ask and the database need not be asked each time.
    pub(crate) counts: Cached<Counts>,
    pub(crate) learnt: Cached<Arc<adapt::Learnt>>,
}

impl App {
    /// The database.
    ///
    /// # Errors
    /// The server has none.
    fn store(&self) -> Result<&Store, Problem> {
        self.store.as_ref().ok_or_else(Problem::no_database)
    }

    /// The precision that a request means by a name: none, that of the model, a precision, or both.
    fn precision(&self, name: Option<&str>) -> Option<Precision> {
        let Some(name) = name else {
            return Some(self.base.default);
        };
        if name == self.base.name {
            return Some(self.base.default);
        }
        let precision = match name.strip_prefix(self.base.name.as_str()) {
            Some(rest) => rest.strip_prefix(['.', '-'])?,
            None => name,
        };
        let mut precisions = self.base.precisions.iter().copied();
        precisions.find(|known| known.name() == precision)
    }

    /// Names that requests may give, for error messages.
    fn known_models(&self) -> String {
        let names = self.base.precisions.iter().map(ToString::to_string);
        format!(
            "{}, {}",
            self.base.name,
            names.collect::<Vec<_>>().join(", ")
        )
    }
}
