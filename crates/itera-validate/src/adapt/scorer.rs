//! An engine that learns from each segment once it has scored it.

use anyhow::Context as _;
use itera_core::checkpoint::Checkpoint;
use itera_learn::dynamic::{DynamicConfig, DynamicScorer};
use itera_record::AdaptationProtocol;

use crate::engine::{Engine, Session};

/// The weights that sessions begin with, and how they move.
struct Adaptive {
    checkpoint: Checkpoint,
    config: DynamicConfig,
    per_document: bool,
}

/// Two readers side by side.
struct Pair<'a> {
    engine: &'a Adaptive,
    moving: DynamicScorer,
    staying: DynamicScorer,
    static_nats: f64,
}

/// The engine with these weights, moved by this protocol.
pub(super) fn engine(
    checkpoint: &Checkpoint,
    adaptation: &AdaptationProtocol,
) -> Box<dyn Engine + Send> {
    Box::new(Adaptive {
        checkpoint: checkpoint.clone(),
        config: DynamicConfig {
            learning_rate: adaptation.learning_rate,
            pull: adaptation.pull,
        },
        per_document: adaptation.per_document,
    })
}

impl Adaptive {
    fn open(&self) -> anyhow::Result<DynamicScorer> {
        DynamicScorer::new(&self.checkpoint, self.config).context("cannot use the checkpoint")
    }
}

impl Engine for Adaptive {
    fn name(&self) -> &'static str {
        "burn"
    }

    fn session(&self) -> anyhow::Result<Box<dyn Session + '_>> {
        Ok(Box::new(Pair {
            engine: self,
            moving: self.open()?,
            staying: self.open()?,
            static_nats: 0.0,
        }))
    }
}

impl Session for Pair<'_> {
    fn reset(&mut self) {
        if self.engine.per_document {
            self.moving = self
                .engine
                .open()
                .expect("this checkpoint was opened before");
        } else {
            self.moving.reset();
        }
        self.staying.reset();
    }

    /// Likelihood by the weights that move, which then learn; each reader has a thread of its own.
    fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64> {
        let Self {
            moving, staying, ..
        } = self;
        let (moving, staying) = rayon::join(
            || moving.score_then_learn(context, tokens),
            || staying.score(context, tokens),
        );
        for nats in staying {
            self.static_nats += nats;
        }
        moving
    }

    fn read(&mut self, context: u32, tokens: &[u32]) {
        self.moving.score(context, tokens);
        self.staying.score(context, tokens);
    }

    fn take_static_nats(&mut self) -> Option<f64> {
        Some(std::mem::take(&mut self.static_nats))
    }
}
