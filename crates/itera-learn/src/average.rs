//! The exponential average of the weights over the steps of a run (Polyak & Juditsky 1992).

use burn::module::Module;

use crate::model::convert::{self, Values};

/// The average so far.
#[derive(Clone, Debug)]
pub(crate) struct Average {
    /// Share of the average that a step keeps, late in a run.
    keep: f32,
    /// By the names of the parameters; empty before the first step.
    pub(crate) values: Values,
}

impl Average {
    pub(crate) const fn new(keep: f32) -> Self {
        Self {
            keep,
            values: Values::new(),
        }
    }

    /// Adds the weights after `step`, counted from 1. Early steps count for less than later ones, so
    /// that the random weights of the beginning are soon forgotten.
    pub(crate) fn add(&mut self, step: u64, model: &impl Module) {
        let keep = self.keep.min(step as f32 / (step as f32 + 9.0));
        for (name, values) in convert::values(model) {
            match self.values.get_mut(&name) {
                None => drop(self.values.insert(name, values)),
                Some(average) => {
                    for (average, value) in average.iter_mut().zip(values) {
                        *average += (1.0 - keep) * (value - *average);
                    }
                }
            }
        }
    }
}
