//! The state that passes from segment to segment.

use std::sync::Arc;

use super::{LanguageModel, convert::Values, paper::PaperState};
use crate::{fused::SsmMemory, host};

/// The state that a batch of sequences carries from one segment to the next. Its kind decides the form
/// of the forward pass.
#[derive(Clone, Debug)]
pub enum Carry {
    /// Of the fused operators.
    Fused(FusedState),
    /// Of the chunked form in plain tensor operations.
    Plain(PaperState),
}

/// The state of the fused operators: one memory per layer.
#[derive(Clone, Debug)]
pub struct FusedState {
    pub(super) layers: Vec<Arc<SsmMemory>>,
}

impl Carry {
    /// The carried values by name.
    pub(crate) fn values(&self) -> Values {
        let layers: Vec<[Vec<f32>; 2]> = match self {
            Self::Fused(state) => {
                let layers = state.layers.iter();
                layers
                    .map(|memory| [memory.h.as_flattened().to_vec(), memory.conv.clone()])
                    .collect()
            }
            Self::Plain(state) => state.values(),
        };
        let layers = layers.into_iter().enumerate();
        let parts = layers.flat_map(|(layer, [h, conv])| {
            [(format!("{layer}.h"), h), (format!("{layer}.conv"), conv)]
        });
        parts.collect()
    }

    /// The carry with other values, of the same numbers of elements.
    pub(crate) fn with_values(&self, values: &Values) -> Self {
        let of =
            |layer: usize| ["h", "conv"].map(|part| values[&format!("{layer}.{part}")].clone());
        match self {
            Self::Fused(state) => {
                let layers = (0..state.layers.len()).map(|layer| {
                    let [h, conv] = of(layer);
                    let (lanes, _) = h.as_chunks();
                    Arc::new(SsmMemory {
                        h: lanes.to_vec(),
                        conv,
                    })
                });
                Self::Fused(FusedState {
                    layers: layers.collect(),
                })
            }
            Self::Plain(state) => Self::Plain(state.with_values(of)),
        }
    }
}

impl LanguageModel {
    /// A carry that has read nothing.
    pub fn new_carry(&self, batch: usize) -> Carry {
        if !host::holds(&self.device()) {
            return Carry::Plain(self.new_paper_state(batch));
        }
        let memory = Arc::new(SsmMemory::new(&self.dims(batch, 0)));
        Carry::Fused(FusedState {
            layers: vec![memory; self.config.n_layers],
        })
    }
}
