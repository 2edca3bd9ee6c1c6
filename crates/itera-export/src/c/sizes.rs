//! The sizes in the header: of the model, of the caller's memory, and what a right machine computes.

use std::fmt::Write as _;

use itera_core::config::{ModelConfig, Routing};

use super::{digest::Digest, vocabulary::Vocabulary};

/// Bytes that the caller gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) state: usize,
    pub(super) scratch: usize,
}

impl Memory {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let layer =
            config.d_state * config.d_inner + memory_rows(config) * config.d_conv_channels();
        let groups = widest_input(config).div_ceil(16);
        let integers = widest_input(config).next_multiple_of(4) + 2 * 4 * groups;
        let floats = 3 * config.d_model
            + config.d_in_proj()
            + config.d_conv_channels()
            + config.d_inner
            + 3 * widest_expert(config)
            + config.n_experts
            + config.vocab_size;
        Self {
            state: 4 * config.n_layers * layer,
            scratch: 4 * floats + 2 * integers,
        }
    }
}

/// Rows that a layer keeps for its convolution; one too many where there is a single tap.
fn memory_rows(config: &ModelConfig) -> usize {
    (config.d_conv - 1).max(1)
}

fn widest_expert(config: &ModelConfig) -> usize {
    config.d_expert.max(config.d_shared)
}

fn widest_input(config: &ModelConfig) -> usize {
    config
        .d_model
        .max(config.d_inner)
        .max(widest_expert(config))
}

/// The macros.
pub(super) fn text(
    config: &ModelConfig,
    memory: Memory,
    vocabulary: &Vocabulary,
    digests: &[Digest],
) -> String {
    let mut text = String::new();
    let mut define = |name: &str, value: String| {
        let _ = writeln!(text, "#define ITERA_{name} {value}");
    };
    for (name, size) in [
        ("VOCAB_SIZE", config.vocab_size),
        ("END_OF_TEXT", vocabulary.end_of_text),
        ("TOKEN_BYTES", vocabulary.longest),
        ("STATE_BYTES", memory.state),
        ("SCRATCH_BYTES", memory.scratch),
        ("D_MODEL", config.d_model),
        ("N_LAYERS", config.n_layers),
        ("D_INNER", config.d_inner),
        ("D_STATE", config.d_state),
        ("N_HEADS", config.n_heads()),
        ("D_CONV", config.d_conv),
        ("CHANNELS", config.d_conv_channels()),
        ("D_IN_PROJ", config.d_in_proj()),
        ("N_EXPERTS", config.n_experts),
        ("TOP_K", config.top_k),
        ("D_EXPERT", config.d_expert),
        ("D_SHARED", config.d_shared),
        ("WIDEST_EXPERT", widest_expert(config)),
        ("WIDEST_INPUT", widest_input(config)),
        (
            "CHOSEN_SUM_TO_ONE",
            usize::from(config.routing == Routing::Chosen),
        ),
    ] {
        define(name, size.to_string());
    }
    define("NORM_EPS", format!("{:?}f", config.norm_eps));
    for Digest { tokens, value } in digests {
        define(
            &format!("DIGEST_{tokens}"),
            format!("UINT64_C(0x{value:016x})"),
        );
    }
    text
}
