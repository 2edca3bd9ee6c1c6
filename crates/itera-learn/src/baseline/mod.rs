//! A trained transformer to compare the architecture with, at the same parameters and budget.
//!
//! A decoder as Llama's (Touvron et al. 2023) in the proportions of `stories260K` (Karpathy's
//! llama2.c). It is there for one row of the ablation table, so it has no checkpoint, no native
//! engine and no export. Data, initial values, optimiser, schedule and clipping are those of
//! [`crate::trainer`].
//!
//! What differs is the segment. Our model carries its state from one segment to the next; a
//! transformer sees nothing before its segment, and a document that is cut there loses its
//! beginning. A run that is compared with one of ours at length 256 and batch 16 therefore takes
//! length 512 and batch 8: as many tokens per step and in all, with gradients that reach twice as
//! far. A story of TinyStories has some 350 tokens with 512 entries, so about two of three are still
//! cut, and the tokens after the cut are learnt with less context than the model is later scored
//! with; at length 256 all but short ones would be.

mod config;
mod score;
mod trainer;
mod transformer;

pub use config::TransformerConfig;
pub use trainer::{Trainer, train};
pub use transformer::Transformer;
