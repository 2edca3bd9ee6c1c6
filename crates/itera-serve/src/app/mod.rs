//! The HTTP interface: `router(app)` is all of it, with or without a socket.
//!
//! | file | what |
//! |---|---|
//! | `routes` | every path, what it needs, and the OpenAPI document |
//! | `access` | who may do what |
//! | `layers` | around all routes: problem bodies, CORS, compression, limits of size and time |
//! | `infer`, `completions`, `chat`, `stream` | generation; `generate` is what they share |
//! | `sessions` | texts that go on over many requests |
//! | `models` | which models there are; loading and unloading them |
//! | `score`, `tokens` | likelihood of texts, and their tokens |
//! | `feedback`, `online` | verdicts on answers, and how well the model predicts the texts of these |
//! | `adapt` | learning, its status, rollback |
//! | `experiments`, `arms` | experiments for operators; what they do to requests and verdicts |
//! | `approval` | candidates, and a pause of learning |
//! | `metrics`, `quality`, `hours`, `health`, `page` | for operators and people |

mod access;
mod adapt;
mod approval;
mod arms;
mod cached;
mod chat;
mod completions;
mod experiments;
mod feedback;
mod generate;
mod health;
mod hours;
mod infer;
mod layers;
mod metrics;
mod models;
mod online;
mod page;
mod quality;
mod routes;
mod score;
mod sessions;
mod stream;
mod tokens;

#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::AtomicBool};

use tokio::sync::{Mutex, Semaphore};

pub(crate) use self::{
    cached::Cached,
    hours::keep,
    routes::{document, router},
    sessions::Sessions,
};
use crate::{
    adapt::Adapter,
    engine::Engine,
    experiments::Experiments,
    limits::Limits,
    metrics::Metrics,
    models::Models,
    options::Settings,
    problem::{Code, Problem},
    quality::Quality,
    store::{Counts, HourSums, Store},
    weights::Variant,
};

/// Everything that a request may need.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) models: Arc<Models>,
    pub(crate) engine: Engine,
    /// None with `--database none`.
    pub(crate) store: Option<Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) quality: Arc<Quality>,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) experiments: Arc<Experiments>,
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
    /// What of the metrics is in the sums of the hours.
    pub(crate) kept: Mutex<HourSums>,
}

impl App {
    /// The database.
    ///
    /// # Errors
    /// The server has none.
    fn store(&self) -> Result<&Store, Problem> {
        self.store.as_ref().ok_or_else(Problem::no_database)
    }

    /// What a request means by the name of a model.
    ///
    /// # Errors
    /// There is none of this name.
    fn variant(&self, name: Option<&str>) -> Result<Arc<Variant>, Problem> {
        self.models.variant(name).ok_or_else(|| {
            let models = self.models.all();
            let known: Vec<&str> = models.iter().map(|model| &*model.base.name).collect();
            Problem::new(
                Code::ModelNotFound,
                format!(
                    "no such model; there are {}, each also with a precision, as in `{}`; GET /v1/models lists all",
                    known.join(", "),
                    models[0].at_default().id()
                ),
            )
        })
    }
}
