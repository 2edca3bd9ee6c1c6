//! The Itera-Lite language model without a training framework: sizes, tokenizers, checkpoint
//! format, native forward pass and sampling.
//!
//! Three kinds of data are kept apart everywhere: a [`config::ModelConfig`] (sizes), a
//! [`model::Model`] (weights, read-only, shared by any number of threads) and a [`model::State`]
//! (every buffer that changes while tokens pass). Only [`files`] and [`models`] open files.
//!
//! Shapes are written with the names of the config:
//!
//! | name | meaning |
//! |---|---|
//! | `vocab_size`, `d_model`, `n_layers` | vocabulary, residual width, blocks |
//! | `d_inner`, `n_heads`, `head_dim`, `d_state`, `d_conv` | mixer channels, heads H, channels per head P, state columns N, taps |
//! | `n_experts`, `top_k`, `d_expert`, `d_shared` | mixture of experts |
//! | `chunk` | tokens per chunk of the chunked form |
//!
//! Modules, from the bottom up; each imports only from those before it:
//!
//! | modules | subject |
//! |---|---|
//! | `unique`, [`digest`] | strict JSON, SHA-256 |
//! | [`text`], [`files`] | text that arrives in pieces, files that are written whole or not at all |
//! | [`config`], [`tokenizer`] | sizes, text to tokens |
//! | [`container`], [`checkpoint`] | named tensors in a file, a model in a file |
//! | [`kernels`], [`model`] | inner loops, forward pass |
//! | [`calibration`] | what text says about the inputs of a model |
//! | [`quant`], [`prune`] | smaller weights, fewer weights |
//! | [`models`], [`sampling`] | checkpoints by name, text from a model |
//!
//! Without the feature `std` there is what reads a checkpoint from bytes, tokenises, runs the model and samples; it needs
//! a global allocator.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(feature = "std"),
    allow(dead_code, reason = "what only quantisation and pruning use")
)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod calibration;
pub mod checkpoint;
pub mod config;
pub mod container;
pub mod digest;
#[cfg(feature = "std")]
pub mod files;
pub mod kernels;
pub mod model;
#[cfg(feature = "std")]
pub mod models;
#[cfg(feature = "std")]
pub mod prune;
#[cfg(feature = "std")]
pub mod quant;
pub mod sampling;
pub mod text;
pub mod tokenizer;
mod unique;
