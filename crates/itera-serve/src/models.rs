//! The models that are served, by their names.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use anyhow::ensure;
use arc_swap::ArcSwap;
use itera_core::{checkpoint::Precision, models::Weights as Origin};
use thiserror::Error;

use crate::weights::{Base, Variant, Weights};

/// Most models at one time.
const MOST: usize = 16;

/// A model, and the version of its weights that new requests get.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) base: Base,
    weights: ArcSwap<Weights>,
}

impl Served {
    pub(crate) fn new(base: Base) -> Arc<Self> {
        if base.origin == Origin::RoundedInMemory {
            tracing::warn!(
                "{} has no file at {}; its weights were rounded in memory",
                base.name,
                base.default
            );
        }
        let weights = ArcSwap::new(Arc::clone(&base.weights));
        Arc::new(Self { base, weights })
    }

    /// The version that new requests get.
    pub(crate) fn weights(&self) -> Arc<Weights> {
        self.weights.load_full()
    }

    /// Gives new requests other weights. Running ones keep theirs to their end.
    pub(crate) fn swap(&self, weights: Arc<Weights>) {
        self.weights.store(weights);
    }

    /// The weights of requests that name no precision.
    pub(crate) fn at_default(&self) -> Arc<Variant> {
        Arc::clone(self.weights().variant(self.base.default))
    }

    /// The variant with this name: `MODEL` for the default precision, `MODEL.PRECISION` or `MODEL-PRECISION`.
    fn variant(&self, name: &str) -> Option<Arc<Variant>> {
        if *name == *self.base.name {
            return Some(self.at_default());
        }
        self.find(|variant| variant.has_name(name))
    }

    /// # Errors
    /// A name would mean this model and another.
    fn check_name(&self, others: &[Arc<Self>]) -> Result<(), ChangeError> {
        let own = &*self.base.name;
        let is_precision = own.parse::<Precision>().is_ok();
        let clashes = |other: &Arc<Self>| {
            other.variant(own).is_some() || self.variant(&other.base.name).is_some()
        };
        if is_precision || others.iter().any(clashes) {
            return Err(ChangeError::Ambiguous(own.to_owned()));
        }
        Ok(())
    }

    fn find(&self, is_it: impl Fn(&Variant) -> bool) -> Option<Arc<Variant>> {
        let weights = self.weights();
        let mut variants = weights.variants.iter();
        variants.find(|variant| is_it(variant)).cloned()
    }
}

/// Why the models stay as they are.
#[derive(Debug, Error)]
pub(crate) enum ChangeError {
    /// There is none of this name.
    #[error(
        "no such model; GET /v1/models lists all, and to unload one its name goes without a precision"
    )]
    Unknown,
    /// It has a database.
    #[error(
        "the first model is bound to its database; end the server, call `itera-serve rebase`, and start it anew"
    )]
    Bound,
    /// Requests that name none need it.
    #[error("the first model is the one of requests that name none; load others in its place")]
    First,
    /// There are many.
    #[error("there are {MOST} models already; unload one before")]
    Full,
    /// One name would mean two models.
    #[error("the name `{0}` may mean another model too; rename the file")]
    Ambiguous(String),
}

/// All models. The first is that of requests that name none, and the only one that learns.
#[derive(Debug)]
pub(crate) struct Models {
    all: RwLock<Vec<Arc<Served>>>,
    /// Whether the first one's weights are those of a database.
    is_bound: bool,
}

impl Models {
    /// Loads checkpoints by name or path, at every precision that they have.
    ///
    /// # Errors
    /// One of them cannot be served, or a name would mean two.
    pub(crate) fn load(
        sources: &[String],
        precision: Option<Precision>,
        is_bound: bool,
    ) -> anyhow::Result<Self> {
        ensure!(
            sources.len() <= MOST,
            "`--checkpoint` names {} models, expected at most {MOST}",
            sources.len()
        );
        let mut all: Vec<Arc<Served>> = Vec::new();
        for source in sources {
            let new = Served::new(Base::load(source, precision)?);
            new.check_name(&all)?;
            all.push(new);
        }
        ensure!(!all.is_empty(), "`--checkpoint` names no model");
        Ok(Self {
            all: all.into(),
            is_bound,
        })
    }

    /// All of them, the first first.
    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        self.read().clone()
    }

    /// The model of requests that name none.
    pub(crate) fn first(&self) -> Arc<Served> {
        Arc::clone(&self.read()[0])
    }

    /// The variant that a request names: `MODEL`, `MODEL.PRECISION`, or `PRECISION` of the first model. Without a name
    /// it is the default of the first model.
    pub(crate) fn variant(&self, name: Option<&str>) -> Option<Arc<Variant>> {
        let all = self.read();
        let Some(name) = name else {
            return Some(all[0].at_default());
        };
        let mut found = all.iter().filter_map(|model| model.variant(name));
        let is_precision = |variant: &Variant| variant.precision.name() == name;
        found.next().or_else(|| all[0].find(is_precision))
    }

    /// Serves a model too, or in place of that of the same name.
    ///
    /// # Errors
    /// There are many, or the first is bound to a database.
    pub(crate) fn put(&self, base: Base) -> Result<Arc<Served>, ChangeError> {
        let new = Served::new(base);
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        match all
            .iter()
            .position(|known| known.base.name == new.base.name)
        {
            Some(0) if self.is_bound => return Err(ChangeError::Bound),
            Some(at) => all[at] = Arc::clone(&new),
            None if all.len() >= MOST => return Err(ChangeError::Full),
            None => {
                new.check_name(&all)?;
                all.push(Arc::clone(&new));
            }
        }
        Ok(new)
    }

    /// Whether new requests may get a version.
    pub(crate) fn serves(&self, version: &str) -> bool {
        let all = self.read();
        all.iter().any(|model| *model.weights().version == *version)
    }

    /// Serves a model no longer. What runs with it is finished.
    ///
    /// # Errors
    /// There is none of this name, or it is the first.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ChangeError> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        match all.iter().position(|known| *known.base.name == *name) {
            None => Err(ChangeError::Unknown),
            Some(0) => Err(ChangeError::First),
            Some(at) => {
                all.remove(at);
                Ok(())
            }
        }
    }

    /// Reads all checkpoints again, and serves those that have changed. One that cannot be is served as it was, and
    /// the log says why.
    pub(crate) fn reload(&self) {
        for known in self.all() {
            let (name, source) = (&*known.base.name, &known.base.source);
            match self.reload_one(&known) {
                Ok(true) => tracing::info!(model = name, "serves the checkpoint as it is now"),
                Ok(false) => tracing::info!(model = name, "the checkpoint is the same"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, source, "the model is served as it was");
                }
            }
        }
    }

    /// Whether the checkpoint has changed.
    fn reload_one(&self, known: &Arc<Served>) -> anyhow::Result<bool> {
        let base = Base::load(&known.base.source, known.base.asked)?;
        if base.files == known.base.files && base.weights.version == known.base.weights.version {
            return Ok(false);
        }
        ensure!(
            base.name == known.base.name,
            "its file has another name now"
        );
        let new = Served::new(base);
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        // It may have been unloaded or loaded anew meanwhile.
        let at = all.iter().position(|model| Arc::ptr_eq(model, known));
        match at {
            Some(0) if self.is_bound => Err(ChangeError::Bound.into()),
            Some(at) => {
                all[at] = new;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<Served>>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }
}
