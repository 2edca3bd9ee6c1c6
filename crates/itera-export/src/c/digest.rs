//! Digests of the native engine's logits, by which a machine proves that it computes the same.

use anyhow::Context as _;
use itera_core::{checkpoint::Checkpoint, model::Model};

/// Numbers of tokens after which there is one.
const AFTER: [usize; 3] = [100, 1_000, 10_000];

/// The digest after so many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) tokens: usize,
    pub(super) value: u64,
}

/// What `itera_digest` of `model.c` returns.
///
/// # Errors
/// The checkpoint is no model.
pub(super) fn of(checkpoint: &Checkpoint) -> anyhow::Result<Vec<Digest>> {
    let model = Model::from_checkpoint(checkpoint).context("it cannot be run")?;
    let vocab_size = checkpoint.config.vocab_size as u64;
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let (mut random, mut value) = (0_u64, 0xcbf2_9ce4_8422_2325_u64);
    let mut digests = Vec::new();
    for tokens in 1..=AFTER[AFTER.len() - 1] {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let token = (random >> 40) % vocab_size;
        for logit in model.step(token as u32, &mut state, &mut work) {
            value = (value ^ u64::from(logit.to_bits())).wrapping_mul(0x100_0000_01b3);
        }
        if AFTER.contains(&tokens) {
            digests.push(Digest { tokens, value });
        }
    }
    Ok(digests)
}
