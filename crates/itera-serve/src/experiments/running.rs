//! The experiment that runs, as this server serves it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use itera_core::checkpoint::Precision;

use super::{assign, tally::Tally};
use crate::{
    store::{ArmOf, ArmSpec, By, Definition, Experiment, ExperimentKind, Sampling, random_id},
    weights::{Variant, Weights},
};

/// An experiment as this server serves it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) id: Arc<str>,
    kind: ExperimentKind,
    by: By,
    salt: String,
    pub(crate) arms: Vec<Arm>,
    weights: Vec<u32>,
    /// What a request must leave open to take part: any arm says it.
    sets: Sampling,
    has_ended: AtomicBool,
}

/// An arm as this server serves it.
#[derive(Debug)]
pub(crate) struct Arm {
    pub(crate) name: Arc<str>,
    weights: Arc<Weights>,
    /// None for that of the request.
    precision: Option<Precision>,
    pub(crate) sampling: Sampling,
    pub(crate) tally: Tally,
}

impl Arm {
    /// Its weights, for a request that would get a precision without it.
    pub(crate) fn variant(&self, otherwise: Precision) -> &Arc<Variant> {
        self.weights.variant(self.precision.unwrap_or(otherwise))
    }
}

/// A request's place in an experiment.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    pub(crate) experiment: Arc<Running>,
    arm: usize,
    unit: u64,
}

impl Assigned {
    pub(crate) fn arm(&self) -> &Arm {
        &self.experiment.arms[self.arm]
    }

    /// `EXPERIMENT/ARM`, as answers tell it.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.experiment.id, self.arm().name)
    }

    /// What is stored with an answer.
    pub(crate) fn stored(&self) -> ArmOf {
        ArmOf {
            experiment: self.experiment.id.to_string(),
            arm: self.arm().name.to_string(),
            unit: format!("{:016x}", self.unit),
        }
    }
}

/// What a request says that decides whether and how it takes part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// A name of a model or a precision.
    pub(crate) model: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) sampling: Sampling,
}

impl Running {
    /// Serves these weights, an arm after the other.
    pub(super) fn new(experiment: Experiment, weights: Vec<Arc<Weights>>) -> Self {
        let Definition { by, salt, arms } = experiment.definition;
        let sets = arms
            .iter()
            .fold(Sampling::default(), |sets, arm| filled(sets, arm.sampling));
        let arm = |(arm, weights): (ArmSpec, Arc<Weights>)| Arm {
            name: arm.name.into(),
            weights,
            precision: arm.precision,
            sampling: arm.sampling,
            tally: Tally::default(),
        };
        Self {
            id: experiment.id.into(),
            kind: experiment.kind,
            by,
            salt,
            weights: arms.iter().map(|arm| arm.weight).collect(),
            arms: arms.into_iter().zip(weights).map(arm).collect(),
            sets,
            has_ended: AtomicBool::new(false),
        }
    }

    pub(super) fn is_canary(&self) -> bool {
        self.kind == ExperimentKind::Canary
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Divides no more requests.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// The arm of a request that would get these weights without an experiment; none if it does not take part. Those
    /// take part that leave open what the arms differ in. A canary is for all who would get the version before it.
    pub(crate) fn assign(
        self: &Arc<Self>,
        asked: Asked<'_>,
        otherwise: &Variant,
    ) -> Option<Assigned> {
        let takes_part = match self.kind {
            ExperimentKind::Canary => otherwise.version == self.arms[0].weights.version,
            ExperimentKind::Comparison => {
                asked.model.is_none() && !overlap(asked.sampling, self.sets)
            }
        };
        if !takes_part || self.has_ended() {
            return None;
        }
        let (kind, name) = match self.by {
            By::User => ("user", asked.user),
            By::Key => ("key", asked.key),
            By::Request => ("request", None),
        };
        let unit = match name {
            Some(name) => assign::point(&self.salt, kind, name),
            None => assign::point(&self.salt, "request", &random_id()),
        };
        Some(Assigned {
            arm: assign::arm_of(unit, &self.weights),
            experiment: Arc::clone(self),
            unit,
        })
    }
}

/// Whether both say something about the same.
const fn overlap(a: Sampling, b: Sampling) -> bool {
    (a.temperature.is_some() && b.temperature.is_some())
        || (a.top_k.is_some() && b.top_k.is_some())
        || (a.top_p.is_some() && b.top_p.is_some())
}

/// What a request asks for, and where it asks for nothing what its arm says.
pub(crate) fn filled(asked: Sampling, arm: Sampling) -> Sampling {
    Sampling {
        temperature: asked.temperature.or(arm.temperature),
        top_k: asked.top_k.or(arm.top_k),
        top_p: asked.top_p.or(arm.top_p),
    }
}
