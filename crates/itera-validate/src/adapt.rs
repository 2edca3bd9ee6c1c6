//! Scores of weights that move: each segment of a text is scored, then learnt from.
//!
//! Weights are carried from document to document, so that the order of the documents is part of the
//! score and nothing runs in parallel, unless each document starts with those of the checkpoint. These, left as
//! they are, read the same segments beside, by the same engine.

#[cfg(feature = "burn")]
mod scorer;

use anyhow::ensure;
use itera_core::checkpoint::{Checkpoint, Precision};
use itera_record::AdaptationProtocol;

use crate::{
    args::{ProtocolArg, ScoreArgs},
    engine::Engine,
};

/// Tokens in a segment unless told otherwise.
const SEGMENT: u64 = 64;

/// More tokens in a segment than this are a slip of the finger: their logits are held in memory.
const MAX_SEGMENT: u64 = 4096;

/// Learning rate unless told otherwise. It and the pull were chosen on the valid split of WikiText-2, for weights that are carried and
/// for those that are not.
const LEARNING_RATE: f64 = 5e-4;

/// Share of the way back unless told otherwise. Without it, this learning rate
/// gains far less.
const PULL: f64 = 0.006;

/// How the weights are to move, by the arguments; `None` if they stay.
pub(crate) fn protocol(args: &ScoreArgs) -> anyhow::Result<Option<AdaptationProtocol>> {
    if !args.adapt {
        let options = [
            args.adapt_learning_rate.is_some(),
            args.adapt_segment.is_some(),
            args.adapt_pull.is_some(),
        ];
        ensure!(
            options == [false; 3],
            "`--adapt-learning-rate`, `--adapt-segment` and `--adapt-pull` need `--adapt`"
        );
        return Ok(None);
    }
    ensure!(
        cfg!(feature = "burn"),
        "this build cannot adapt weights; leave out `--adapt`, or build with `cargo build --release \
         -p itera-validate --features burn`"
    );
    let per_document = args.adapt_per_document;
    ensure!(
        args.shard.is_none() || per_document,
        "`--shard` cannot be used with `--adapt`, whose weights are carried from each document to \
         the next; leave out one of them, or add `--adapt-per-document`"
    );
    ensure!(
        !per_document || args.protocol != Some(ProtocolArg::Stream),
        "`--adapt-per-document` keeps documents apart, and `--protocol stream` does not; leave out one of them"
    );
    ensure!(
        !args.asks_for_windows(),
        "`--adapt` reads a text once, in order; use `--protocol document` or `--protocol stream`"
    );
    ensure!(
        args.kernel == "auto" && args.precision.is_none() && args.reference.is_none(),
        "`--kernel`, `--precision` and `--reference` are for weights that stay; leave them out with \
         `--adapt`"
    );
    let adaptation = AdaptationProtocol {
        method: "dynamic_evaluation".to_owned(),
        per_document,
        segment_tokens: args.adapt_segment.unwrap_or(SEGMENT),
        learning_rate: args.adapt_learning_rate.unwrap_or(LEARNING_RATE),
        pull: args.adapt_pull.unwrap_or(PULL),
    };
    let segment = adaptation.segment_tokens;
    ensure!(
        (1..=MAX_SEGMENT).contains(&segment),
        "`--adapt-segment` is {segment}, expected 1 to {MAX_SEGMENT}"
    );
    for (option, value) in [
        ("--adapt-learning-rate", adaptation.learning_rate),
        ("--adapt-pull", adaptation.pull),
    ] {
        ensure!(
            (0.0..=1.0).contains(&value),
            "`{option}` is {value}, expected 0 to 1"
        );
    }
    Ok(Some(adaptation))
}

/// The engine whose weights move by this protocol.
pub(crate) fn engine(
    checkpoint: &Checkpoint,
    adaptation: &AdaptationProtocol,
) -> anyhow::Result<Box<dyn Engine + Send>> {
    let precision = checkpoint.precision();
    ensure!(
        precision == Precision::Fp32,
        "its weights are {precision}, and integers cannot move; give the fp32 checkpoint that it was \
         made from"
    );
    #[cfg(feature = "burn")]
    return Ok(scorer::engine(checkpoint, adaptation));
    #[cfg(not(feature = "burn"))]
    anyhow::bail!(
        "this build cannot adapt weights ({adaptation:?}); build it with `--features burn`"
    )
}
